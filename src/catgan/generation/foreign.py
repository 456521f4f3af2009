"""Read the model cards in files for other frameworks, without loading any of them."""

from __future__ import annotations

import os
from pathlib import Path

from catgan.files import read_bounded
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
    data = read_bounded(where, MAX_ARTIFACT_BYTES, "name a file that `catgan export` wrote")
    return parse_card(CHECKS[Path(where).suffix](data, where), where)
