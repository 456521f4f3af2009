"""Datasets made once and found again: from raw photos by content, and the embedded ones.

They live in the user's cache directory, or in the directory that the environment variable
`CATGAN_CACHE_DIR` names. Deleting it is always safe.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import platformdirs

from catgan.data.dataset.dataset import FORMAT_VERSION, Dataset, check_resolution, is_dataset
from catgan.data.dataset.prepare import PREPARATION_VERSION, OnProgress, prepare, require_photos
from catgan.data.dataset.writer import DestinationExistsError, NotWritableError
from catgan.data.reading.sources import content_key, source_name
from catgan.data.synthetic.generated import Origin, write_generated_cats
from catgan.data.synthetic.procedural import RENDERER_VERSION, write_procedural_cats
from catgan.errors import CatganError

CACHE_VARIABLE = "CATGAN_CACHE_DIR"
EMBEDDED_COUNT = 2000


def cache_directory() -> Path:
    """Where datasets are cached: `$CATGAN_CACHE_DIR`, else the system's place for caches."""
    named = os.environ.get(CACHE_VARIABLE)
    if not named:
        return platformdirs.user_cache_path("catgan")
    try:
        return Path(named).expanduser()
    except RuntimeError:  # ~somebody whom the system does not know
        raise CatganError(
            f"{CACHE_VARIABLE} is {named!r}, and there is no such home directory: write it in full."
        ) from None


def open_or_prepare(
    path: str | os.PathLike[str], size: int, *, on_progress: OnProgress | None = None
) -> Dataset:
    """Open a dataset, or prepare a folder, zip or image once and open what that gave.

    Raw photos are known by their content: the second call decodes nothing, wherever they have
    moved. The dataset is called after `path`, also where it was made of the same photos elsewhere.
    `on_progress` is that of `prepare`, and is not called when nothing is prepared.

    Raises `CatganError` when a dataset is not of resolution `size`, and whatever `prepare` raises.
    """
    check_resolution(size)
    if is_dataset(path):
        dataset = Dataset.open(path)
        if dataset.resolution != size:
            raise CatganError(
                f"{path} holds {dataset.resolution} x {dataset.resolution} images, not {size} x "
                f"{size}: prepare the photos again with --size {size}, or train at "
                f"{dataset.resolution} with --set network.resolution={dataset.resolution}"
            )
        return dataset
    require_photos(path)
    key = _key("photos", content_key(path), size, PREPARATION_VERSION)

    def make(destination: Path) -> None:
        prepare(path, destination, size, on_progress=on_progress)

    return replace(_open_or_make(key, make), name=source_name(path))


def embedded_dataset(size: int, *, on_progress: OnProgress | None = None) -> Dataset:
    """A dataset that needs no photos: cat faces drawn by the package, drawn once and cached.

    `EMBEDDED_COUNT` images of size x size, the same on every machine, in a dataset that calls
    itself "drawn-cats". `on_progress` is that of `prepare`, called only while they are drawn.
    """
    check_resolution(size)

    def make(destination: Path) -> None:
        write_procedural_cats(destination, EMBEDDED_COUNT, size, on_progress=on_progress)

    return _open_or_make(_key("drawn", EMBEDDED_COUNT, size, RENDERER_VERSION), make)


def generated_dataset(
    origin: Origin, size: int, *, on_progress: OnProgress | None = None
) -> Dataset:
    """The same of cats that a generator draws, in a dataset that calls itself "generated-cats"."""

    def make(destination: Path) -> None:
        write_generated_cats(destination, origin, EMBEDDED_COUNT, size, on_progress=on_progress)

    return _open_or_make(_key("generated", EMBEDDED_COUNT, size, origin.identity), make)


def _key(*parts: object) -> str:
    text = "\0".join(map(str, (FORMAT_VERSION, *parts)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _open_or_make(key: str, make: Callable[[Path], None]) -> Dataset:
    """Open the cached dataset of this key, making it first where it is missing or damaged.

    Of two processes that make the same one, the first to finish wins and the other opens its.
    """
    destination = cache_directory() / "datasets" / key
    if destination.exists():
        try:
            return Dataset.open(destination)
        except CatganError:  # damaged: what is in a cache can be made again
            shutil.rmtree(destination, ignore_errors=True)
    try:
        make(destination)
    except DestinationExistsError:
        pass
    except NotWritableError as error:
        raise CatganError(f"{error} {CACHE_VARIABLE} can name another directory.") from error
    try:
        return Dataset.open(destination)
    except CatganError as error:  # it could not be removed
        raise CatganError(f"{destination} cannot be used and is in the way: delete it.") from error
