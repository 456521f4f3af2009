"""Frozen convolutions with a fast forward pass and a fast gradient toward the input.

A frozen backbone extracts features throughout a training run: forward for real images, forward and
backward to the pixels for generated ones. On a CPU most of that time was not arithmetic. Each cost
has its remedy here (`benchmarks/frozen.py`):

- Clipping to [0, 6] in a separate pass: done inside the convolution (oneDNN's post-operation,
  which torch's own compiler calls in the same way).
- The uneven padding of TensorFlow's "SAME", a copy of the whole map: moved into the kernel, as a
  row and a column of zeros.
- The library's bfloat16 backward of depthwise convolutions with stride 2, by far the slowest part:
  written as a forward convolution with the flipped kernel.
- The gradient of the first layer by an image of three channels, slow in kernels made for many
  channels: computed for the four phases of its stride at once, as twelve channels.

Forward and backward of 32 images of 128 px take 232 ms in bfloat16 and 434 ms in float32; with the
library's layers 998 ms and 543 ms (2-core Xeon with AMX, 2026-11-22).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catgan.networks.capabilities import fused_convolution

_CLIP = ("hardtanh", [0.0, 6.0], "")
_NO_GRADIENTS = (None,) * 6  # of the frozen weights and the settings


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": output size = ceil(input size / stride).

    Kernels are square and odd; groups are 1, or one per channel (depthwise). Odd padding puts the
    extra row at the bottom and the extra column on the right, and depends on each input's size, as
    in TensorFlow. `relu6` clips the output to [0, 6]. Gradients reach the input, not the weights.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        *,
        relu6: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        self.relu6 = relu6

    def forward(self, x: Tensor) -> Tensor:
        """Map N x C x H x W to N x C' x ceil(H / stride) x ceil(W / stride)."""
        stride = self.stride[0]
        if x.device.type == "cpu" and (fused := fused_convolution()) is not None:
            settings = (stride, self.groups, self.relu6, fused)
            return _Convolution.apply(x, self.weight, self.bias, *settings)
        x, weight, padding = _padded(x, self.weight, stride)
        y = F.conv2d(x, weight, self.bias, stride, padding, 1, self.groups)
        return F.relu6(y, inplace=True) if self.relu6 else y


def freeze(network: nn.Module, *, saved: bool = False) -> None:
    """Turn every parameter of `network` into a buffer, part of its state only when `saved`.

    Optimizers and `requires_grad_` of the module that holds the network then skip it.
    """
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach(), persistent=saved)
    network.eval()


class _Convolution(torch.autograd.Function):
    """`SameConv2d` on a CPU that has the `fused` operator."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: int,
        groups: int,
        relu6: bool,
        fused: Callable[..., Tensor],
    ) -> Tensor:
        padded, kernel, padding = _padded(x, weight, stride)
        strides = (stride, stride)
        if relu6:
            y = fused(padded, kernel, bias, padding, strides, (1, 1), groups, *_CLIP)
        else:
            y = F.conv2d(padded, kernel, bias, strides, padding, 1, groups)
        ctx.save_for_backward(weight, y if relu6 else None)
        ctx.shape, ctx.stride, ctx.groups = x.shape, stride, groups
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        weight, y = ctx.saved_tensors
        if y is not None:
            gradient = torch.ops.aten.hardtanh_backward(gradient, y, 0.0, 6.0)
        kernel = weight.shape[-1]
        if ctx.stride == 2 and ctx.groups == 1:
            return _input_gradient_by_phases(gradient, weight, ctx.shape), *_NO_GRADIENTS
        # A "SAME" convolution of stride 2 is every other output of the one of stride 1. So its
        # gradient is that of stride 1, with zeros between.
        if ctx.stride > 1:
            first = [kernel // 2 - _same_padding(s, kernel, ctx.stride) // 2 for s in ctx.shape[2:]]
            shape = gradient.shape[:2] + ctx.shape[2:]
            dilated = torch.empty(
                shape, dtype=gradient.dtype, memory_format=torch.channels_last
            ).zero_()
            dilated[:, :, first[0] :: ctx.stride, first[1] :: ctx.stride] = gradient
            gradient = dilated
        flipped = weight.flip(2, 3)
        if ctx.groups == 1:
            flipped = flipped.transpose(0, 1)
        gradient = F.conv2d(gradient, flipped, None, 1, kernel // 2, 1, ctx.groups)
        return gradient, *_NO_GRADIENTS


def _input_gradient_by_phases(gradient: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
    """Return the gradient of a "SAME" convolution of stride 2 by its input, which has `shape`.

    Pixels of even and odd rows and columns meet different weights, and all pixels of one kind meet
    the same ones: four small convolutions of the gradient, computed as one with four times the
    channels. For an input of three channels, as images have, that takes a fraction of the time.
    """
    kernel = weight.shape[-1]
    reach = kernel // 2
    taps = 2 * torch.arange(2 * reach, -1, -1)
    rows, columns = (
        torch.stack([taps + phase + _same_padding(size, kernel, 2) // 2 for phase in (0, 1)])
        for size in shape[2:]
    )
    padded = F.pad(weight, [2 * reach, 2 * reach + 1] * 2)
    phases = padded[:, :, rows[:, None, :, None], columns[None, :, None, :]]
    phases = phases.permute(2, 3, 1, 0, 4, 5).flatten(0, 2)
    result = F.conv2d(gradient, phases, None, 1, reach).permute(0, 2, 3, 1)
    # (B, H, W, row x column x C) -> (B, 2 H, 2 W, C); moves contiguous pieces of C.
    result = result.unflatten(3, (2, 2, shape[1])).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return result.permute(0, 3, 1, 2)[:, :, : shape[2], : shape[3]]


def _padded(x: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Return input, kernel and even padding that add up to "SAME"."""
    kernel = weight.shape[-1]
    rows, columns = (_same_padding(size, kernel, stride) for size in x.shape[-2:])
    if rows % 2 and columns % 2:
        return x, F.pad(weight, (1, 0, 1, 0)), (rows // 2 + 1, columns // 2 + 1)
    if rows % 2 or columns % 2:
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return x, weight, (0, 0)
    return x, weight, (rows // 2, columns // 2)


def _same_padding(size: int, kernel: int, stride: int) -> int:
    return max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
