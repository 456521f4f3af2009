"""The data that a run trains on, and the data that a path means: a run, a dataset, or photos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from catgan.data.dataset.cache import (
    cache_directory,
    generated_dataset,
    open_or_prepare,
    procedural_dataset,
)
from catgan.data.dataset.dataset import Dataset, is_dataset
from catgan.data.reading.sources import label
from catgan.data.synthetic import procedural as procedural
from catgan.data.synthetic.generated import Origin
from catgan.errors import CatganError
from catgan.generation.artifact import CHECKSUM
from catgan.generation.generator import embedded_generator, load_generator
from catgan.runs.directory import RunDirectory, is_run

OnProgress = Callable[[str, int, int], None]  # stage, done, total
MANY_BYTES = 2**31  # of pixels; reading them takes seconds, and a minute for a million images


def open_data(
    source: Path | None, size: int, on_progress: OnProgress, *, procedural: bool = False
) -> Dataset:
    """Return the dataset that a run at `size` px trains on.

    `source` is a dataset, or photos, which are prepared and cached. None means cats from the
    bundled generator, or procedural cats if `procedural` is set or the generator's images are
    smaller than `size`.

    Raises:
        CatganError: as `open_or_prepare`.
    """
    if source is not None:
        return open_or_prepare(
            source, size, on_progress=lambda done, total, *_: on_progress("preparing", done, total)
        )

    def report(done: int, total: int, *_: int) -> None:
        on_progress("generating cats", done, total)

    if embedded_generator() is None or procedural:
        return procedural_dataset(size, on_progress=report)
    generator = load_generator()
    if size > generator.resolution:  # enlarged images would teach the network blur
        return procedural_dataset(size, on_progress=report)
    card = generator.card
    origin = Origin(
        generator.sample, generator.resolution, card.document[CHECKSUM], card.license, card.credit
    )
    return generated_dataset(origin, size, on_progress=report)


def data_of(path: Path, size: int, on_progress: OnProgress) -> Dataset:
    """Return the dataset that `path` means, with verified pixels.

    A run means its training data in their present state (see `changed_data`). A dataset is opened
    as it is. Photos are prepared at `size` px and cached, as for training.

    Raises:
        CatganError: `path` is none of these, is damaged, or is a run whose data no longer exist.
    """
    if is_run(path):
        dataset = _data_of_run(path, on_progress)
    elif is_dataset(path):
        dataset = Dataset.open(path)
    else:
        dataset = open_data(path, size, on_progress)
    check_pixels(dataset, on_progress)
    return dataset


def changed_data(path: Path, dataset: Dataset) -> str | None:
    """Return a sentence if `path` is a run that was trained on other data than `dataset`."""
    if not is_run(path):
        return None
    facts = RunDirectory.open(path).facts()["dataset"]
    now = dataset.identity, split_identity(dataset)
    if (facts.get("identity"), facts.get("split")) == now:
        return None
    then = f"{facts.get('images')} of {label(str(facts.get('name')))}"
    return (
        f"{label(path.resolve().name)} was trained on other images than these, or with another "
        f"split: {then} then, {len(dataset):,} of {dataset.name} now"
    )


def check_pixels(dataset: Dataset, on_progress: OnProgress, checked: object = None) -> None:
    """Read all pixels; raise `CatganError` if they have changed since the dataset was made.

    `checked` is the stamp of the dataset at the last check. If it is unchanged, more than
    `MANY_BYTES` are not read again.
    """
    takes_long = dataset.images.nbytes > MANY_BYTES
    if takes_long and checked == dataset.stamp():
        return

    def report(done: int, total: int) -> None:
        on_progress("checking the images", done, total)

    try:
        dataset.verify(report if takes_long else None)
    except CatganError:
        if dataset.path.is_relative_to(cache_directory()):
            raise CatganError(
                f"{dataset.path} has changed on disk since it was made: delete it, and it is made "
                "again"
            ) from None
        raise


def split_identity(dataset: Dataset) -> str:
    """Return the sha256 of the indices of the training images."""
    return hashlib.sha256(dataset.indices("train").tobytes()).hexdigest()


def _data_of_run(path: Path, on_progress: OnProgress) -> Dataset:
    run = RunDirectory.open(path)
    facts = run.facts()
    source = facts.get("source")
    if not isinstance(source, str | None):
        raise CatganError(
            f"{path / 'run.json'} cannot be read (source is not a string): restore it"
        )
    if source is not None and not Path(source).exists():
        raise CatganError(
            f"{path} was trained on {source}, which no longer exists: name a dataset or photos "
            "instead"
        )
    return open_data(
        None if source is None else Path(source),
        run.config().network.resolution,
        on_progress,
        procedural=facts["dataset"].get("name") == procedural.NAME,
    )
