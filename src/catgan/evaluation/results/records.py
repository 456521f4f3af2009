"""Evaluations on disk: one directory each, and none overwrites a different one."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

from catgan.errors import CatganError
from catgan.evaluation.evaluate import Evaluation
from catgan.evaluation.fingerprint import ExtractorIdentity
from catgan.evaluation.image_sets import ImageSet
from catgan.evaluation.results.pages import evaluation_page
from catgan.evaluation.results.read import read_evaluation
from catgan.files import file_name, write_durably

RECORD, PAGE = "evaluation.json", "evaluation.html"


def write_evaluation(
    directory: Path, evaluation: Evaluation, generated: ImageSet, reals: ImageSet
) -> Path:
    """Write evaluation.json and evaluation.html to `directory`; return the path of the page.

    Raises:
        OSError: they cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    write_durably(directory / RECORD, evaluation.to_json().encode())
    page = evaluation_page(evaluation, generated, reals)
    write_durably(directory / PAGE, page.encode())
    return directory / PAGE


def evaluation_directory(home: Path, images: ImageSet, extractor: ExtractorIdentity) -> Path:
    """Return where `catgan evaluate` writes by default, below `home`."""
    own = f"{images.checkpoint.images:09d}" if images.checkpoint else file_name(images.name)
    return home / "evaluation" / file_name(extractor.name) / own


def comparison_directory(out: Path, images: ImageSet, extractor: ExtractorIdentity) -> Path:
    """Return where `catgan compare` writes the evaluation of one generator, below `out`."""
    suffix = f"-{images.checkpoint.images:09d}" if images.checkpoint else ""
    return out / file_name(extractor.name) / f"{file_name(images.name)}{suffix}"


def free_directory(evaluation: Evaluation, wanted: Path) -> Path:
    """Return `wanted`, with -2, -3 ... appended if it has the record of another evaluation.

    A record of the same images, scored in the same way, may be replaced.
    """
    for number in itertools.count(1):
        directory = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        if not (directory / RECORD).exists():
            return directory
        try:
            existing = read_evaluation(directory / RECORD)
        except CatganError:  # damaged or of another version: must not be replaced
            continue
        if _subject(existing) == _subject(evaluation):
            return directory
    raise AssertionError("unreachable")


def require_writable(directory: Path) -> None:
    """Raise unless `directory` can be written or created; nothing is left behind.

    Raises:
        OSError: it cannot.
    """
    candidates = (directory, *directory.absolute().parents)
    # lexists: a broken link is in the way, too.
    existing = next(path for path in candidates if os.path.lexists(path))
    with tempfile.TemporaryFile(dir=existing):
        pass


def _subject(evaluation: Evaluation) -> tuple[object, ...]:
    images = evaluation.checkpoint.images if evaluation.checkpoint else None
    return evaluation.generated, images, evaluation.reals, evaluation.fingerprint
