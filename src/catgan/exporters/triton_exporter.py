"""A model repository, as NVIDIA Triton Inference Server and KServe serve it.

Layout and `config.pbtxt` after Triton's documentation, "Model Repository" and "Model
Configuration". `truncation` has no batch axis, so `max_batch_size` is 0: clients send N latents in
one request. Batching of several requests stays off, as ONNX Runtime does not promise the same bytes
for batches of different sizes, and a seed is to stay the same image.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from catgan.errors import CatganError
from catgan.evaluation.results.records import require_writable
from catgan.exporters.onnx_exporter import OnnxExporter
from catgan.files import make_directory, require_replaceable, write_durably
from catgan.generation.card import Card
from catgan.generation.generator import INPUTS, OUTPUT

MODEL_NAME = "cats"
_HEAD = "# Written by `catgan export --format triton`.\n"


class TritonExporter(OnnxExporter):
    """`--format triton`: the artifact in a repository, with its configuration."""

    default_name = "triton"

    def require_place(self, out: Path) -> None:
        """Raise `CatganError` or OSError for a place that cannot be written or is another's."""
        model, config = _places(out)
        if out.exists() and not out.is_dir():
            raise CatganError(
                f"{out}: a model repository is a directory: choose another place with --out"
            )
        for path in (model, config):
            require_replaceable(path)
        if config.parent.exists() and not _is_ours(config):
            raise CatganError(
                f"{config.parent} is there already, and no export's: choose another place with "
                "--out"
            )
        require_writable(model.parent)

    def write(
        self, out: Path, data: bytes, card: Card, weights: Mapping[str, Tensor]
    ) -> dict[str, Path]:
        """Write model and configuration."""
        model, config = _places(out)
        make_directory(model.parent)
        write_durably(config, configuration(card).encode())
        write_durably(model, data)
        return {"model": model, "config": config}

    def next_command(self, out: Path) -> tuple[str, ...]:
        """Serve it."""
        return ("tritonserver", "--model-repository", str(out))


def configuration(card: Card) -> str:
    """Return config.pbtxt, a `ModelConfig` as protocol buffer text."""
    z, truncation = INPUTS
    side = card.resolution
    return f"""{_HEAD}name: "{MODEL_NAME}"
platform: "onnxruntime_onnx"
max_batch_size: 0
input [
  {{ name: "{z}" data_type: TYPE_FP32 dims: [ -1, {card.latent_size} ] }},
  {{ name: "{truncation}" data_type: TYPE_FP32 dims: [ 1 ] }}
]
output [
  {{ name: "{OUTPUT}" data_type: TYPE_UINT8 dims: [ -1, {side}, {side}, 3 ] }}
]
"""


def _places(out: Path) -> tuple[Path, Path]:
    return out / MODEL_NAME / "1" / "model.onnx", out / MODEL_NAME / "config.pbtxt"


def _is_ours(config: Path) -> bool:
    return config.is_file() and config.read_text("utf-8", errors="replace").startswith(_HEAD)
