"""The dataset on disk: `images.npy` (uint8, N x H x W x 3, memory-mapped) and `dataset.json`.

`catgan.data.dataset.writer` writes it; this module opens and checks it.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
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
    """A source file that could not be used, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Duplicate:
    """A source file that was dropped because it has the same bytes as the file `kept`."""

    name: str
    kept: str


def rejection_kind(reason: str) -> str:
    """Return the kind of a rejection, which is its reason up to the first colon."""
    return reason.split(":")[0]


def count_rejection_kinds(reasons: Iterable[str]) -> Counter[str]:
    """Count the kinds of rejections."""
    return Counter(map(rejection_kind, reasons))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared dataset, opened for reading.

    `images` is a read-only memory map, uint8, N x resolution x resolution x 3, sRGB. `identity` is
    the sha256 of its bytes as stated in `dataset.json`; `verify` recomputes it.
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
        """Open a dataset directory and check everything except the pixels.

        Names are made printable, so that a hostile dataset cannot send escapes to a terminal.

        Raises `CatganError` when the directory is not a dataset, or a corrupt one.
        """
        path = Path(path)
        if not is_dataset(path):
            raise CatganError(f"{path} is not a dataset: make one with `catgan prepare`.")
        try:
            with _garbage_collection_paused():
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
        except (CorruptDatasetError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise CatganError(
                f"{path} is a corrupt dataset ({reason}): prepare it again."
            ) from error

    def __len__(self) -> int:
        return len(self.images)

    def indices(self, split: Split) -> np.ndarray:
        """Return the indices of a split's images, int64, ascending; "holdout" may be empty."""
        if split not in get_args(Split):
            raise ValueError(f"unknown split {split!r}: expected one of {get_args(Split)}")
        return np.flatnonzero(self.records.is_held_out == (split == "holdout"))

    def stamp(self) -> list[int]:
        """Return the size in bytes and the modification time in ns of the images file."""
        status = (self.path / IMAGES).stat()
        return [status.st_size, status.st_mtime_ns]

    def verify(self, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Read all images and compare their sha256 with `identity`.

        `on_progress(done, total)` counts the images read.

        Raises:
            CatganError: they differ.
        """
        digest = hashlib.sha256()
        for done, image in enumerate(self.images, 1):
            digest.update(image)
            if on_progress and (done % 1024 == 0 or done == len(self)):
                on_progress(done, len(self))
        if digest.hexdigest() != self.identity:
            raise CatganError(f"{self.path / IMAGES} has changed on disk: prepare it again.")


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Return whether a directory has the files of a dataset; they may still be corrupt."""
    return Path(path, DESCRIPTION).is_file() and Path(path, IMAGES).is_file()


def check_resolution(size: int) -> None:
    """Check that `size` is one of `RESOLUTIONS`.

    Raises:
        CatganError: it is not.
    """
    if size in RESOLUTIONS:
        return
    nearest = min(RESOLUTIONS, key=lambda choice: abs(choice - size))
    raise CatganError(f"invalid size {size}: expected 32, 64, 128 or 256; try {nearest}.")


class CorruptDatasetError(Exception):
    """A few words on what is wrong with a dataset's files; callers add the path."""


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise CorruptDatasetError(problem)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Pause Python's cyclic garbage collector; parsed JSON has no reference cycles.

    With a million entries, the collector would take most of the time of reading them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_description(path: Path) -> dict[str, Any]:
    """Parse and check `dataset.json`, except the entries of `images` (see `ImageRecords`)."""
    _require(path.stat().st_size <= MAX_DESCRIPTION_BYTES, f"{DESCRIPTION} is too large")
    try:
        about = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CorruptDatasetError(f"{DESCRIPTION} is not JSON") from error
    _require(isinstance(about, dict) and about.get("format") == FORMAT, "not a catgan dataset")
    version = about.get("version")
    if _is_int(version) and version > FORMAT_VERSION:
        raise CatganError(f"{path} has a newer format than this catgan can read: upgrade catgan.")
    if _is_int(version) and 0 < version < FORMAT_VERSION:
        raise CatganError(
            f"{path} has an older format than this catgan can read: prepare it again."
        )
    _require(_is_int(version) and version == FORMAT_VERSION, "unknown format version")
    for key in ("name", "license", "credit"):
        _require(isinstance(about.get(key), str), f"{key} is not text")
    resolution, count = about.get("resolution"), about.get("count")
    _require(_is_int(resolution) and resolution in RESOLUTIONS, "invalid resolution")
    _require(_is_int(count) and count > 0, "invalid count")
    _require(_is_sha256(about.get("identity")), "identity is not a sha256")
    for key in ("images", "rejected", "duplicates"):
        _require(isinstance(about.get(key), list), f"{key} is not a list")
    _require(len(about["images"]) == count, "count does not match the list of images")
    for key, fields in (("rejected", {"name", "reason"}), ("duplicates", {"name", "kept"})):
        for entry in about[key]:
            _require(isinstance(entry, dict) and set(entry) == fields, f"malformed {key} entry")
            _require(all(isinstance(v, str) for v in entry.values()), f"malformed {key} entry")
    return about


def map_images(path: Path, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Map a .npy of uint8 read-only after checking that its header matches `shape` exactly.

    Raises `CorruptDatasetError` when it is anything else, `OSError` when it cannot be read.
    """
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        except Exception as error:  # numpy's parser raises several types on a hostile header
            raise CorruptDatasetError(f"{path.name} has no readable header") from error
        _require(version == (1, 0), f"{path.name} has no readable header")
        _require(dtype == np.uint8, f"{path.name} is not uint8")
        _require(not fortran, f"{path.name} is in Fortran order")
        _require(found == shape, f"{path.name} has shape {found}, {DESCRIPTION} says {shape}")
        offset = file.tell()
    length = path.stat().st_size
    expected = offset + shape[0] * shape[1] * shape[2] * shape[3]
    _require(length == expected, f"{path.name} has {length} bytes, expected {expected}")
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape)
