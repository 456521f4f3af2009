"""Evaluations on disk: a directory each, and never one over another that was measured."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

from catgan.errors import CatganError
from catgan.evaluation.evaluate import Evaluation
from catgan.evaluation.image_sets import ImageSet
from catgan.evaluation.results.pages import evaluation_page
from catgan.evaluation.results.read import read_evaluation
from catgan.files import write_durably

RECORD, PAGE = "evaluation.json", "evaluation.html"


def write_evaluation(
    directory: Path, evaluation: Evaluation, generated: ImageSet, reals: ImageSet
) -> Path:
    """Write the record and the page of an evaluation to `directory`; returns the page's path.

    Raises:
        OSError: it cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_durably(directory / RECORD, evaluation.to_json().encode())
    page = evaluation_page(evaluation, generated, reals)
    write_durably(directory / PAGE, page.encode())
    return directory / PAGE


def place_for(evaluation: Evaluation, wanted: Path) -> Path:
    """`wanted`, or with -2, -3 ... at its end: the first that has no record of another evaluation.

    A record of the same thing, scored in the same way, is there to be replaced.
    """
    for number in itertools.count(1):
        place = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        if not (place / RECORD).exists():
            return place
        try:
            known = read_evaluation(place / RECORD)
        except CatganError:  # of another version, or damaged: not ours to replace
            continue
        if _subject(known) == _subject(evaluation):
            return place
    raise AssertionError("unreachable")


def require_writable(directory: Path) -> None:
    """Pass if `directory` can be written, or made; nothing is left behind.

    Raises:
        OSError: it cannot.
    """
    places = (directory, *directory.absolute().parents)
    existing = next(path for path in places if os.path.lexists(path))  # a broken link is in the way
    with tempfile.TemporaryFile(dir=existing):
        pass


def _subject(evaluation: Evaluation) -> tuple[object, ...]:
    images = evaluation.checkpoint.images if evaluation.checkpoint else None
    return evaluation.generated, images, evaluation.reals, evaluation.fingerprint
