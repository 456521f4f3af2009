"""Convolutions that stay fast where the weights are larger than the image.

Deep in a DCGAN a layer has millions of weights and a 4 x 4 image. There a processor's convolution
kernels spend their time rearranging weights: forward and backward of 512 -> 1024 channels on a 4 x
4 image took 356 ms for a batch of 32 in bfloat16. The same sums as one matrix product over gathered
patches (im2col) took 84 ms (2-core Xeon with AMX, 2026-11-22; `benchmarks/convolution.py`). These
layers are `nn.Conv2d` and `nn.ConvTranspose2d` with the same weights and results. They use the
matrix product on a CPU when the low-resolution image is small, and the library's kernel otherwise.
Exported graphs have plain convolutions (`export_version`).
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Side of the low-resolution image up to which the matrix product is faster: much at 4, somewhat at
# 8, not at 16 (`benchmarks/convolution.py`).
MATRIX_PRODUCT_SIDE = 8
# Row i: which of the 3 rows of weights add up to row i of the 4 of an upsampling convolution.
_ROW_SUMS = torch.tensor([[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])

_Plain = TypeVar("_Plain", nn.Conv2d, nn.ConvTranspose2d)


class Convolution(nn.Conv2d):
    """`nn.Conv2d` with square kernels: (B, in, H, W) -> (B, out, H', W')."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name nn.Conv2d gives it
        """Convolve `input`."""
        kernel, stride, padding = _square(self)
        side = (input.shape[-1] + 2 * padding - kernel) // stride + 1
        if not _by_matrix_product(input, side):
            return super().forward(input)
        image, device = input, input.device.type
        if torch.is_autocast_enabled(device):  # gather in the precision of the product
            image = image.to(torch.get_autocast_dtype(device))
        patches = _Gather.apply(image, kernel, stride, padding)
        matrix = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, -1)
        return F.linear(patches, matrix, self.bias).permute(0, 3, 1, 2)

    def export_version(self) -> nn.Module:
        """Return an `nn.Conv2d` with the same weights."""
        return _with_weights_of(self, nn.Conv2d)


class TransposedConvolution(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` with square kernels: (B, in, H, W) -> (B, out, H', W')."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002
        """Convolve `input` transposed; `output_size` is not supported (nn.Module's signature)."""
        kernel, stride, padding = _square(self)
        if not _by_matrix_product(input, input.shape[-1]):
            return super().forward(input)
        side = (input.shape[-1] - 1) * stride - 2 * padding + kernel
        weight = self.weight.permute(0, 2, 3, 1).reshape(self.in_channels, -1)
        patches = input.permute(0, 2, 3, 1).matmul(weight)
        output = _Scatter.apply(patches, kernel, stride, padding, side)
        if self.bias is None:
            return output
        return output + self.bias.to(output.dtype).view(1, -1, 1, 1)

    def export_version(self) -> nn.Module:
        """Return an `nn.ConvTranspose2d` with the same weights."""
        return _with_weights_of(self, nn.ConvTranspose2d)


class UpsamplingConvolution(Convolution):
    """Repeat each pixel 2 x 2, then convolve 3 x 3, padded: (B, in, H, W) -> (B, out, 2 H, 2 W).

    Of the nine pixels in a window only four differ. So the same sums are a transposed convolution
    of stride 2 with 4 x 4 weights, each a sum of some of the nine, at four ninths of the
    multiplications.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Upsample and convolve `input`."""
        side, outputs = input.shape[-1], self.out_channels
        if input.device.type != "cpu":
            return super().forward(F.interpolate(input, scale_factor=2))
        with torch.autocast("cpu", enabled=False):
            sums = torch.kron(_ROW_SUMS, _ROW_SUMS).to(self.weight.dtype)
            rows = sums @ self.weight.permute(2, 3, 0, 1).reshape(9, -1)
        rows = rows.view(16, outputs, self.in_channels)
        if not _by_matrix_product(input, side):
            weight = rows.permute(2, 1, 0).unflatten(2, (4, 4))
            return F.conv_transpose2d(input, weight, stride=2, padding=1)
        patches = F.linear(input.permute(0, 2, 3, 1), rows.flatten(0, 1))
        return _Scatter.apply(patches, 4, 2, 1, 2 * side)

    def export_version(self) -> nn.Module:
        """Return the same as a plain convolution of repeated pixels."""
        return _with_weights_of(self, _ConvolutionOfRepeated)


class _ConvolutionOfRepeated(nn.Conv2d):
    """`UpsamplingConvolution` by its definition."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return super().forward(F.interpolate(input, scale_factor=2))


def _with_weights_of(layer: _Plain, kind: type[_Plain]) -> _Plain:
    """Return a layer of the class `kind` with the geometry and the weights of `layer`."""
    sizes = layer.in_channels, layer.out_channels, *_square(layer)
    plain = kind(*sizes, bias=False, device="meta")  # where initialization samples nothing
    plain.weight, plain.bias = layer.weight, layer.bias
    return plain


def _by_matrix_product(image: Tensor, side: int) -> bool:
    return image.device.type == "cpu" and side <= MATRIX_PRODUCT_SIDE


def _square(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[int, int, int]:
    return layer.kernel_size[0], layer.stride[0], int(layer.padding[0])


class _Gather(torch.autograd.Function):
    """Gather patches (im2col): (B, C, H, W) -> (B, h, w, kernel * kernel * C), channels innermost.

    Its adjoint is `_Scatter`, so the two differentiate each other, to any order.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        ctx.geometry = (kernel, stride, padding, image.shape[-1])
        image = F.pad(image.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
        image = image.contiguous()
        batch, side, _, channels = image.shape
        count = (side - kernel) // stride + 1
        b, h, w, c = image.stride()
        windows = image.as_strided(
            (batch, count, count, kernel, kernel, channels), (b, h * stride, w * stride, h, w, c)
        )
        return windows.reshape(batch, count, count, kernel * kernel * channels)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _Scatter.apply(gradients[0], *ctx.geometry), None, None, None


class _Scatter(torch.autograd.Function):
    """Add overlapping patches (col2im): (B, h, w, kernel * kernel * C) -> (B, C, H, H)."""

    @staticmethod
    def forward(
        ctx: Any, patches: Tensor, kernel: int, stride: int, padding: int, side: int
    ) -> Tensor:
        ctx.geometry = (kernel, stride, padding)
        batch, count, _, width = patches.shape
        channels = width // kernel**2
        patches = patches.view(batch, count, count, kernel, kernel, channels)
        # Tiles of stride x stride, one from each patch, do not overlap: so this takes one addition
        # per tile of a patch, not one per pixel of it.
        tiles = range(0, kernel, stride)
        padded_side = max(side + 2 * padding, tiles[-1] + stride * count)
        full = patches.new_zeros(batch, padded_side, padded_side, channels)
        b, h, w, c = full.stride()
        for row in tiles:
            for column in tiles:
                tile = patches[:, :, :, row : row + stride, column : column + stride]
                strides, offset = (b, h * stride, w * stride, h, w, c), row * h + column * w
                full.as_strided(tile.shape, strides, offset).add_(tile)
        image = full[:, padding : padding + side, padding : padding + side]
        return image.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        return _Gather.apply(gradients[0], *ctx.geometry), None, None, None, None
