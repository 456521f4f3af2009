"""Check arguments before any computation; every mistake is a one-line `CatganError`."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from catgan.errors import CatganError, quoted


def is_integer(value: object) -> bool:
    """Return whether `value` is an integer of Python or NumPy; a bool is not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_integer(name: str, value: Any, low: int, high: int) -> int:
    """Return `value` as an int; `CatganError` unless it is an integer from `low` to `high`."""
    if not is_integer(value) or not low <= value <= high:
        raise CatganError(
            f"{name} = {quoted(value)}: expected a whole number from {low} to {high:,}"
        )
    return int(value)


def check_number(name: str, value: Any, low: float, high: float) -> float:
    """Return `value` as a float; `CatganError` unless it is a number from `low` to `high`."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:  # false for NaN
        raise CatganError(f"{name} = {quoted(value)}: expected a number from {low:g} to {high:g}")
    return float(value)


def check_truncation(truncation: Any) -> float:
    """Return `truncation` as a float; `CatganError` unless it is a number from 0 to 1."""
    return check_number("truncation", truncation, 0, 1)


def check_latents(z: Any, size: int) -> np.ndarray:
    """Return latents `z` as float32 (N, `size`).

    Raises:
        CatganError: the shape or type is another, or a number is not finite in float32.
    """
    try:
        array = np.asarray(z)
    except (TypeError, ValueError) as error:  # ragged rows; a tensor on a GPU
        raise CatganError(f"latents: expected an array of numbers (N, {size}): {error}") from None
    if array.ndim != 2 or array.shape[1] != size:
        raise CatganError(f"latents: expected the shape (N, {size}), not {array.shape}")
    if array.dtype.kind not in "fiu":
        raise CatganError(f"latents: expected real numbers, not {array.dtype}")
    with np.errstate(over="ignore"):  # an overflow raises below
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise CatganError("latents: expected finite numbers, as `latents(seeds)` returns them")
    return array
