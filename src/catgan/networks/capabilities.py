"""Probe what this machine's processor can do: run each operation once, small, and cache the result.

Flags are not enough: PyTorch rejects bfloat16 convolutions on processors that emulate them
elsewhere, and a processor that has the instructions may still be slower with them. So all code that
chooses between implementations asks here, and each answer comes from an attempt. Results hold for
the life of the process.

With `CATGAN_PLAIN=1` in the environment no probe runs and no fast path is used: everything is
computed in float32 by PyTorch's documented operators, as on a processor that has nothing else.
Tests use it to run that path anywhere, and it shows whether a fast kernel causes a wrong result.
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

# bfloat16 must take at most this fraction of float32's time: a tie is not worth its rounding.
_MAX_TIME_RATIO = 0.9
_ROUNDS = 12  # with 6, on a busy machine, 1 of 20 probes found float32 faster
# Feature maps as in the middle of the networks: large enough that arithmetic dominates.
_TIMED_SHAPE = (8, 64, 16, 16)

_INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "sve", "sve_bf16")


@functools.cache
def fused_convolution() -> Callable[..., Tensor] | None:
    """Return oneDNN's convolution fused with a clipped output, or None where it does not work.

    It is not part of PyTorch's documented interface, so it may be absent, change, or fail.
    """
    operator: Any = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
    if operator is None or _is_plain():
        return None
    with _default_modes("cpu"):
        images, weight = _example_convolution("cpu", torch.float32)
        try:
            actual = _relu6_convolution(operator, images, weight)
            expected = F.conv2d(images, weight, padding=1).clamp(0, 6)
            return operator if torch.allclose(actual, expected, rtol=1e-4, atol=1e-4) else None
        except (RuntimeError, TypeError):  # different signature or result; built without oneDNN
            return None


@functools.cache
def bfloat16_works(device: str = "cpu") -> bool:
    """Return whether networks can be trained in bfloat16 on a kind of device: "cpu", "cuda"...

    Without AVX-512 or AVX-NE-CONVERT, PyTorch's oneDNN raises an error, and its other kernels
    accumulate gradients in bfloat16, which loses more digits than training can spare.
    """
    if device == "cpu" and _is_plain():
        return False
    with _default_modes(device):
        images, weight = _example_convolution(device, torch.bfloat16)
        try:
            if device == "cpu" and (fused := fused_convolution()):
                _relu6_convolution(fused, images, weight)
            actual = _with_gradients(images, weight)
        except RuntimeError:
            return False
        expected = _with_gradients(images.float(), weight.float())
        # A float32 sum that is rounded once has a relative error of at most 2 ** -8.
        return all(
            bool((rounded.float() - exact).abs().max() < 1.5 * 2**-8 * exact.abs().max())
            for rounded, exact in zip(actual, expected, strict=True)
        )


@functools.cache
def bfloat16_is_faster() -> bool:
    """Return whether this processor trains convolutions faster in bfloat16 than in float32.

    Takes some tens of milliseconds, once. It compares the fastest of several rounds, which other
    work on the machine disturbs least.
    """
    if not bfloat16_works():
        return False
    times: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    with _default_modes("cpu"):
        for _ in range(_ROUNDS):  # alternating, so that a busy moment affects both
            for precision, seconds in times.items():
                seconds.append(_seconds(precision))
    return min(times[torch.bfloat16]) < _MAX_TIME_RATIO * min(times[torch.float32])


def vector_instructions() -> str:
    """Return the relevant vector and matrix instructions of this processor, comma-separated."""
    capabilities = torch.cpu.get_capabilities()
    return ", ".join(name for name in _INSTRUCTIONS if capabilities.get(name)) or "unknown"


def clear_cache() -> None:
    """Clear the cached results, so that the next question runs the probes again."""
    for probe in (fused_convolution, bfloat16_works, bfloat16_is_faster):
        probe.cache_clear()


def _is_plain() -> bool:
    return os.environ.get(PLAIN_VARIABLE, "") not in ("", "0")


@contextmanager
def _default_modes(device: str) -> Iterator[None]:
    """Turn autocast off and gradients on, whatever the caller has set."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device, enabled=False),
    ):
        yield


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _example_convolution(device: str, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return images and weights of a convolution with long sums."""
    images, weight = _random(32, 64, 8, 8), _random(32, 64, 3, 3) / 24
    return images.to(device, precision), weight.to(device, precision)


def _with_gradients(images: Tensor, weight: Tensor) -> list[Tensor]:
    """Return a convolution's output, and the gradients of a weighted sum of it by its arguments."""
    images, weight = (tensor.detach().requires_grad_() for tensor in (images, weight))
    output = F.conv2d(images, weight, padding=1)
    grad_output = _random(*output.shape).bfloat16().to(output)  # the same in both precisions
    return [output.detach(), *torch.autograd.grad(output, (images, weight), grad_output)]


def _relu6_convolution(operator: Callable[..., Tensor], images: Tensor, weight: Tensor) -> Tensor:
    ones = (1, 1)
    return operator(images, weight, None, ones, ones, ones, 1, "hardtanh", [0.0, 6.0], "")


def _seconds(precision: torch.dtype) -> float:
    """Time a convolution and a depthwise one, forward and backward, at the networks' sizes."""
    channels = _TIMED_SHAPE[1]
    weights = [_random(channels, channels, 3, 3), _random(channels, 1, 3, 3)]
    weights = [weight.to(precision).requires_grad_() for weight in weights]
    x = _random(*_TIMED_SHAPE).to(precision).contiguous(memory_format=torch.channels_last)
    start = time.perf_counter()
    for weight in weights:
        x = F.conv2d(x, weight, padding=1, groups=channels // weight.shape[1])
    x.backward(x.detach())
    return time.perf_counter() - start
