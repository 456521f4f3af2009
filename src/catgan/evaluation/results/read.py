"""Read evaluation.json, to compare generators that were scored on different days."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from pathlib import Path
from typing import Any

from catgan.data.reading.sources import label, printable
from catgan.errors import CatganError
from catgan.evaluation.evaluate import FORMAT, FORMAT_VERSION, Evaluation

_MAX_BYTES = 4 * 2**20  # a genuine one has twenty kilobytes


def read_evaluation(path: Path) -> Evaluation:
    """Return the evaluation in the JSON file `path`.

    Raises:
        CatganError: the file cannot be read or is not an evaluation of this format version.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        document = json.loads(path.read_bytes(), parse_constant=_reject)
    except (OSError, ValueError, RecursionError) as error:
        raise CatganError(
            f"{path}: is not a readable evaluation; write one with `catgan evaluate`"
        ) from error
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise CatganError(f"{path}: is not an evaluation; write one with `catgan evaluate`")
    if document.pop("format_version", None) != FORMAT_VERSION:
        raise CatganError(f"{path}: has another format version; run `catgan evaluate` again")
    try:
        evaluation = _value(Evaluation, document)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise CatganError(f"{path}: is damaged ({error}); run `catgan evaluate` again") from error
    # These are printed to the terminal, and the file may be hostile.
    extractor, checkpoint = evaluation.fingerprint.extractor, evaluation.checkpoint
    if checkpoint is not None:
        checkpoint = dataclasses.replace(
            checkpoint, pointers=tuple(label(pointer) for pointer in checkpoint.pointers)
        )
    return dataclasses.replace(
        evaluation,
        generated=label(evaluation.generated),
        reals=label(evaluation.reals),
        checkpoint=checkpoint,
        fingerprint=dataclasses.replace(
            evaluation.fingerprint,
            extractor=dataclasses.replace(extractor, name=label(extractor.name)),
        ),
        notes=tuple(printable(note) for note in evaluation.notes),
    )


def _reject(name: str) -> None:
    raise ValueError(f"{name} is not a score")


def _value(kind: Any, value: Any) -> Any:
    """Return the JSON value `value` as the annotated type `kind`; TypeError if it does not fit."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise TypeError(f"expected {kind.__name__}")
        hints = typing.get_type_hints(kind)
        if set(hints) != set(value):
            raise TypeError(f"{kind.__name__} has other fields")
        return kind(**{key: _value(hints[key], entry) for key, entry in value.items()})
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        return _value(next(part for part in kind.__args__ if part is not type(None)), value)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError("expected a list")
        return tuple(_value(typing.get_args(kind)[0], entry) for entry in value)
    if kind is float and type(value) in (int, float):
        if not math.isfinite(value):
            raise ValueError("a score is not finite")
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}")
    return value
