"""List the members of a tar and their positions, without extracting them.

Nothing is written under a member's name, and no link is followed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from catgan.errors import CatganError

MAX_RATIO = 20  # of a compressed tar; photos hardly compress
MAX_HEADER_BYTES = 2**20  # of a member's extended header, which tarfile reads into memory
# Before 3.11.10 and 3.12.6, Python takes time quadratic in the length of a run of digits in a
# header (CVE-2024-6232): minutes for a megabyte. No valid name or number is this long.
_DIGITS = re.compile(rb"[0-9]{100}")
_PARSING_ERRORS = (ValueError, LookupError, OverflowError, EOFError, RecursionError)
_CHUNK = 2**20

_MAX_MEMORY = 2**28  # to decompress xz; `xz -9` needs a quarter of it, a hostile file more

_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"


@dataclass(frozen=True)
class TarMember:
    """A member of a tar: `size` bytes at `offset` of the uncompressed tar.

    `problem` says why it cannot be used, if it is not a regular file.
    """

    name: str
    offset: int
    size: int
    problem: str | None


def is_tar(path: Path) -> bool:
    """Return whether a file is a tar, or gzip, bzip2 or xz data with the name of a tar."""
    with path.open("rb") as file:
        start = file.read(512)
    if start[257:262] == b"ustar":
        return True
    name = path.name.lower()
    is_named_tar = name.endswith((".tgz", ".tbz2", ".txz")) or ".tar" in Path(name).suffixes
    return is_named_tar and start.startswith((_GZIP, _BZIP2, _XZ))


def open_plain(path: Path, shown: str) -> IO[bytes]:
    """Open a tar uncompressed; a compressed one is decompressed to an unnamed temporary file.

    Raises `CatganError` when it is damaged, expands more than `MAX_RATIO` times, or the disk is
    full.
    """
    with path.open("rb") as file:
        start = file.read(6)
    if not start.startswith((_GZIP, _BZIP2, _XZ)):
        return path.open("rb")
    max_bytes = MAX_RATIO * path.stat().st_size + 2**20
    plain = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        for chunk in _decompress(path, start, shown):
            try:
                plain.write(chunk)
                plain.flush()
            except OSError as error:
                raise CatganError(
                    f"{shown} cannot be unpacked to {tempfile.gettempdir()} "
                    f"({error.strerror or error}): free some space there, or set TMPDIR to a "
                    "folder with more."
                ) from error
            if plain.tell() > max_bytes:
                raise CatganError(
                    f"{shown} expands more than {MAX_RATIO} times, as a compression bomb does and "
                    "photos do not: unpack it yourself and prepare the folder."
                )
    except BaseException:
        with suppress(OSError):  # closing flushes again; the disk is still full
            plain.close()
        raise
    return plain


def _decompress(path: Path, start: bytes, shown: str) -> Iterator[bytes]:
    """Yield the content of a compressed file in chunks of bounded size."""
    try:
        if start.startswith(_XZ):
            yield from _decompress_xz(path)
            return
        opener: Any = gzip.open if start.startswith(_GZIP) else bz2.open
        with opener(path, "rb") as packed:
            while chunk := packed.read(_CHUNK):
                yield chunk
    except lzma.LZMAError as error:
        if "memory" in str(error).lower():
            raise CatganError(
                f"{shown} needs more than {_MAX_MEMORY // 2**20} MiB of memory to unpack: unpack "
                "it yourself and prepare the folder."
            ) from error
        raise CatganError(f"{shown} is not a valid tar: copy or download it again.") from error
    except (EOFError, zlib.error, ValueError) as error:
        raise CatganError(f"{shown} is not a valid tar: copy or download it again.") from error
    except OSError as error:
        if error.errno is not None:
            raise  # from the disk; errors of gzip and bz2 about damage have no errno
        raise CatganError(f"{shown} is not a valid tar: copy or download it again.") from error


def _decompress_xz(path: Path) -> Iterator[bytes]:
    """Decompress xz stream by stream, like `lzma.open`, which has no memory limit."""
    with path.open("rb") as file:
        packed = file.read(_CHUNK)
        while packed:
            stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_MEMORY)
            while not stream.eof:
                if stream.needs_input and not packed and not (packed := file.read(_CHUNK)):
                    raise EOFError
                yield stream.decompress(packed, _CHUNK)
                packed = b""
            packed = stream.unused_data
            while not packed.lstrip(b"\0") and (more := file.read(_CHUNK)):
                packed = more  # padding between streams
            packed = packed.lstrip(b"\0")


def tar_members(plain: IO[bytes], shown: str) -> Iterator[TarMember]:
    """Yield the members of an uncompressed tar, except directories.

    Raises `CatganError` when the tar is damaged.
    """
    plain.seek(0)
    last = -1
    try:
        with tarfile.open(fileobj=cast(IO[bytes], _Bounded(plain)), mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or it keeps them all
                if member.size < 0 or member.offset <= last:  # an endless loop
                    raise tarfile.ReadError("offsets go backwards")
                last = member.offset
                if member.isdir():
                    continue
                problem = None
                if member.issym() or member.islnk():
                    problem = "link inside a tar"
                elif not member.isreg() or member.sparse is not None:
                    problem = "not a regular file inside the tar"
                yield TarMember(member.name, member.offset_data, member.size, problem)
    # tarfile does not catch the errors that parsing a hostile header raises.
    except (tarfile.TarError, *_PARSING_ERRORS) as error:
        raise CatganError(f"{shown} is not a valid tar: copy or download it again.") from error


class _Bounded:
    """A file that limits how much tarfile may read at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is too large")
        data = self._file.read(size)
        if _DIGITS.search(data):
            raise tarfile.ReadError("a header has too many digits")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
