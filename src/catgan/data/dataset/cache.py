"""The cache of datasets: prepared from photos and keyed by content, procedural, or generated.

They are stored in the user's cache directory, or in the directory that the environment variable
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
    """Return where datasets are cached: `$CATGAN_CACHE_DIR`, else the system's cache directory."""
    directory = os.environ.get(CACHE_VARIABLE)
    if not directory:
        return platformdirs.user_cache_path("catgan")
    try:
        return Path(directory).expanduser()
    except RuntimeError:  # ~name of an unknown user
        raise CatganError(
            f"invalid {CACHE_VARIABLE} {directory!r}: no such home directory; give the full path"
        ) from None


def open_or_prepare(
    path: str | os.PathLike[str], size: int, *, on_progress: OnProgress | None = None
) -> Dataset:
    """Open a dataset, or prepare photos (a folder, zip or image) once and open the cached result.

    The cache is keyed by the content of the photos: later calls decode nothing, even if the photos
    have moved. The dataset is always named after `path`. `on_progress` is that of `prepare`; it is
    not called when nothing has to be prepared.

    Raises `CatganError` when `path` is a dataset of another resolution than `size`, and whatever
    `prepare` raises.
    """
    check_resolution(size)
    if is_dataset(path):
        dataset = Dataset.open(path)
        if dataset.resolution != size:
            raise CatganError(
                f"{path}: expected {size} x {size} images, found {dataset.resolution} x "
                f"{dataset.resolution}: prepare the photos again with --size {size}, or train at "
                f"{dataset.resolution} with --set network.resolution={dataset.resolution}"
            )
        return dataset
    require_photos(path)
    key = _key("photos", content_key(path), size, PREPARATION_VERSION)

    def make(destination: Path) -> None:
        prepare(path, destination, size, on_progress=on_progress)

    return replace(_open_or_make(key, make), name=source_name(path))


def procedural_dataset(size: int, *, on_progress: OnProgress | None = None) -> Dataset:
    """Open the dataset of procedural cat faces, rendering it on first use.

    It has `EMBEDDED_COUNT` images of size x size, the same on every machine, and the name
    "procedural-cats". `on_progress` is that of `prepare`, called only while images are rendered.
    """
    check_resolution(size)

    def make(destination: Path) -> None:
        write_procedural_cats(destination, EMBEDDED_COUNT, size, on_progress=on_progress)

    return _open_or_make(_key("procedural", EMBEDDED_COUNT, size, RENDERER_VERSION), make)


def generated_dataset(
    origin: Origin, size: int, *, on_progress: OnProgress | None = None
) -> Dataset:
    """Open the dataset "generated-cats", sampling it from the generator `origin` on first use.

    It has `EMBEDDED_COUNT` images; see `procedural_dataset`.
    """

    def make(destination: Path) -> None:
        write_generated_cats(destination, origin, EMBEDDED_COUNT, size, on_progress=on_progress)

    return _open_or_make(_key("generated", EMBEDDED_COUNT, size, origin.identity), make)


def _key(*parts: object) -> str:
    text = "\0".join(map(str, (FORMAT_VERSION, *parts)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _open_or_make(key: str, make: Callable[[Path], None]) -> Dataset:
    """Open the cached dataset of this key; call `make` first if it is missing or corrupt.

    If two processes make the same dataset, the first to finish wins and the other opens its result.
    """
    destination = cache_directory() / "datasets" / key
    if destination.exists():
        try:
            return Dataset.open(destination)
        except CatganError:  # corrupt: make it again
            shutil.rmtree(destination, ignore_errors=True)
    try:
        make(destination)
    except DestinationExistsError:
        pass
    except NotWritableError as error:
        raise CatganError(f"{error} Set {CACHE_VARIABLE} to use another directory.") from error
    try:
        return Dataset.open(destination)
    except CatganError as error:  # corrupt, and could not be deleted
        raise CatganError(
            f"{destination} is corrupt and could not be replaced: delete it."
        ) from error
