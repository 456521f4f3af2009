"""Parse JSON request bodies."""

from __future__ import annotations

import json
from typing import Any

from catgan.errors import quoted
from catgan.serve.problems import ProblemError


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`; raises `ProblemError` 400 for anything else."""
    try:
        document = json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise ProblemError(400, "the body is not JSON") from None
    if not isinstance(document, dict):
        raise ProblemError(400, "the body is not a JSON object")
    return document


def _reject_constant(name: str) -> None:
    """Reject NaN and Infinity, which Python's parser accepts but JSON does not have."""
    raise ValueError(f"{name} is not JSON")


def get_int(document: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    """Return the integer field `name`, or `default` if it is absent or null.

    Raises `ProblemError` 422 for another type, and outside `low` to `high`.
    """
    value = document.get(name)
    if value is None:
        return default
    if type(value) is not int or not low <= value <= high:
        raise ProblemError(
            422, f"{name}={quoted(value)}: expected a whole number from {low} to {high}"
        )
    return value


def get_float(
    document: dict[str, Any], name: str, default: float, low: float, high: float
) -> float:
    """Return the number field `name`, or `default` if it is absent or null.

    Raises `ProblemError` 422 for another type, and outside `low` to `high`.
    """
    value = document.get(name)
    if value is None:
        return default
    if type(value) not in (int, float) or not low <= value <= high:
        raise ProblemError(
            422, f"{name}={quoted(value)}: expected a number from {low:g} to {high:g}"
        )
    return abs(float(value))


def get_string(document: dict[str, Any], name: str) -> str | None:
    """Return the string field `name`, or None if it is absent or null.

    Raises `ProblemError` 422 for another type.
    """
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise ProblemError(422, f"{name}={quoted(value)}: expected a string")
    return value
