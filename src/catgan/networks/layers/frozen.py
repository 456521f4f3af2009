"""Convolutions that are never trained, made fast to look through and to send gradients through.

A frozen network judges images all through a training run: forward for the real ones, forward and
back to the pixels for the generated ones. On a CPU most of that time went into things that are not
arithmetic, and each has its remedy here (`benchmarks/frozen.py`):

- clipping to [0, 6] in a pass of its own: done inside the convolution (oneDNN's post-operation,
  which torch's own compiler calls in the same way);
- the uneven padding of TensorFlow's "SAME", a copy of the whole map: taken into the kernel instead,
  as a row and a column of zeros;
- the library's bfloat16 backward of depthwise convolutions with stride 2, by far the slowest part:
  written as a forward convolution with the kernel turned round;
- the gradient of the first layer toward an image of three channels, which kernels made for many
  channels waste: done for the four phases of its stride at once, as twelve channels.

Forward and back, 32 images of 128 px: 232 ms in bfloat16, with the library's layers 998, in float32
434 and 543 (2-core Xeon with AMX, 2026-11-22).
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
_NO_GRADIENTS = (None,) * 6  # toward what is frozen


class SameConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "SAME": output size = ceil(input size / stride).

    Kernels are square and odd, groups are 1 or one a channel (depthwise). An odd amount of padding
    puts the extra row below and the extra column to the right; the amount follows the size of each
    input, so that any input size is treated as TensorFlow would. `relu6` clips the output to
    [0, 6]. There are gradients toward the input, none toward the weights.
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
        """N x C x H x W to N x C' x ceil(H / stride) x ceil(W / stride)."""
        stride = self.stride[0]
        if x.device.type == "cpu" and (fused := fused_convolution()) is not None:
            settings = (stride, self.groups, self.relu6, fused)
            return _Convolution.apply(x, self.weight, self.bias, *settings)
        x, weight, padding = _padded(x, self.weight, stride)
        y = F.conv2d(x, weight, self.bias, stride, padding, 1, self.groups)
        return F.relu6(y, inplace=True) if self.relu6 else y


def freeze(network: nn.Module, *, saved: bool = False) -> None:
    """Turn every parameter of `network` into a buffer, part of its state only when `saved`.

    Optimizers and `requires_grad_` of whatever holds the network then pass it by.
    """
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach(), persistent=saved)
    network.eval()


class _Convolution(torch.autograd.Function):
    """What `SameConv2d` does, on a CPU that has the `fused` operator."""

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
            return _by_phases(gradient, weight, ctx.shape), *_NO_GRADIENTS
        # A "SAME" convolution of stride 2 is the one of stride 1, looked at in every other place;
        # so its gradient is that of stride 1, which is zero in the places between.
        if ctx.stride > 1:
            first = [kernel // 2 - _same_padding(s, kernel, ctx.stride) // 2 for s in ctx.shape[2:]]
            shape = gradient.shape[:2] + ctx.shape[2:]
            spread = torch.empty(
                shape, dtype=gradient.dtype, memory_format=torch.channels_last
            ).zero_()
            spread[:, :, first[0] :: ctx.stride, first[1] :: ctx.stride] = gradient
            gradient = spread
        turned = weight.flip(2, 3)
        if ctx.groups == 1:
            turned = turned.transpose(0, 1)
        gradient = F.conv2d(gradient, turned, None, 1, kernel // 2, 1, ctx.groups)
        return gradient, *_NO_GRADIENTS


def _by_phases(gradient: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
    """The gradient of a "SAME" convolution of stride 2 toward its input, of `shape`.

    Pixels of even and odd rows and columns meet different weights, and those of one kind all the
    same ones: four small convolutions of the gradient, done as one with four times the channels.
    Where the input has three channels, as images have, that takes a fraction of the time.
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
    found = F.conv2d(gradient, phases, None, 1, reach).permute(0, 2, 3, 1)
    # (B, H, W, row x column x C) -> (B, 2 H, 2 W, C), in which pieces of C stay together.
    found = found.unflatten(3, (2, 2, shape[1])).transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return found.permute(0, 3, 1, 2)[:, :, : shape[2], : shape[3]]


def _padded(x: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Input, kernel and even padding that together pad as "SAME"."""
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
