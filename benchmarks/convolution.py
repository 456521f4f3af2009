"""What our convolutions win: forward and backward of the layers of lsgan-64 and projected-128.

    python benchmarks/convolution.py

Median of seven, in milliseconds a batch, in the precision that `auto` chooses on this machine and
in channels-last memory under autocast, as in training. `networks/layers/convolution.py` takes the
matrix product where the coarse side is at most 8.
An enlarging convolution is a transposed one, by the library or as a matrix product; "repeated" is
the same written plainly, with the library's convolution of the repeated pixels.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from catgan.networks.layers import convolution
from catgan.networks.layers.convolution import (
    Convolution,
    EnlargingConvolution,
    TransposedConvolution,
)
from catgan.runs.device import choose_precision

BATCH = 32
LAYERS = [  # channels on the fine side, channels on the coarse side, coarse side
    (128, 256, 16),
    (256, 512, 8),
    (512, 1024, 4),
]
ENLARGING = [(384, 384, 4), (384, 192, 8), (192, 96, 16), (96, 48, 32)]  # in, out, coarse side


def plainly(layer: EnlargingConvolution, image: torch.Tensor) -> torch.Tensor:
    """What an enlarging convolution is, written plainly."""
    return F.conv2d(F.interpolate(image, scale_factor=2), layer.weight, padding=1)


def milliseconds(layer: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor) -> float:
    """Forward and backward, median of seven after two."""
    times = []
    for _ in range(9):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=image.dtype == torch.bfloat16):
            output = layer(image)
        output.backward(torch.ones_like(output))
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[2:])


def main() -> None:
    """Measure and print the table."""
    torch.set_flush_denormal(True)
    precision = choose_precision("auto", torch.device("cpu"))
    print(str(precision).removeprefix("torch."))
    taken = convolution.MATRIX_PRODUCT_SIDE
    print(f"{'layer':34s} {'library':>8s} {'product':>8s}  taken")
    for kind in (Convolution, TransposedConvolution):
        for fine, coarse, side in LAYERS:
            transposed = kind is TransposedConvolution
            channels = (coarse, fine) if transposed else (fine, coarse)
            size = side if transposed else 2 * side
            layer = kind(*channels, 4, 2, 1, bias=False).to(memory_format=torch.channels_last)
            image = torch.randn(BATCH, channels[0], size, size, dtype=precision)
            image = image.contiguous(memory_format=torch.channels_last).requires_grad_()
            times = []
            for convolution.MATRIX_PRODUCT_SIDE in (0, 10_000):
                times.append(milliseconds(layer, image))
            name = f"{kind.__name__} {channels[0]}->{channels[1]}, coarse {side}"
            choice = "product" if side <= taken else "library"
            print(f"{name:34s} {times[0]:8.1f} {times[1]:8.1f}  {choice}")
    convolution.MATRIX_PRODUCT_SIDE = taken
    print(f"{'layer':34s} {'repeated':>8s} {'library':>8s} {'product':>8s}  taken")
    for inputs, outputs, side in ENLARGING:
        layer = EnlargingConvolution(inputs, outputs).to(memory_format=torch.channels_last)
        image = torch.randn(BATCH, inputs, side, side, dtype=precision)
        image = image.contiguous(memory_format=torch.channels_last).requires_grad_()
        times = [milliseconds(lambda x, layer=layer: plainly(layer, x), image)]
        for convolution.MATRIX_PRODUCT_SIDE in (0, 10_000):
            times.append(milliseconds(layer, image))
        name = f"enlarging {inputs}->{outputs}, coarse {side}"
        choice = "product" if side <= taken else "library"
        print(f"{name:34s} {times[0]:8.1f} {times[1]:8.1f} {times[2]:8.1f}  {choice}")


if __name__ == "__main__":
    main()
