"""JSON in the body of a request."""

from __future__ import annotations

import json
from typing import Any

from catgan.errors import quoted
from catgan.serve.problems import ProblemError


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Return the object that the body is; raises `ProblemError` 400 for anything else."""
    try:
        document = json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        raise ProblemError(400, "the body is not JSON") from None
    if not isinstance(document, dict):
        raise ProblemError(400, "the body is not a JSON object")
    return document


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def whole(document: dict[str, Any], name: str, default: int, low: int, high: int) -> int:
    """Return a whole number of an object; raises `ProblemError` 422."""
    value = document.get(name)
    if value is None:
        return default
    if type(value) is not int or not low <= value <= high:
        raise ProblemError(
            422, f"{name}={quoted(value)}: expected a whole number from {low} to {high}"
        )
    return value


def number(document: dict[str, Any], name: str, default: float, low: float, high: float) -> float:
    """Return a number of an object; raises `ProblemError` 422."""
    value = document.get(name)
    if value is None:
        return default
    if type(value) not in (int, float) or not low <= value <= high:
        raise ProblemError(
            422, f"{name}={quoted(value)}: expected a number from {low:g} to {high:g}"
        )
    return abs(float(value))


def text(document: dict[str, Any], name: str) -> str | None:
    """Return a string of an object, or None where it has none; raises `ProblemError` 422."""
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise ProblemError(422, f"{name}={quoted(value)}: expected a string")
    return value
