"""What this machine's processor can do, found out by doing it once, small, and remembered.

Flags do not tell enough: PyTorch rejects bfloat16 convolutions on processors that emulate them
elsewhere, and a processor that has the instructions may still be slower with them. So everything
that chooses between ways to compute asks here, and each answer comes from an attempt. What it finds
holds for the life of the process.

With `CATGAN_PLAIN=1` in the environment nothing is tried and nothing found: then all is computed in
float32 by PyTorch's documented operators, as on a processor that has nothing else. Tests do so to
run that path anywhere, and it tells whether a fast kernel is to blame for a wrong result.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

PLAIN_VARIABLE = "CATGAN_PLAIN"

# bfloat16 must take at most this share of float32's time: a tie is not worth its rounding.
_WORTHWHILE = 0.9
_ROUNDS = 6
# A batch of feature maps as in the middle of the networks: large enough that arithmetic counts.
_MAPS = (8, 64, 16, 16)

_INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "sve", "sve_bf16")


@functools.cache
def fused_convolution() -> Callable[..., Tensor] | None:
    """Return oneDNN's convolution with a clipped output, or None where it does not work.

    It is not part of PyTorch's documented interface, so it may be absent, change, or fail.
    """
    operator: Any = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
    if operator is None or _plain():
        return None
    with _undisturbed("cpu"):
        images, weight = _convolved("cpu", torch.float32)
        try:
            found = _clipped(operator, images, weight)
            expected = F.conv2d(images, weight, padding=1).clamp(0, 6)
            return operator if torch.allclose(found, expected, rtol=1e-4, atol=1e-4) else None
        except (RuntimeError, TypeError):  # another signature or result; a build without oneDNN
            return None


@functools.cache
def bfloat16_works(device: str = "cpu") -> bool:
    """Return whether networks can be trained in bfloat16 on a kind of device: "cpu", "cuda"...

    Without AVX-512 or AVX-NE-CONVERT, PyTorch's oneDNN raises an error, and its other kernels add
    up gradients in bfloat16, which costs more digits than training can spare.
    """
    if device == "cpu" and _plain():
        return False
    with _undisturbed(device):
        images, weight = _convolved(device, torch.bfloat16)
        try:
            if device == "cpu" and (fused := fused_convolution()):
                _clipped(fused, images, weight)
            found = _with_gradients(images, weight)
        except RuntimeError:
            return False
        expected = _with_gradients(images.float(), weight.float())
        # Sums in float32, each rounded once at the end, are wrong by at most 2 ** -8 of themselves.
        return all(
            bool((rounded.float() - exact).abs().max() < 1.5 * 2**-8 * exact.abs().max())
            for rounded, exact in zip(found, expected, strict=True)
        )


@functools.cache
def bfloat16_is_faster() -> bool:
    """Return whether this processor trains convolutions faster in bfloat16 than in float32.

    Takes some tens of milliseconds, once. The fastest of several rounds counts, as it is the one
    that other work has disturbed least.
    """
    if not bfloat16_works():
        return False
    times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    with _undisturbed("cpu"):
        for _ in range(_ROUNDS):  # in turn, so that a busy moment meets both
            for precision, seconds in times.items():
                seconds.append(_seconds(precision))
    return min(times[torch.bfloat16]) < _WORTHWHILE * min(times[torch.float32])


def vector_instructions() -> str:
    """Return the vector and matrix instructions of this processor that matter here, as text."""
    found = torch.cpu.get_capabilities()
    return ", ".join(name for name in _INSTRUCTIONS if found.get(name)) or "unknown"


def forget() -> None:
    """Forget what was found, so that the next question is answered anew."""
    for found in (fused_convolution, bfloat16_works, bfloat16_is_faster):
        found.cache_clear()


def _plain() -> bool:
    return os.environ.get(PLAIN_VARIABLE, "") not in ("", "0")


@contextmanager
def _undisturbed(device: str) -> Iterator[None]:
    """Neither autocast nor a lack of gradients, which the first to ask may have set for itself."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device, enabled=False),
    ):
        yield


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _convolved(device: str, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Images and weights of a convolution that adds up many numbers."""
    images, weight = _random(32, 64, 8, 8), _random(32, 64, 3, 3) / 24
    return images.to(device, precision), weight.to(device, precision)


def _with_gradients(images: Tensor, weight: Tensor) -> list[Tensor]:
    """A convolution's output, and the gradients of a weighted sum of it toward its arguments."""
    images, weight = (tensor.detach().requires_grad_() for tensor in (images, weight))
    output = F.conv2d(images, weight, padding=1)
    toward = _random(*output.shape).bfloat16().to(output)  # the same in both precisions
    return [output.detach(), *torch.autograd.grad(output, (images, weight), toward)]


def _clipped(operator: Callable[..., Tensor], images: Tensor, weight: Tensor) -> Tensor:
    ones = (1, 1)
    return operator(images, weight, None, ones, ones, ones, 1, "hardtanh", [0.0, 6.0], "")


def _seconds(precision: torch.dtype) -> float:
    """Time a convolution and a depthwise one, forward and backward, as the networks have them."""
    channels = _MAPS[1]
    weights = [_random(channels, channels, 3, 3), _random(channels, 1, 3, 3)]
    weights = [weight.to(precision).requires_grad_() for weight in weights]
    x = _random(*_MAPS).to(precision).contiguous(memory_format=torch.channels_last)
    began = time.perf_counter()
    for weight in weights:
        x = F.conv2d(x, weight, padding=1, groups=channels // weight.shape[1])
    x.backward(x.detach())
    return time.perf_counter() - began
