"""The dataset on disk: `images.npy` (uint8, N x H x W x 3, memory-mapped) and `dataset.json`.

`catgan.data.dataset.writer` writes it; here it is opened and checked.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from catgan.data.dataset.image_records import ImageRecords, Split
from catgan.data.reading.sources import label, printable
from catgan.errors import CatganError

FORMAT = "catgan-dataset"
FORMAT_VERSION = 2
IMAGES, DESCRIPTION = "images.npy", "dataset.json"
RESOLUTIONS = (32, 64, 128, 256)
MAX_DESCRIPTION_BYTES = 512 * 2**20  # a million images with long names


@dataclass(frozen=True)
class Rejected:
    """A file of the source that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Duplicate:
    """A file with exactly the bytes of another, which was kept instead of it."""

    name: str
    kept: str


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared dataset, opened for reading.

    `images` is a read-only memory map, uint8, N x resolution x resolution x 3, sRGB. `identity` is
    the sha256 of its bytes, as `dataset.json` states it; `verify` recomputes it.
    """

    path: Path
    name: str
    resolution: int
    identity: str
    license: str
    credit: str
    images: np.ndarray
    records: ImageRecords
    rejected: tuple[Rejected, ...]
    duplicates: tuple[Duplicate, ...]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Dataset:
        """Open a dataset directory, checking everything but the pixels themselves.

        Names in it are made fit for a terminal, whoever wrote them.

        Raises `CatganError` when the directory is no dataset, or a damaged one.
        """
        path = Path(path)
        if not is_dataset(path):
            raise CatganError(f"{path} is not a dataset: make one with `catgan prepare`.")
        try:
            with _collector_at_rest():
                about = _read_description(path / DESCRIPTION)
                records = ImageRecords.from_json(about.pop("images"))
            count, side = about["count"], about["resolution"]
            return cls(
                path=path,
                name=label(about["name"]),
                resolution=side,
                identity=about["identity"],
                license=about["license"],
                credit=about["credit"],
                images=map_images(path / IMAGES, (count, side, side, 3)),
                records=records,
                rejected=tuple(
                    Rejected(label(entry["name"]), printable(entry["reason"]))
                    for entry in about["rejected"]
                ),
                duplicates=tuple(
                    Duplicate(label(entry["name"]), label(entry["kept"]))
                    for entry in about["duplicates"]
                ),
            )
        except (Damage, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CatganError(
                f"{path} is not a sound dataset ({reason}): prepare it again."
            ) from error

    def __len__(self) -> int:
        return len(self.images)

    def indices(self, split: Split) -> np.ndarray:
        """Positions of a split's images, int64, ascending; possibly none for "holdout"."""
        if split not in get_args(Split):
            raise ValueError(f"no split {split!r}; there are {get_args(Split)}")
        return np.flatnonzero(self.records.is_held_out == (split == "holdout"))

    def stamp(self) -> list[int]:
        """Return the size in bytes of the file of images, and when it was changed, in ns."""
        status = (self.path / IMAGES).stat()
        return [status.st_size, status.st_mtime_ns]

    def verify(self, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Read every pixel and compare with `identity`; `CatganError` when they differ.

        `on_progress` gets how many images have been read, and how many there are.
        """
        digest = hashlib.sha256()
        for done, image in enumerate(self.images, 1):
            digest.update(image)
            if on_progress and (done % 1024 == 0 or done == len(self)):
                on_progress(done, len(self))
        if digest.hexdigest() != self.identity:
            raise CatganError(f"{self.path / IMAGES} has changed on disk: prepare it again.")


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Whether a directory claims to be a dataset, sound or not."""
    return Path(path, DESCRIPTION).is_file() and Path(path, IMAGES).is_file()


def check_resolution(size: int) -> None:
    """`CatganError` unless `size` is a power of two from 32 to 256."""
    if size in RESOLUTIONS:
        return
    nearest = min(RESOLUTIONS, key=lambda choice: abs(choice - size))
    raise CatganError(f"size {size} is not one of 32, 64, 128, 256: try {nearest}.")


class Damage(Exception):  # noqa: N818 - becomes a CatganError that names the dataset
    """What is wrong with a dataset's files, in a few words."""


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise Damage(problem)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Keep Python from looking for cycles of garbage, of which parsed JSON has none.

    It looks again and again while a million entries come into being, for most of the time that
    reading them takes.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_description(path: Path) -> dict[str, Any]:
    """Parse and check `dataset.json`, entries of `images` excepted (see `ImageRecords`)."""
    _require(path.stat().st_size <= MAX_DESCRIPTION_BYTES, f"{DESCRIPTION} is too large")
    try:
        about = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Damage(f"{DESCRIPTION} is not JSON") from error
    _require(isinstance(about, dict) and about.get("format") == FORMAT, "not a catgan dataset")
    version = about.get("version")
    if _is_int(version) and version > FORMAT_VERSION:
        raise CatganError(f"{path} is of a newer format than this catgan reads: upgrade catgan.")
    if _is_int(version) and 0 < version < FORMAT_VERSION:
        raise CatganError(f"{path} is of an older format than this catgan reads: prepare it again.")
    _require(_is_int(version) and version == FORMAT_VERSION, "unknown format version")
    for key in ("name", "license", "credit"):
        _require(isinstance(about.get(key), str), f"{key} is not text")
    resolution, count = about.get("resolution"), about.get("count")
    _require(_is_int(resolution) and resolution in RESOLUTIONS, "impossible resolution")
    _require(_is_int(count) and count > 0, "impossible count")
    _require(_is_sha256(about.get("identity")), "identity is not a sha256")
    for key in ("images", "rejected", "duplicates"):
        _require(isinstance(about.get(key), list), f"{key} is not a list")
    _require(len(about["images"]) == count, "count and list of images differ")
    for key, fields in (("rejected", {"name", "reason"}), ("duplicates", {"name", "kept"})):
        for entry in about[key]:
            _require(isinstance(entry, dict) and set(entry) == fields, f"malformed {key} entry")
            _require(all(isinstance(v, str) for v in entry.values()), f"malformed {key} entry")
    return about


def map_images(path: Path, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Map a .npy of uint8 read-only after checking that it is exactly what the JSON says.

    Raises `Damage` when it is anything else, `OSError` when it cannot be read.
    """
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        except Exception as error:  # numpy's parser raises several types on a hostile header
            raise Damage(f"{path.name} has no readable header") from error
        _require(version == (1, 0), f"{path.name} has no readable header")
        _require(dtype == np.uint8, f"{path.name} is not uint8")
        _require(not fortran, f"{path.name} is in Fortran order")
        _require(found == shape, f"{path.name} is {found}, {DESCRIPTION} says {shape}")
        offset = file.tell()
    length = path.stat().st_size
    expected = offset + shape[0] * shape[1] * shape[2] * shape[3]
    _require(length == expected, f"{path.name} has {length} bytes instead of {expected}")
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape)
