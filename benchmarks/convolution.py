"""Measure our convolutions against torch's, on the layers of lsgan-64 and projected-128.

    python benchmarks/convolution.py

Milliseconds a batch of a forward and a backward pass, median of seven, in the precision that `auto`
chooses on this machine, with channels-last memory and autocast as in training.
`networks/layers/convolution.py` uses the matrix product if the low-resolution side is at most 8.
An enlarging convolution is computed as a transposed one, by torch ("library") or as a matrix
product; "repeated" is torch's convolution of the upsampled image.
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
    TransposedConvolution,
    UpsamplingConvolution,
)
from catgan.runs.device import choose_precision

BATCH = 32
LAYERS = [  # channels at high and at low resolution, side at low resolution
    (128, 256, 16),
    (256, 512, 8),
    (512, 1024, 4),
]
ENLARGING = [(384, 384, 4), (384, 192, 8), (192, 96, 16), (96, 48, 32)]  # in, out, input side


def upsample_and_convolve(layer: UpsamplingConvolution, image: torch.Tensor) -> torch.Tensor:
    """Return the output of an enlarging convolution, computed by its definition."""
    return F.conv2d(F.interpolate(image, scale_factor=2), layer.weight, padding=1)


def milliseconds(layer: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor) -> float:
    """Return the time of a forward and backward pass, median of seven after two warm-ups."""
    times = []
    for _ in range(9):
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=image.dtype == torch.bfloat16):
            output = layer(image)
        output.backward(torch.ones_like(output))
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times[2:])


def main() -> None:
    """Measure and print the table."""
    torch.set_flush_denormal(True)
    precision = choose_precision("auto", torch.device("cpu"))
    print(str(precision).removeprefix("torch."))
    default_side = convolution.MATRIX_PRODUCT_SIDE
    print(f"{'layer':34s} {'library':>8s} {'product':>8s}  used")
    for kind in (Convolution, TransposedConvolution):
        for high, low, side in LAYERS:
            transposed = kind is TransposedConvolution
            channels = (low, high) if transposed else (high, low)
            size = side if transposed else 2 * side
            layer = kind(*channels, 4, 2, 1, bias=False).to(memory_format=torch.channels_last)
            image = torch.randn(BATCH, channels[0], size, size, dtype=precision)
            image = image.contiguous(memory_format=torch.channels_last).requires_grad_()
            times = []
            for convolution.MATRIX_PRODUCT_SIDE in (0, 10_000):
                times.append(milliseconds(layer, image))
            name = f"{kind.__name__} {channels[0]}->{channels[1]}, low side {side}"
            choice = "product" if side <= default_side else "library"
            print(f"{name:34s} {times[0]:8.1f} {times[1]:8.1f}  {choice}")
    convolution.MATRIX_PRODUCT_SIDE = default_side
    print(f"{'layer':34s} {'repeated':>8s} {'library':>8s} {'product':>8s}  used")
    for inputs, outputs, side in ENLARGING:
        layer = UpsamplingConvolution(inputs, outputs).to(memory_format=torch.channels_last)
        image = torch.randn(BATCH, inputs, side, side, dtype=precision)
        image = image.contiguous(memory_format=torch.channels_last).requires_grad_()
        times = [milliseconds(lambda x, layer=layer: upsample_and_convolve(layer, x), image)]
        for convolution.MATRIX_PRODUCT_SIDE in (0, 10_000):
            times.append(milliseconds(layer, image))
        name = f"enlarging {inputs}->{outputs}, low side {side}"
        choice = "product" if side <= default_side else "library"
        print(f"{name:34s} {times[0]:8.1f} {times[1]:8.1f} {times[2]:8.1f}  {choice}")


if __name__ == "__main__":
    main()
