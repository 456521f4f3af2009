"""Cards in the files that other frameworks load: read without any of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from catgan.errors import CatganError
from catgan.generation.archive import KERAS, check_keras
from catgan.generation.artifact import MAX_ARTIFACT_BYTES
from catgan.generation.card import Card, parse_card
from catgan.generation.tflite import TFLITE, check_tflite

CHECKS = {KERAS: check_keras, TFLITE: check_tflite}  # by the ending of a file's name


def read_card(path: str | os.PathLike[str]) -> Card:
    """Return the card of a file whose name ends as one of `CHECKS` says.

    Raises:
        CatganError: it is no such file, damaged, or without a card of catgan's.
    """
    where = os.fspath(path)
    try:
        path = Path(where)
        if path.exists() and not path.is_file():  # a pipe nobody writes to would be waited for
            raise OSError(errno.EINVAL, "is no file")
        with path.open("rb") as file:
            data = file.read(MAX_ARTIFACT_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise CatganError(
            f"{where}: cannot be read ({getattr(error, 'strerror', None) or error}): name a file "
            "that `catgan export` wrote"
        ) from None
    return parse_card(CHECKS[path.suffix](data, where), where)
