"""What data a run learns from, and what data a path means: a run's, a dataset, or photos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from catgan.data.dataset.cache import (
    cache_directory,
    embedded_dataset,
    generated_dataset,
    open_or_prepare,
)
from catgan.data.dataset.dataset import Dataset, is_dataset
from catgan.data.reading.sources import label
from catgan.data.synthetic import procedural as procedural
from catgan.data.synthetic.generated import Origin
from catgan.errors import CatganError
from catgan.generation.artifact import CHECKSUM
from catgan.generation.generator import embedded_generator, load_generator
from catgan.runs.directory import RunDirectory, is_run

OnProgress = Callable[[str, int, int], None]  # what is being done, done, total
MANY_BYTES = 2**31  # of pixels, which take seconds to read; a million images take a minute


def open_data(
    source: Path | None, size: int, on_progress: OnProgress, *, procedural: bool = False
) -> Dataset:
    """The dataset that a run at `size` px learns from.

    `source` is a dataset or photos, which are prepared and cached. None means the package's own
    cats: those of its generator, or procedural ones where that is asked for, or there is no
    generator of so many pixels.

    Raises `CatganError` as `open_or_prepare` does.
    """
    if source is not None:
        return open_or_prepare(
            source, size, on_progress=lambda done, total, *_: on_progress("preparing", done, total)
        )

    def drawing(done: int, total: int, *_: int) -> None:
        on_progress("drawing cats", done, total)

    if embedded_generator() is None or procedural:
        return embedded_dataset(size, on_progress=drawing)
    generator = load_generator()
    if size > generator.resolution:  # enlarged images would teach blur
        return embedded_dataset(size, on_progress=drawing)
    card = generator.card
    origin = Origin(
        generator.sample, generator.resolution, card.document[CHECKSUM], card.license, card.credit
    )
    return generated_dataset(origin, size, on_progress=drawing)


def data_of(path: Path, size: int, on_progress: OnProgress) -> Dataset:
    """The data that `path` means, every pixel checked.

    Of a run, what it was trained on, as it is now (see `changed_data`); a dataset is opened as it
    is; photos are prepared at `size` px and cached, as for training.

    Raises:
        CatganError: `path` is none of these, is damaged, or is a run whose data are gone.
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
    """What there is to say if `path` is a run that was trained on other data than `dataset`."""
    if not is_run(path):
        return None
    known = RunDirectory.open(path).facts()["dataset"]
    now = dataset.identity, split_identity(dataset)
    if (known.get("identity"), known.get("split")) == now:
        return None
    then = f"{known.get('images')} of {label(str(known.get('name')))}"
    return (
        f"{label(path.resolve().name)} was trained on other images than these, or they were split "
        f"otherwise: {then} then, {len(dataset):,} of {dataset.name} now"
    )


def check_pixels(dataset: Dataset, on_progress: OnProgress, checked: object = None) -> None:
    """Read all pixels; `CatganError` when they are not what the dataset was made with.

    More than `MANY_BYTES` are not read again where `checked`, the dataset's stamp when they last
    were, is still its stamp.
    """
    takes_long = dataset.images.nbytes > MANY_BYTES
    if takes_long and checked == dataset.stamp():
        return

    def reading(done: int, total: int) -> None:
        on_progress("checking the images", done, total)

    try:
        dataset.verify(reading if takes_long else None)
    except CatganError:
        if dataset.path.is_relative_to(cache_directory()):
            raise CatganError(
                f"{dataset.path} has changed on disk since it was made: delete it, and it is made "
                "again"
            ) from None
        raise


def split_identity(dataset: Dataset) -> str:
    """The sha256 of which images are trained on."""
    return hashlib.sha256(dataset.indices("train").tobytes()).hexdigest()


def _data_of_run(path: Path, on_progress: OnProgress) -> Dataset:
    run = RunDirectory.open(path)
    facts = run.facts()
    source = facts.get("source")
    if not isinstance(source, str | None):
        raise CatganError(f"{path / 'run.json'} cannot be read (source is not text): restore it")
    if source is not None and not Path(source).exists():
        raise CatganError(
            f"{path} was trained on {source}, which is gone: name a dataset, or photos, instead"
        )
    return open_data(
        None if source is None else Path(source),
        run.config().network.resolution,
        on_progress,
        procedural=facts["dataset"].get("name") == procedural.NAME,
    )
