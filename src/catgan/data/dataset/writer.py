"""Write a dataset atomically: it appears complete or not at all.

It is written to a hidden sibling directory, flushed, read back and renamed. A lock beside that
directory shows that its writer is alive; it is not inside, because Windows cannot rename a
directory with an open file in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from catgan import __version__
from catgan.data.dataset.dataset import (
    DESCRIPTION,
    FORMAT,
    FORMAT_VERSION,
    IMAGES,
    Dataset,
    Duplicate,
    Rejected,
    check_resolution,
)
from catgan.data.dataset.image_records import ImageRecord, Split
from catgan.errors import CatganError
from catgan.files import flush_directory, is_no_space, rename, write_and_flush
from catgan.locks import ProcessLock

_PARTIAL, _LOCK = ".partial", ".lock"  # suffixes of the temporary directory and its lock


class DestinationExistsError(CatganError):
    """The destination of a dataset already exists."""


class NotWritableError(CatganError):
    """The destination cannot be written: full disk, read-only, or permission denied."""


def require_free_destination(destination: Path) -> None:
    """Check that nothing exists at `destination`.

    Raises:
        DestinationExistsError: something does.
        NotWritableError: it cannot be checked, since the name is too long, for instance.
    """
    with _one_line_errors(destination):
        try:
            destination.lstat()  # not `lexists`: it reports a name that is too long as free
        except FileNotFoundError:
            return
    raise DestinationExistsError(
        f"{destination} already exists: choose another destination or delete it."
    )


def assign_splits(sha256s: list[str], holdout_fraction: float) -> list[Split]:
    """Split images by content, so that a photo is in the same split of every dataset.

    An image is held out if the first 64 bits of its sha256, read as a fraction in [0, 1), are below
    `holdout_fraction` (in [0, 1)). At least one image always stays in the training split.
    """
    limit = int(holdout_fraction * 2**64)
    splits: list[Split] = [
        "holdout" if int(sha256[:16], 16) < limit else "train" for sha256 in sha256s
    ]
    if splits and "train" not in splits:
        splits[max(range(len(splits)), key=lambda index: sha256s[index])] = "train"
    return splits


class DatasetWriter:
    """Context manager that writes a dataset image by image; pixels are not kept in memory.

    On a clean exit the dataset appears at `destination`, complete and verified. On any exception,
    Ctrl-C included, nothing is left. The next writer to the same destination removes what a killed
    process has left, whose lock is free.

    Raises `DestinationExistsError` if `destination` exists, on entering or at the end,
    `NotWritableError` when the disk is full or read-only, `CatganError` when no image was appended.
    """

    def __init__(
        self,
        destination: str | os.PathLike[str],
        resolution: int,
        *,
        name: str,
        license: str = "unknown",
        credit: str = "unknown",
        holdout_fraction: float = 0.1,
    ) -> None:
        check_resolution(resolution)
        if not 0 <= holdout_fraction < 1:
            raise CatganError(
                f"invalid holdout fraction {holdout_fraction}: expected 0 to below 1; try 0.1."
            )
        self.destination = Path(os.path.abspath(destination))  # noqa: PTH100 - keeps symlinks
        self.resolution = resolution
        self.name, self.license, self.credit = name, license, credit
        self.holdout_fraction = holdout_fraction
        self.splits: list[Split] = []  # set on a clean exit
        self._images: list[tuple[str, str, tuple[int, int, int, int]]] = []
        self._rejected: list[Rejected] = []
        self._duplicates: list[Duplicate] = []
        self._digest = hashlib.sha256()

    def __enter__(self) -> DatasetWriter:
        with _one_line_errors(self.destination):
            require_free_destination(self.destination)
            self.destination.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(self.destination)
            self._create_temporary()
        return self

    def _create_temporary(self) -> None:
        """Create a temporary directory, locked for as long as this process lives."""
        while True:
            name = _temporary_prefix(self.destination) + secrets.token_hex(8)
            self._lock = ProcessLock(self.destination.with_name(name + _LOCK))
            if self._lock.acquire():
                break  # else another writer took the new lock for a stale one
        self._temporary = self._lock.path.with_suffix(_PARTIAL)
        try:
            self._temporary.mkdir()
            self._file: BinaryIO = (self._temporary / IMAGES).open("w+b")
            self._header_bytes = self._write_header(0)
        except BaseException:
            self._discard_temporary()
            raise

    def append(
        self, image: np.ndarray, *, source: str, sha256: str, crop: tuple[int, int, int, int]
    ) -> None:
        """Add one image, uint8, resolution x resolution x 3; see `ImageRecord` for the rest."""
        shape = (self.resolution, self.resolution, 3)
        if image.shape != shape or image.dtype != np.uint8:
            raise ValueError(f"expected uint8 {shape}, got {image.dtype} {image.shape}")
        payload = np.ascontiguousarray(image).tobytes()
        self._digest.update(payload)
        with _one_line_errors(self.destination):
            self._file.write(payload)
        self._images.append((source, sha256, crop))

    def reject(self, name: str, reason: str) -> None:
        """Record a file that could not be used."""
        self._rejected.append(Rejected(name, reason))

    def duplicate(self, name: str, kept: str) -> None:
        """Record a file that was dropped as an exact copy of the file `kept`."""
        self._duplicates.append(Duplicate(name, kept))

    def attach(self, name: str, content: bytes) -> None:
        """Add a file to the dataset's directory; `name` must never come from a photo."""
        with _one_line_errors(self.destination):
            write_and_flush(self._temporary / name, content)

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
                self._discard_temporary()

    def _discard_temporary(self) -> None:
        """Remove the temporary directory, if it still exists, then its lock."""
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._lock.release(remove=True)

    def _finish(self) -> None:
        if not self._images:
            raise CatganError(f"{self.destination}: no image to write; check the source.")
        self._file.seek(0)
        if self._write_header(len(self._images)) != self._header_bytes:
            raise RuntimeError("the header of images.npy has outgrown its padding")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
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
            "license": self.license,
            "credit": self.credit,
            "resolution": self.resolution,
            "count": len(self._images),
            "identity": self._digest.hexdigest(),
            "images": [asdict(record) for record in records],
            "rejected": [asdict(entry) for entry in self._rejected],
            "duplicates": [asdict(entry) for entry in self._duplicates],
        }
        write_and_flush(self._temporary / DESCRIPTION, _to_json(about))
        Dataset.open(self._temporary).verify()  # not kept: Windows cannot rename a mapped file
        flush_directory(self._temporary)
        require_free_destination(self.destination)
        try:
            rename(self._temporary, self.destination)
        except OSError:
            require_free_destination(self.destination)  # if another writer was faster
            raise
        flush_directory(self.destination.parent)

    def _write_header(self, count: int) -> int:
        """Write the npy header and return its size in bytes, which is the same for any count."""
        shape = (count, self.resolution, self.resolution, 3)  # numpy pads for a growing first axis
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        return self._file.tell()


def _to_json(about: dict[str, Any]) -> bytes:
    """Format JSON with one line per key and per list entry."""
    lines = []
    for key, value in about.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value:
            entries = (json.dumps(entry, ensure_ascii=False) for entry in value)
            text = "[\n  " + ",\n  ".join(entries) + "\n ]"
        lines.append(f" {json.dumps(key)}: {text}")
    # A name from the command line may have bytes that are not UTF-8.
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode(errors="replace")


@contextmanager
def _one_line_errors(destination: Path) -> Iterator[None]:
    """Turn an OSError while writing into a `NotWritableError` with a remedy."""
    try:
        yield
    except OSError as error:
        remedy = "free some space or choose" if is_no_space(error) else "choose"
        raise NotWritableError(
            f"cannot write {destination}: {error.strerror or error}; {remedy} another destination."
        ) from error


def _temporary_prefix(destination: Path) -> str:
    # A hash, because a long name with a suffix would exceed 255 bytes.
    key = hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:16]
    return f".catgan-{key}-"


def _remove_stale(destination: Path) -> None:
    """Remove what killed writers to the same destination left behind."""
    prefix = _temporary_prefix(destination)
    for path in destination.parent.glob(f"{prefix}*{_LOCK}"):
        lock = ProcessLock(path)
        with suppress(OSError):
            if lock.acquire():
                shutil.rmtree(path.with_suffix(_PARTIAL), ignore_errors=True)
                lock.release(remove=True)
    # A live writer creates its lock before its directory and removes it after.
    for leftover in destination.parent.glob(f"{prefix}*{_PARTIAL}"):
        if not leftover.with_suffix(_LOCK).exists():
            shutil.rmtree(leftover, ignore_errors=True)
