"""Checks of a comparison before anything is scored: names, counts, fingerprints."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from catgan.errors import CatganError
from catgan.evaluation.evaluate import Evaluation
from catgan.evaluation.features import Progress, pixel_identity
from catgan.evaluation.fingerprint import Fingerprint, require_parts
from catgan.evaluation.image_sets import ImageSet
from catgan.evaluation.reference import require_enough


@dataclass(frozen=True)
class Contender:
    """One of the generators to compare: images to score, or their evaluation.

    `path` is as the user gave it.
    """

    path: Path
    subject: ImageSet | Evaluation

    @property
    def name(self) -> str:
        """The name of the images."""
        return self.subject.name if isinstance(self.subject, ImageSet) else self.subject.generated

    @property
    def title(self) -> str:
        """The name in tables."""
        return self.subject.title

    @property
    def count(self) -> int:
        """Number of generated images."""
        if isinstance(self.subject, ImageSet):
            return self.subject.count
        return self.subject.fingerprint.generated_count

    def renamed(self, name: str) -> Contender:
        """Return a copy with the name `name`."""
        if isinstance(self.subject, ImageSet):
            return replace(self, subject=replace(self.subject, name=name))
        return replace(self, subject=replace(self.subject, generated=name))


def with_distinct_titles(contenders: Sequence[Contender]) -> list[Contender]:
    """Return `contenders`; those with equal titles are renamed by what distinguishes their paths.

    Raises:
        CatganError: a path is given twice.
    """
    paths = [Path(os.path.realpath(contender.path)) for contender in contenders]
    for contender, path in zip(contenders, paths, strict=True):
        if paths.count(path) > 1:
            raise CatganError(f"{contender.path} is given twice; leave one of them out")
    titles = Counter(contender.title for contender in contenders)
    distinct = list(contenders)
    for title in (title for title, count in titles.items() if count > 1):
        group = [index for index, each in enumerate(contenders) if each.title == title]
        prefixes = _distinct_prefixes([paths[index] for index in group])
        for index, prefix in zip(group, prefixes, strict=True):
            distinct[index] = contenders[index].renamed(str(prefix / contenders[index].name))
    return distinct


def require_extractor(contenders: Sequence[Contender], expected: Mapping[str, object]) -> None:
    """Raise unless the evaluations among `contenders` have the `expected` parts of an extractor.

    Raises:
        CatganError: one has not; the message names the part that differs.
    """
    for path, fingerprint in _fingerprints(contenders).items():
        require_parts(str(path), fingerprint, expected)


def require_alike(
    contenders: Sequence[Contender],
    reals: ImageSet | None,
    *,
    samples: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Raise unless the contenders can be compared, as far as is known before any is scored.

    Evaluations must have been scored against `reals`, and all contenders must have the same number
    of images, which is `samples` if given. If the reals are not a dataset, their pixels are read.
    `reals` is None if all contenders are evaluations; they are then only compared with each other.

    Raises:
        CatganError: a set has too few images, the numbers of images differ, or an evaluation has
            another fingerprint; the message names the part that differs.
    """
    fingerprints = _fingerprints(contenders)
    if reals is not None:
        require_enough(reals)
        expected = {"dataset": reals.dataset, "split": reals.split, "number of reals": reals.count}
        for path, fingerprint in fingerprints.items():
            if reals.dataset is None and fingerprint.dataset is not None:
                raise CatganError(
                    f"{path} was scored against a dataset, and {reals.name} is not one: name that "
                    "dataset, or the run trained on it, or leave out --against if all are "
                    "evaluations"
                )
            require_parts(str(path), fingerprint, expected)
    first = contenders[0]
    for contender in contenders:
        if isinstance(contender.subject, ImageSet):
            require_enough(contender.subject)
        if samples is not None and contender.count != samples:
            raise CatganError(
                f"{contender.title} has {contender.count:,} images, expected {samples:,}; "
                "change or leave out --samples"
            )
        if contender.count != first.count:
            raise CatganError(
                f"{first.title} and {contender.title} cannot be compared: their number of samples "
                f"differs ({first.count:,} and {contender.count:,}); score the same number of "
                "each, with --samples for a run"
            )
    # The identity of a dataset already covers its pixels.
    if fingerprints and reals is not None and reals.dataset is None:
        pixels = pixel_identity(reals, progress=progress)
        for path, fingerprint in fingerprints.items():
            require_parts(str(path), fingerprint, {"set of reals": pixels})


def _fingerprints(contenders: Sequence[Contender]) -> dict[Path, Fingerprint]:
    return {
        contender.path: contender.subject.fingerprint
        for contender in contenders
        if isinstance(contender.subject, Evaluation)
    }


def _distinct_prefixes(paths: Sequence[Path]) -> list[Path]:
    """Return the shortest distinct ends of different absolute paths, without their common end.

    An evaluation.json is represented by its directory, if the directories differ.
    """
    directories = [path.parent if path.suffix == ".json" else path for path in paths]
    parts = [each.parts for each in (directories if len({*directories}) == len(paths) else paths)]
    while len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    length = 1
    while len({each[-length:] for each in parts}) < len(parts):
        length += 1
    return [Path(*each[-length:]) for each in parts]
