"""Measure forward and backward passes of the frozen backbone against torch's own layers.

    python benchmarks/frozen.py            # half a minute

EfficientNet-Lite0's features of 32 images of 128 px, channels-last: a forward pass without
gradients, and a forward and backward pass to the pixels. "library" is the same network with torch's
layers, autograd's backward pass and a separate pass for each clipping. The versions take turns;
times are medians. bfloat16 is left out on machines without support for it.
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
    """Return seconds of a forward pass without gradients, and of a forward and backward pass."""
    started = time.perf_counter()
    with torch.no_grad():
        network.features(images)
    middle = time.perf_counter()
    images = images.detach().requires_grad_()
    torch.autograd.grad(network.features(images), images, gradients)
    return [middle - started, time.perf_counter() - middle]


def main() -> None:
    """Measure and print the table."""
    torch.set_flush_denormal(True)
    layout = torch.channels_last
    fused_convolution, results = frozen.fused_convolution, {}
    precisions = (torch.float32, torch.bfloat16) if bfloat16_works() else (torch.float32,)
    for _ in range(ROUNDS):
        for precision in precisions:
            network = load(LITE0).to(precision).to(memory_format=layout)
            images = torch.rand(BATCH, 3, SIDE, SIDE).to(precision).contiguous(memory_format=layout)
            with torch.no_grad():
                gradients = [torch.ones_like(map_) for map_ in network.features(images)]
            for layers in ("library", "catgan"):
                frozen.fused_convolution = fused_convolution if layers == "catgan" else lambda: None
                times = seconds(network, images, gradients)
                results.setdefault((str(precision)[6:], layers), []).append(times)
    print("precision  layers   forward, ms  forward and backward, ms")
    for (precision, layers), times in results.items():
        forward, both = (1000 * statistics.median(column) for column in zip(*times, strict=True))
        print(f"{precision:9s}  {layers:7s}  {forward:11.0f}  {both:24.0f}")


if __name__ == "__main__":
    main()
