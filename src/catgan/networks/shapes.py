"""What the families share: a generator's two halves, widths of stages, filters, first weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COARSEST_SIDE = 4
SMOOTHING = (1 / 4, 2 / 4, 1 / 4)


def stage_channels(resolution: int, channels: int, maximum_channels: int) -> list[int]:
    """Channels of the feature maps from side `resolution / 2` down to 4, finest first."""
    stages = (resolution // COARSEST_SIDE).bit_length() - 1
    return [min(channels * 2**stage, maximum_channels) for stage in range(stages)]


def enlarging_matrix(side: int, enlarged: int, mode: str = "bicubic") -> Tensor:
    """Interpolation of a line of `side` pixels, bicubic or bilinear: (enlarged, side), float64."""
    unit = torch.eye(side, dtype=torch.float64).unflatten(1, (1, side, 1))
    return F.interpolate(unit, size=(enlarged, 1), mode=mode).flatten(1).T


def line_filter_matrix(side: int, line: Sequence[float]) -> Tensor:
    """Convolution of `side` pixels with `line`, the border repeated: (side, side) in float64."""
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
    """(B, 4 C, side, side) -> (B, C, 2 side, 2 side): `convolve_each` of a pixel shuffle.

    Channels of `x` are (row, column, C), where `F.pixel_shuffle` has them last. As two matrix
    products, whose columns are in the order of the four maps laid side by side: moving single
    pixels takes longer than either.
    """
    batch, channels, side, _ = x.shape
    tiles = x.contiguous().view(batch, 2, 2, channels // 4, side, side).permute(0, 3, 1, 4, 2, 5)
    tiles = tiles.reshape(batch, channels // 4, 2 * side, 2 * side)
    unit = torch.eye(2 * side).to(x)[:, None]
    padded = F.pad(unit, [len(line) // 2] * 2, mode="replicate")
    matrix = F.conv1d(padded, x.new_tensor(line)[None, None])[:, 0]  # each row is an input's
    matrix = torch.cat([matrix[0::2], matrix[1::2]])
    return matrix.T @ tiles @ matrix


def smooth(x: Tensor) -> Tensor:
    """`convolve_each` with (1, 2, 1) / 4."""
    return convolve_each(x, SMOOTHING) if torch.compiler.is_exporting() else _Smooth.apply(x)


class _Smooth(torch.autograd.Function):
    """Its own adjoint, border and all, so the gradient takes the fast way of the images, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return convolve_each(x, SMOOTHING)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _Smooth.apply(gradients[0])


def initialise(module: nn.Module) -> None:
    """DCGAN's start: weights from N(0, 0.02), batch normalisation gains from N(1, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


class TwoPartGenerator(nn.Module):
    """A generator as `map`, then `synthesise`, with the place between them where truncation acts.

    Truncation pulls what `map` returns, the style, toward its mean over z, and so trades variety
    for quality (Brock et al., ICLR 2019; Karras et al., CVPR 2019). A family whose first layer
    undoes a change of length, as one that normalises z does, has that layer in `map`.
    """

    def map(self, z: Tensor) -> Tensor:
        """(B, latent_size) noise -> (B, style_size) style; here z itself."""
        return z

    def first_maps(self, style: Tensor) -> Tensor:
        """(B, style_size) style -> (B, channels, 4, 4) maps that the image begins with.

        All that the style does to them is in them, before any nonlinearity.
        """
        raise NotImplementedError

    def beginnings(self, style: Tensor) -> Tensor:
        """(B, style_size) style -> (B, ...): what decides how the image will look."""
        return self.first_maps(style)

    def synthesise(self, style: Tensor) -> Tensor:
        """(B, style_size) style -> (B, 3, resolution, resolution) images."""
        raise NotImplementedError

    def adapt_to(self, reals: Iterable[Tensor]) -> None:
        """Take from batches of real images what the weights then go on with; here nothing."""

    def settle(self, z: Tensor) -> None:
        """Measure what it needs to know of its own images, of (N, latent_size) noise; here nothing.

        For weights that were averaged: no step of training was taken with them.
        """

    def forward(self, z: Tensor) -> Tensor:
        """Draw one image for each row of `z`."""
        return self.synthesise(self.map(z))
