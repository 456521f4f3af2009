"""What can be known about a comparison before it costs minutes: names, counts, fingerprints."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from catgan.errors import CatganError
from catgan.evaluation.evaluate import Evaluation
from catgan.evaluation.features import Progress, pixel_identity
from catgan.evaluation.fingerprint import Fingerprint, require_asked
from catgan.evaluation.image_sets import ImageSet
from catgan.evaluation.reference import require_enough


@dataclass(frozen=True)
class Contender:
    """One of the generators to compare: images to be scored, or the record of their score.

    `path` is where the user said that it lies.
    """

    path: Path
    subject: ImageSet | Evaluation

    @property
    def name(self) -> str:
        """What the images are called."""
        return self.subject.name if isinstance(self.subject, ImageSet) else self.subject.generated

    @property
    def title(self) -> str:
        """What tables call it."""
        return self.subject.title

    @property
    def count(self) -> int:
        """How many images are, or were, scored."""
        if isinstance(self.subject, ImageSet):
            return self.subject.count
        return self.subject.fingerprint.generated_count

    def renamed(self, name: str) -> Contender:
        """The same, called `name`."""
        if isinstance(self.subject, ImageSet):
            return replace(self, subject=replace(self.subject, name=name))
        return replace(self, subject=replace(self.subject, generated=name))


def with_distinct_titles(contenders: Sequence[Contender]) -> list[Contender]:
    """`contenders`, those of equal titles renamed by what tells their paths apart.

    Raises:
        CatganError: one is named twice.
    """
    paths = [Path(os.path.realpath(contender.path)) for contender in contenders]
    for contender, path in zip(contenders, paths, strict=True):
        if paths.count(path) > 1:
            raise CatganError(f"{contender.path} is named twice; leave one of them out")
    titles = Counter(contender.title for contender in contenders)
    distinct = list(contenders)
    for title in (title for title, count in titles.items() if count > 1):
        group = [index for index, each in enumerate(contenders) if each.title == title]
        for index, tail in zip(group, _telling_parts([paths[i] for i in group]), strict=True):
            distinct[index] = contenders[index].renamed(str(tail / contenders[index].name))
    return distinct


def require_extractor(contenders: Sequence[Contender], asked: Mapping[str, object]) -> None:
    """Pass if the records among `contenders` have the `asked` parts of an extractor.

    Raises:
        CatganError: one has not; the message names the part that differs.
    """
    for path, fingerprint in _records(contenders).items():
        require_asked(str(path), fingerprint, asked)


def require_alike(
    contenders: Sequence[Contender],
    reals: ImageSet | None,
    *,
    samples: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Pass if the contenders can be compared, as far as that is known before any is scored.

    Records must have been scored against `reals`; all must have equally many images, `samples`
    unless that is None. Of reals that are no dataset, the pixels are read for it. Without `reals`
    all contenders are records, which then are compared with one another alone.

    Raises:
        CatganError: too few images on a side, unlike numbers of them, or a record that was scored
            otherwise; the message names the part that differs.
    """
    records = _records(contenders)
    if reals is not None:
        require_enough(reals)
        asked = {"dataset": reals.dataset, "split": reals.split, "number of reals": reals.count}
        for path, fingerprint in records.items():
            if reals.dataset is None and fingerprint.dataset is not None:
                raise CatganError(
                    f"{path} was scored against a dataset, and {reals.name} is none: name that "
                    "dataset, or the run whose data it is, or leave out --against where all are "
                    "evaluations"
                )
            require_asked(str(path), fingerprint, asked)
    first = contenders[0]
    for contender in contenders:
        if isinstance(contender.subject, ImageSet):
            require_enough(contender.subject)
        if samples is not None and contender.count != samples:
            raise CatganError(
                f"{contender.title} has {contender.count:,} images, not {samples:,} as asked; "
                "change or leave out --samples"
            )
        if contender.count != first.count:
            raise CatganError(
                f"{first.title} and {contender.title} cannot be compared: their number of samples "
                f"differs ({first.count:,} and {contender.count:,}); score as many of each, of a "
                "run with --samples"
            )
    # A dataset's identity already stands for its pixels.
    if records and reals is not None and reals.dataset is None:
        pixels = pixel_identity(reals, progress=progress)
        for path, fingerprint in records.items():
            require_asked(str(path), fingerprint, {"set of reals": pixels})


def _records(contenders: Sequence[Contender]) -> dict[Path, Fingerprint]:
    return {
        contender.path: contender.subject.fingerprint
        for contender in contenders
        if isinstance(contender.subject, Evaluation)
    }


def _telling_parts(paths: Sequence[Path]) -> list[Path]:
    """For different absolute paths, the shortest different ends of them before what they share.

    The directory of a record stands for it, where that is different, too.
    """
    places = [path.parent if path.suffix == ".json" else path for path in paths]
    tails = [path.parts for path in (places if len({*places}) == len(paths) else paths)]
    while len({tail[-1] for tail in tails}) == 1:
        tails = [tail[:-1] for tail in tails]
    length = 1
    while len({tail[-length:] for tail in tails}) < len(tails):
        length += 1
    return [Path(*tail[-length:]) for tail in tails]
