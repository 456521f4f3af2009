"""The dataset on disk: `images.npy` (uint8, N x H x W x 3, memory-mapped) and `dataset.json`.

A dataset appears whole or not at all: it is written into a hidden sibling directory, flushed,
read back, and renamed into place.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, get_args

import numpy as np

from catgan import __version__
from catgan.errors import CatganError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted and so is its own lock
    fcntl = None  # type: ignore[assignment]

FORMAT = "catgan-dataset"
FORMAT_VERSION = 1
IMAGES, DESCRIPTION = "images.npy", "dataset.json"
MIN_RESOLUTION, MAX_RESOLUTION = 32, 256
MAX_DESCRIPTION_BYTES = 512 * 2**20  # a million images with long names

Split = Literal["train", "holdout"]


@dataclass(frozen=True)
class ImageRecord:
    """Where one image came from.

    `sha256` is of the source file's bytes; `crop` is (left, top, right, bottom) in pixels of the
    upright source, right and bottom exclusive.
    """

    source: str
    sha256: str
    crop: tuple[int, int, int, int]
    split: Split


@dataclass(frozen=True)
class Refused:
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
    licence: str
    credit: str
    images: np.ndarray
    records: tuple[ImageRecord, ...]
    refused: tuple[Refused, ...]
    duplicates: tuple[Duplicate, ...]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Dataset:
        """Open a dataset directory, checking everything but the pixels themselves.

        Raises `CatganError` when the directory is no dataset, or a damaged one.
        """
        path = Path(path)
        if not is_dataset(path):
            raise CatganError(f"{path} is not a dataset: make one with `catgan prepare`.")
        try:
            about = _read_description(path / DESCRIPTION)
            count, side = about["count"], about["resolution"]
            return cls(
                path=path,
                name=about["name"],
                resolution=side,
                identity=about["identity"],
                licence=about["licence"],
                credit=about["credit"],
                images=_map_images(path / IMAGES, (count, side, side, 3)),
                records=tuple(_record(entry) for entry in about["images"]),
                refused=tuple(Refused(**entry) for entry in about["refused"]),
                duplicates=tuple(Duplicate(**entry) for entry in about["duplicates"]),
            )
        except (_Damage, OSError) as error:
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
        found = [index for index, record in enumerate(self.records) if record.split == split]
        return np.array(found, dtype=np.int64)

    def verify(self) -> None:
        """Read every pixel and compare with `identity`; `CatganError` when they differ."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(image)
        if digest.hexdigest() != self.identity:
            raise CatganError(f"{self.path / IMAGES} has changed on disk: prepare it again.")


class DestinationExistsError(CatganError):
    """Something already lies where a dataset was to be written."""


def is_dataset(path: str | os.PathLike[str]) -> bool:
    """Whether a directory claims to be a dataset, sound or not."""
    return Path(path, DESCRIPTION).is_file() and Path(path, IMAGES).is_file()


def check_resolution(size: int) -> None:
    """`CatganError` unless `size` is a power of two from 32 to 256."""
    if size in (32, 64, 128, 256):
        return
    nearest = min((32, 64, 128, 256), key=lambda choice: abs(choice - size))
    raise CatganError(f"size {size} is not one of 32, 64, 128, 256: try {nearest}.")


def assign_splits(sha256s: list[str], holdout_fraction: float) -> list[Split]:
    """Split images by their content: the same photo is held out in every dataset it enters.

    The first 64 bits of each sha256, read as a fraction of one, are compared with
    `holdout_fraction` (in [0, 1)). At least one image is always left to train on.
    """
    limit = int(holdout_fraction * 2**64)
    splits: list[Split] = [
        "holdout" if int(sha256[:16], 16) < limit else "train" for sha256 in sha256s
    ]
    if splits and "train" not in splits:
        splits[max(range(len(splits)), key=lambda index: sha256s[index])] = "train"
    return splits


class DatasetWriter:
    """Context manager that writes a dataset image by image, in constant memory a pixel.

    On a clean exit the dataset appears at `destination`, complete and verified; on any exception,
    Ctrl-C included, nothing is left. What a killed process has left is removed by the next writer
    to the same destination, which knows the dead by their lost file lock.

    Raises `DestinationExistsError` if anything lies at `destination`, on entering or at the end,
    and `CatganError` when the disk is full or not writable, or when no image was appended.
    """

    def __init__(
        self,
        destination: str | os.PathLike[str],
        resolution: int,
        *,
        name: str,
        licence: str = "unknown",
        credit: str = "unknown",
        holdout_fraction: float = 0.1,
    ) -> None:
        check_resolution(resolution)
        if not 0 <= holdout_fraction < 1:
            raise CatganError(f"holdout fraction {holdout_fraction} is not in [0, 1): try 0.1.")
        self.destination = Path(os.path.abspath(destination))  # noqa: PTH100 - keeps symlinks
        self.resolution = resolution
        self.name, self.licence, self.credit = name, licence, credit
        self.holdout_fraction = holdout_fraction
        self.splits: list[Split] = []  # filled in on a clean exit
        self._images: list[tuple[str, str, tuple[int, int, int, int]]] = []
        self._refused: list[Refused] = []
        self._duplicates: list[Duplicate] = []
        self._digest = hashlib.sha256()

    def __enter__(self) -> DatasetWriter:
        with _one_line_errors(self.destination):
            self._check_free()
            self.destination.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(self.destination)
            prefix = _temporary_prefix(self.destination)
            self._temporary = Path(tempfile.mkdtemp(".partial", prefix, self.destination.parent))
            try:
                self._temporary.chmod(0o777 & ~_umask())  # mkdtemp's 0700 is for secrets
                # Locked for as long as this process lives, so that `_remove_stale` spares it.
                self._file: BinaryIO = (self._temporary / IMAGES).open("w+b")
                if fcntl is not None:
                    fcntl.flock(self._file, fcntl.LOCK_EX)
                self._header_bytes = self._write_header(0)
            except BaseException:
                shutil.rmtree(self._temporary, ignore_errors=True)
                raise
        return self

    def append(
        self, image: np.ndarray, *, source: str, sha256: str, crop: tuple[int, int, int, int]
    ) -> None:
        """Add one uint8 image, resolution x resolution x 3; see `ImageRecord` for the rest."""
        shape = (self.resolution, self.resolution, 3)
        if image.shape != shape or image.dtype != np.uint8:
            raise ValueError(f"expected uint8 {shape}, got {image.dtype} {image.shape}")
        payload = np.ascontiguousarray(image).tobytes()
        self._digest.update(payload)
        with _one_line_errors(self.destination):
            self._file.write(payload)
        self._images.append((source, sha256, crop))

    def refuse(self, name: str, reason: str) -> None:
        """Record a file that could not be used."""
        self._refused.append(Refused(name, reason))

    def duplicate(self, name: str, kept: str) -> None:
        """Record a file dropped as an exact copy of another."""
        self._duplicates.append(Duplicate(name, kept))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                with _one_line_errors(self.destination):
                    self._finish()
        finally:
            try:
                self._file.close()  # may flush, and fail again on a full disk
            except OSError:
                pass
            finally:
                shutil.rmtree(self._temporary, ignore_errors=True)

    def _finish(self) -> None:
        if not self._images:
            raise CatganError(f"no image to write to {self.destination}: check the source.")
        self._file.seek(0)
        if self._write_header(len(self._images)) != self._header_bytes:
            raise RuntimeError("the header of images.npy has outgrown its room")
        _sync(self._file)
        self.splits = assign_splits([sha for _, sha, _ in self._images], self.holdout_fraction)
        records = [
            ImageRecord(*image, split)
            for image, split in zip(self._images, self.splits, strict=True)
        ]
        about = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "tool": f"catgan {__version__}",
            "name": self.name,
            "licence": self.licence,
            "credit": self.credit,
            "resolution": self.resolution,
            "count": len(self._images),
            "identity": self._digest.hexdigest(),
            "images": [asdict(record) for record in records],
            "refused": [asdict(entry) for entry in self._refused],
            "duplicates": [asdict(entry) for entry in self._duplicates],
        }
        with (self._temporary / DESCRIPTION).open("wb") as file:
            file.write(json.dumps(about, indent=1, ensure_ascii=False).encode())
            _sync(file)
        Dataset.open(self._temporary).verify()
        _sync_directory(self._temporary)
        self._check_free()
        self._temporary.rename(self.destination)
        _sync_directory(self.destination.parent)

    def _check_free(self) -> None:
        if os.path.lexists(self.destination):
            raise DestinationExistsError(
                f"{self.destination} already exists and is left as it is: "
                "choose another destination or delete it."
            )

    def _write_header(self, count: int) -> int:
        """Write the npy header, which numpy pads so that any count fits; its end in bytes."""
        shape = (count, self.resolution, self.resolution, 3)
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        return self._file.tell()


class _Damage(Exception):  # noqa: N818 - becomes a CatganError that names the dataset
    """What is wrong with a dataset's files, in a few words."""


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise _Damage(problem)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _read_description(path: Path) -> dict[str, Any]:
    """Parse and check `dataset.json`, entries of `images` excepted (see `_record`)."""
    _require(path.stat().st_size <= MAX_DESCRIPTION_BYTES, f"{DESCRIPTION} is too large")
    try:
        about = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _Damage(f"{DESCRIPTION} is not JSON") from error
    _require(isinstance(about, dict) and about.get("format") == FORMAT, "not a catgan dataset")
    version = about.get("version")
    if _is_int(version) and version > FORMAT_VERSION:
        raise CatganError(f"{path} is of a newer format than this catgan reads: upgrade catgan.")
    _require(_is_int(version) and version == FORMAT_VERSION, "unknown format version")
    for key in ("name", "licence", "credit"):
        _require(isinstance(about.get(key), str), f"{key} is not text")
    resolution, count = about.get("resolution"), about.get("count")
    _require(_is_int(resolution) and resolution in (32, 64, 128, 256), "impossible resolution")
    _require(_is_int(count) and count > 0, "impossible count")
    _require(_is_sha256(about.get("identity")), "identity is not a sha256")
    for key in ("images", "refused", "duplicates"):
        _require(isinstance(about.get(key), list), f"{key} is not a list")
    _require(len(about["images"]) == count, "count and list of images differ")
    for key, fields in (("refused", {"name", "reason"}), ("duplicates", {"name", "kept"})):
        for entry in about[key]:
            _require(isinstance(entry, dict) and set(entry) == fields, f"malformed {key} entry")
            _require(all(isinstance(v, str) for v in entry.values()), f"malformed {key} entry")
    return about


def _record(entry: Any) -> ImageRecord:
    problem = "malformed images entry"
    _require(isinstance(entry, dict), problem)
    _require(set(entry) == {"source", "sha256", "crop", "split"}, problem)
    _require(isinstance(entry["source"], str) and _is_sha256(entry["sha256"]), problem)
    _require(entry["split"] in ("train", "holdout"), problem)
    crop = entry["crop"]
    _require(isinstance(crop, list) and len(crop) == 4 and all(map(_is_int, crop)), problem)
    left, top, right, bottom = crop
    _require(0 <= left < right and 0 <= top < bottom, problem)
    return ImageRecord(entry["source"], entry["sha256"], (left, top, right, bottom), entry["split"])


def _map_images(path: Path, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Map `images.npy` read-only after checking that it is exactly what the JSON says."""
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        except Exception as error:  # numpy's parser raises several types on a hostile header
            raise _Damage(f"{IMAGES} has no readable header") from error
        _require(version == (1, 0), f"{IMAGES} has no readable header")
        _require(dtype == np.uint8, f"{IMAGES} is not uint8")
        _require(not fortran, f"{IMAGES} is in Fortran order")
        _require(found == shape, f"{IMAGES} is {found}, {DESCRIPTION} says {shape}")
        offset = file.tell()
    length = path.stat().st_size
    expected = offset + shape[0] * shape[1] * shape[2] * shape[3]
    _require(length == expected, f"{IMAGES} has {length} bytes instead of {expected}")
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape)


@contextmanager
def _one_line_errors(destination: Path) -> Iterator[None]:
    """What the operating system says while writing, as one line with a remedy."""
    try:
        yield
    except OSError as error:
        raise CatganError(
            f"cannot write {destination}: {error.strerror or error}; "
            "free some space or choose another destination."
        ) from error


def _temporary_prefix(destination: Path) -> str:
    # Of a long name only a part fits beside mkdtemp's own letters within 255 bytes; the hash
    # keeps destinations apart.
    key = hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:16]
    return f".catgan-{key}-"


def _remove_stale(destination: Path) -> None:
    """Remove what killed writers to the same destination have left."""
    for leftover in destination.parent.glob(f"{_temporary_prefix(destination)}*.partial"):
        try:
            with (leftover / IMAGES).open("r+b") as file:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            continue  # a writer that is just starting, or an empty directory at worst
        except OSError:
            continue  # its owner is alive
        shutil.rmtree(leftover, ignore_errors=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):  # Windows cannot open directories
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
