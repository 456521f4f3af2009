"""Store the faces found so far on disk, so that a search can be resumed and memory is bounded.

The journal is a directory with `journal.jsonl` (a header line that identifies the search, then one
line per finished photo) and `crops.bin` (the crops, one after another). Both are append-only. An
incomplete entry of a killed process is truncated when the journal is opened again.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from catgan.data.faces.find import Face
from catgan.data.faces.framing import Frame, crop_box
from catgan.data.faces.gates import Measures
from catgan.errors import CatganError, quoted
from catgan.files import is_no_space, read_at
from catgan.locks import ProcessLock

JOURNAL, CROPS, LOCK = "journal.jsonl", "crops.bin", ".lock"
_INTEGER_KEYS = ("offset", "checksum")  # of a face
_SYNC_EVERY = 32  # photos that a power cut may lose; a killed process loses no finished one


@dataclass(frozen=True)
class FoundFace:
    """A face in the journal; its crop starts at byte `offset` and covers `box` of the photo."""

    frame: Frame
    box: tuple[int, int, int, int]
    measures: Measures
    offset: int
    checksum: int


@dataclass(frozen=True)
class FoundPhoto:
    """A finished photo: its faces, most evidence first, or the reason why it was rejected."""

    name: str
    sha256: str
    rejected: str | None
    faces: tuple[FoundFace, ...]


class Journal:
    """Context manager that opens the journal in `directory` and locks it.

    `key` identifies the search: what its results depend on. `found` maps the (name, sha256) of each
    finished photo to its faces. Threads may share a journal.

    Raises `CatganError` when another process has it open, when it belongs to another search, or
    when it cannot be written.
    """

    def __init__(self, directory: Path, size: int, key: Mapping[str, Any]) -> None:
        self.directory, self.size = directory, size
        self.found: dict[tuple[str, str], FoundPhoto] = {}
        self._header = json.dumps({"size": size, **key}, sort_keys=True)
        self._unsynced = 0
        self._broken = False
        self._lock = threading.Lock()
        self._process_lock = ProcessLock(directory / LOCK)

    def __enter__(self) -> Journal:
        with self._one_line_errors():
            self.directory.mkdir(parents=True, exist_ok=True)
            if not self._process_lock.acquire():
                raise CatganError(
                    f"{self.directory} is in use: another catgan is preparing the same dataset; "
                    "wait for it or choose another destination."
                )
        with ExitStack() as opened, self._one_line_errors():
            opened.callback(self._process_lock.release)
            self._lines: BinaryIO = opened.enter_context((self.directory / JOURNAL).open("a+b"))
            self._crops: BinaryIO = opened.enter_context((self.directory / CROPS).open("a+b"))
            self._recover()
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        with self._one_line_errors(), self._opened:
            if not self._broken:
                self._sync()

    def add(
        self,
        name: str,
        sha256: str,
        *,
        photo_size: tuple[int, int] = (1, 1),
        faces: list[Face] | None = None,
        rejected: str | None = None,
    ) -> FoundPhoto:
        """Record a finished photo of `photo_size` (width, height) and add it to `found`.

        Once this returns, the photo survives a kill of the process.
        """
        payloads = [np.ascontiguousarray(face.crop).tobytes() for face in faces or []]
        with self._lock, self._one_line_errors():
            if self._broken:  # by another thread; the end of the crops is unknown
                raise CatganError(f"cannot write {self.directory}: see the error before this.")
            recorded = []
            for face, payload in zip(faces or [], payloads, strict=True):
                box = crop_box(face.frame, *photo_size)
                checksum = zlib.crc32(payload)
                recorded.append(FoundFace(face.frame, box, face.measures, self._end, checksum))
                self._crops.write(payload)
                self._end += len(payload)
            photo = FoundPhoto(name, sha256, rejected, tuple(recorded))
            self._lines.write(json.dumps(asdict(photo), ensure_ascii=False).encode() + b"\n")
            self._crops.flush()  # before the line that refers to them
            self._lines.flush()
            self._unsynced += 1
            if self._unsynced >= _SYNC_EVERY:
                self._sync()
            self.found[name, sha256] = photo
        return photo

    def _sync(self) -> None:
        """Flush everything to disk, the crops before the lines that refer to them."""
        for file in (self._crops, self._lines):
            file.flush()
            os.fsync(file.fileno())
        self._unsynced = 0

    @contextmanager
    def _one_line_errors(self) -> Iterator[None]:
        """Turn an OSError into a `CatganError` with a remedy."""
        try:
            yield
        except OSError as error:
            self._broken = True
            remedy = "choose another destination."
            if self.found:
                remedy = "run the same command again to resume."
                if is_no_space(error):
                    remedy = f"free some space and {remedy}"
            raise CatganError(
                f"cannot write {self.directory}: {error.strerror or error}; {remedy}"
            ) from error

    def crop(self, face: FoundFace) -> np.ndarray:
        """Return the crop of a face, uint8 size x size x 3.

        Raises:
            CatganError: the checksum does not match.
        """
        with self._lock:
            payload = read_at(self._crops.fileno(), self._crop_bytes, face.offset)
        if len(payload) != self._crop_bytes or zlib.crc32(payload) != face.checksum:
            raise CatganError(
                f"{self.directory / CROPS} has changed on disk: delete {self.directory} and "
                "prepare again."
            )
        return np.frombuffer(payload, dtype=np.uint8).reshape(self.size, self.size, 3)

    def _raise_if_other_search(self, header: str) -> None:
        """Keep the results of a search at another size or version: they may be hours of work."""
        try:
            size = json.loads(header)["size"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        what = f"at {quoted(size)} px" if size != self.size else "of another version"
        raise CatganError(
            f"{self.directory} has an interrupted search {what}: resume that, or delete the "
            "directory"
        )

    @property
    def _crop_bytes(self) -> int:
        return self.size * self.size * 3

    def _recover(self) -> None:
        """Read the valid entries, and truncate the files after the last of them."""
        crops_bytes = os.fstat(self._crops.fileno()).st_size
        self._lines.seek(0)
        lines_end = crops_end = 0
        for number, line in enumerate(self._lines):
            if not line.endswith(b"\n"):
                break
            if number == 0:
                header = line.decode(errors="replace").rstrip("\n")
                if header != self._header:
                    self._raise_if_other_search(header)
                    break  # not a journal: start a new one
            else:
                try:
                    photo = _parse_photo(json.loads(line))
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                    break
                end = crops_end + len(photo.faces) * self._crop_bytes
                if end > crops_bytes:
                    break
                crops_end = end
                self.found[photo.name, photo.sha256] = photo
            lines_end += len(line)
        self._lines.truncate(lines_end)
        self._crops.truncate(crops_end)
        self._end = crops_end
        if lines_end == 0:
            self._lines.write(self._header.encode() + b"\n")


def _parse_photo(entry: dict[str, Any]) -> FoundPhoto:
    """Parse a line of the journal; an invalid one raises one of several types of error."""
    texts = (entry["name"], entry["sha256"], entry["rejected"] or "")
    numbers: list[Any] = []
    for face in entry["faces"]:
        numbers += [*face["frame"].values(), *face["box"], *face["measures"].values()]
        if not all(type(face[key]) is int and 0 <= face[key] < 2**63 for key in _INTEGER_KEYS):
            raise TypeError
    if not all(isinstance(text, str) for text in texts) or not all(
        type(number) in (int, float) for number in numbers
    ):
        raise TypeError
    faces = tuple(
        FoundFace(
            Frame(**face["frame"]),
            tuple(face["box"]),
            Measures(**face["measures"]),
            face["offset"],
            face["checksum"],
        )
        for face in entry["faces"]
    )
    return FoundPhoto(entry["name"], entry["sha256"], entry["rejected"], faces)
