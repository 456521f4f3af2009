"""What this machine's processor can do, found out by doing it once, small, and remembered.

Flags do not tell enough: PyTorch refuses bfloat16 convolutions on processors that emulate them
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
from collections.abc import Callable
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
    images, weight = _convolved("cpu", torch.float32)
    try:
        found = _clipped(operator, images, weight)
    except (RuntimeError, TypeError):  # another signature, or a build without oneDNN
        return None
    expected = F.conv2d(images, weight, padding=1).clamp(0, 6)
    return operator if torch.allclose(found, expected, rtol=1e-4, atol=1e-4) else None


@functools.cache
def bfloat16_works(device: str = "cpu") -> bool:
    """Return whether networks can be trained in bfloat16 on a kind of device: "cpu", "cuda"...

    Without AVX-512 or AVX-NE-CONVERT, PyTorch's oneDNN raises an error, and its other kernels add
    up in bfloat16, which costs more digits than training can spare.
    """
    if device == "cpu" and _plain():
        return False
    images, weight = _convolved(device, torch.bfloat16)
    try:
        found = F.conv2d(images.requires_grad_(), weight.requires_grad_(), padding=1)
        found.float().square().sum().backward()
        if device == "cpu" and (fused := fused_convolution()):
            _clipped(fused, images.detach(), weight.detach())
    except RuntimeError:
        return False
    with torch.no_grad():
        expected = F.conv2d(images.float(), weight.float(), padding=1)
        # A sum of float32 numbers that is rounded once has half of this error.
        return bool((found.float() - expected).abs().max() < 2**-8 * expected.abs().max())


@functools.cache
def bfloat16_is_faster() -> bool:
    """Return whether this processor trains convolutions faster in bfloat16 than in float32.

    Takes some tens of milliseconds, once. The fastest of several rounds counts, as it is the one
    that other work has disturbed least.
    """
    if not bfloat16_works():
        return False
    times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
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


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _convolved(device: str, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Images and weights of a convolution that adds up many numbers."""
    images, weight = _random(2, 64, 8, 8), _random(8, 64, 3, 3) / 8
    return images.to(device, precision), weight.to(device, precision)


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
