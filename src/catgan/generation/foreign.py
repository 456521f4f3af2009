"""Read the model cards in files for other frameworks, without loading any of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from catgan.errors import CatganError
from catgan.generation.archive import KERAS, check_keras
from catgan.generation.artifact import MAX_ARTIFACT_BYTES
from catgan.generation.card import Card, parse_card
from catgan.generation.tflite import TFLITE, check_tflite

CHECKS = {KERAS: check_keras, TFLITE: check_tflite}  # by file suffix


def read_card(path: str | os.PathLike[str]) -> Card:
    """Return the card in a file whose suffix is in `CHECKS`.

    Raises:
        CatganError: the file is of another format, is damaged, or has no catgan card.
    """
    where = os.fspath(path)
    try:
        path = Path(where)
        if path.exists() and not path.is_file():  # opening a pipe without a writer would block
            raise OSError(errno.EINVAL, "not a file")
        with path.open("rb") as file:
            data = file.read(MAX_ARTIFACT_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: an impossible file name
        raise CatganError(
            f"{where}: cannot be read ({getattr(error, 'strerror', None) or error}): name a file "
            "that `catgan export` wrote"
        ) from None
    return parse_card(CHECKS[path.suffix](data, where), where)
