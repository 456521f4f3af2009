"""Interpolation and smoothing along both axes of images and feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMOOTHING = (1 / 4, 2 / 4, 1 / 4)


def upsampling_matrix(side: int, target: int, mode: str = "bicubic") -> Tensor:
    """Return the matrix that interpolates `side` pixels to `target`: (target, side), float64.

    `mode` is "bicubic" or "bilinear".
    """
    unit = torch.eye(side, dtype=torch.float64).unflatten(1, (1, side, 1))
    return F.interpolate(unit, size=(target, 1), mode=mode).flatten(1).T


def line_filter_matrix(side: int, line: Sequence[float]) -> Tensor:
    """Return the matrix (side, side), float64, of a convolution with `line`, border repeated."""
    unit = torch.eye(side, dtype=torch.float64)[:, None]
    padded = F.pad(unit, [len(line) // 2] * 2, mode="replicate")
    return F.conv1d(padded, unit.new_tensor(line)[None, None])[:, 0].T


def convolve_each(x: Tensor, line: Sequence[float]) -> Tensor:
    """Convolve each map of (B, C, H, W) with `line` along both axes, the border repeated.

    `line` is symmetric and of odd length.
    """
    kernel = x.new_tensor(line)
    kernel = (kernel[:, None] * kernel).expand(x.shape[1], 1, len(line), len(line))
    return F.conv2d(F.pad(x, [len(line) // 2] * 4, mode="replicate"), kernel, groups=x.shape[1])


def filtered_pixel_shuffle(x: Tensor, line: Sequence[float]) -> Tensor:
    """Pixel shuffle, then `convolve_each`: (B, 4 C, side, side) -> (B, C, 2 side, 2 side).

    Channels of `x` are ordered (row, column, C), where `F.pixel_shuffle` expects (C, row, column).
    Computed as two matrix products on the four maps laid side by side, since moving single pixels
    takes longer than either.
    """
    batch, channels, side, _ = x.shape
    tiles = x.contiguous().view(batch, 2, 2, channels // 4, side, side).permute(0, 3, 1, 4, 2, 5)
    tiles = tiles.reshape(batch, channels // 4, 2 * side, 2 * side)
    unit = torch.eye(2 * side).to(x)[:, None]
    padded = F.pad(unit, [len(line) // 2] * 2, mode="replicate")
    matrix = F.conv1d(padded, x.new_tensor(line)[None, None])[:, 0]  # one row per input
    matrix = torch.cat([matrix[0::2], matrix[1::2]])
    return matrix.T @ tiles @ matrix


def smooth(x: Tensor) -> Tensor:
    """Filter with (1, 2, 1) / 4 by `convolve_each`."""
    return _Smooth.apply(x)


class Smoothing(nn.Module):
    """`smooth` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """Smooth maps (B, C, H, W)."""
        return smooth(x)

    def export_version(self) -> nn.Module:
        """Return the same as a depthwise convolution."""
        return _ConvolutionalSmoothing()


class _ConvolutionalSmoothing(nn.Module):
    """`Smoothing` without a gradient of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return convolve_each(x, SMOOTHING)


class _Smooth(torch.autograd.Function):
    """`convolve_each` as its own adjoint, border included, so that the gradient is fast, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return convolve_each(x, SMOOTHING)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Smooth.apply(gradients[0])
