"""What callers hand over, before anything is computed with it: each mistake is one line."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from catgan.errors import CatganError, quoted


def is_whole(value: object) -> bool:
    """Whether `value` is a whole number of Python's or NumPy's; a truth value is none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_whole(name: str, value: Any, low: int, high: int) -> int:
    """`value` as an int; `CatganError` unless it is a whole number from `low` to `high`."""
    if not is_whole(value) or not low <= value <= high:
        raise CatganError(
            f"{name} = {quoted(value)} is out of range: choose a whole number from {low} to "
            f"{high:,}"
        )
    return int(value)


def check_number(name: str, value: Any, low: float, high: float) -> float:
    """`value` as a float; `CatganError` unless it is a number from `low` to `high`."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # NaN is in no range
        raise CatganError(
            f"{name} = {quoted(value)} is out of range: choose a number from {low:g} to {high:g}"
        )
    return float(value)


def check_truncation(truncation: Any) -> float:
    """`truncation` as a float; `CatganError` unless it is a number from 0 to 1."""
    return check_number("truncation", truncation, 0, 1)


def check_latents(z: Any, size: int) -> np.ndarray:
    """`z` as float32 (N, `size`).

    Raises `CatganError` for another shape or type, and for what is not finite.
    """
    try:
        array = np.asarray(z)
    except (TypeError, ValueError) as error:  # rows of several lengths; a tensor on a GPU
        raise CatganError(f"latents must be an array of numbers (N, {size}): {error}") from None
    if array.ndim != 2 or array.shape[1] != size:
        raise CatganError(f"latents must be of shape (N, {size}), not {array.shape}")
    if array.dtype.kind not in "fiu":
        raise CatganError(f"latents must be real numbers, not {array.dtype}")
    with np.errstate(over="ignore"):  # told in the next line
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise CatganError("latents must be finite numbers, as those of `latents(seeds)` are")
    return array
