"""How fast does the frozen network look, and send gradients back, beside torch's own layers?

    python benchmarks/frozen.py            # half a minute

EfficientNet-Lite0's features of 32 images of 128 px, channels-last: forward without gradients, and
forward and back to the pixels. "library" is the same network with torch's layers, autograd's
backward and a pass of its own for each clipping. The versions take turns; medians. Without bfloat16
where the machine cannot compute in it.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from catgan.networks.capabilities import bfloat16_works
from catgan.networks.efficientnet_lite import LITE0, EfficientNetLite, load
from catgan.networks.layers import frozen

BATCH, SIDE, ROUNDS = 32, 128, 7


def seconds(network: EfficientNetLite, images: Tensor, gradients: list[Tensor]) -> list[float]:
    """Seconds of a forward pass without gradients, and of one with, and back."""
    began = time.perf_counter()
    with torch.no_grad():
        network.features(images)
    middle = time.perf_counter()
    images = images.detach().requires_grad_()
    torch.autograd.grad(network.features(images), images, gradients)
    return [middle - began, time.perf_counter() - middle]


def main() -> None:
    """Measure and print the table."""
    torch.set_flush_denormal(True)
    memory = torch.channels_last
    find, found = frozen.fused_convolution, {}
    precisions = (torch.float32, torch.bfloat16) if bfloat16_works() else (torch.float32,)
    for _ in range(ROUNDS):
        for precision in precisions:
            network = load(LITE0).to(precision).to(memory_format=memory)
            images = torch.rand(BATCH, 3, SIDE, SIDE).to(precision).contiguous(memory_format=memory)
            with torch.no_grad():
                gradients = [torch.ones_like(map_) for map_ in network.features(images)]
            for layers in ("library", "catgan"):
                frozen.fused_convolution = find if layers == "catgan" else lambda: None
                times = seconds(network, images, gradients)
                found.setdefault((str(precision)[6:], layers), []).append(times)
    print("precision  layers   forward, ms  forward and back, ms")
    for (precision, layers), times in found.items():
        forward, both = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        print(f"{precision:9s}  {layers:7s}  {forward:11.0f}  {both:20.0f}")


if __name__ == "__main__":
    main()
