"""What is inside a tar, without unpacking it: where each member's bytes lie.

Nothing is written under a member's name, no link is followed, and the bytes are only read.
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

MAX_RATIO = 20  # of a compressed tar as a whole: photos hardly compress
MAX_HEADER_BYTES = 2**20  # of a member's extended header, which tarfile reads whole into memory
# Python before 3.11.10 and 3.12.6 takes, over a run of digits in a header, time that grows with
# the square of its length (CVE-2024-6232): minutes at a megabyte. No name or number is this long.
_DIGITS = re.compile(rb"[0-9]{100}")
_PARSING = (ValueError, LookupError, OverflowError, EOFError, RecursionError)
_CHUNK = 2**20

_MAX_MEMORY = 2**28  # for unpacking xz; `xz -9` needs a quarter of it, a hostile one asks for more

_GZIP, _BZIP2, _XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"


@dataclass(frozen=True)
class TarMember:
    """One file of a tar: its bytes are at `offset` of the plain tar; `problem` if it is no file."""

    name: str
    offset: int
    size: int
    problem: str | None


def is_tar(path: Path) -> bool:
    """By its content: a plain tar, or gzip, bzip2 or xz under a name that says tar."""
    with path.open("rb") as file:
        start = file.read(512)
    if start[257:262] == b"ustar":
        return True
    named = path.name.lower()
    says_tar = named.endswith((".tgz", ".tbz2", ".txz")) or ".tar" in Path(named).suffixes
    return says_tar and start.startswith((_GZIP, _BZIP2, _XZ))


def open_plain(path: Path, shown: str) -> IO[bytes]:
    """The tar as an uncompressed file; a compressed one is unpacked to a nameless temporary file.

    Raises `CatganError` when it is damaged, grows more than `MAX_RATIO`-fold, or finds no room.
    """
    with path.open("rb") as file:
        start = file.read(6)
    if not start.startswith((_GZIP, _BZIP2, _XZ)):
        return path.open("rb")
    most = MAX_RATIO * path.stat().st_size + 2**20
    plain = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    try:
        for chunk in _unpacked(path, start, shown):
            try:
                plain.write(chunk)
                plain.flush()
            except OSError as error:
                raise CatganError(
                    f"{shown} cannot be unpacked to {tempfile.gettempdir()} "
                    f"({error.strerror or error}): free some space there, or set TMPDIR to a "
                    "folder with more."
                ) from error
            if plain.tell() > most:
                raise CatganError(
                    f"{shown} grows more than {MAX_RATIO}-fold: it is a compression bomb, or no "
                    "photos; unpack it yourself and prepare the folder."
                )
    except BaseException:
        with suppress(OSError):  # which flushes again, and finds the disk as full as before
            plain.close()
        raise
    return plain


def _unpacked(path: Path, start: bytes, shown: str) -> Iterator[bytes]:
    """What a compressed file holds, in chunks of bounded size."""
    try:
        if start.startswith(_XZ):
            yield from _unpacked_xz(path)
            return
        opener: Any = gzip.open if start.startswith(_GZIP) else bz2.open
        with opener(path, "rb") as packed:
            while chunk := packed.read(_CHUNK):
                yield chunk
    except lzma.LZMAError as error:
        if "memory" in str(error).lower():
            raise CatganError(
                f"{shown} takes more than {_MAX_MEMORY // 2**20} MiB of memory to unpack: unpack "
                "it yourself and prepare the folder."
            ) from error
        raise CatganError(f"{shown} is not a sound tar: copy or download it again.") from error
    except (EOFError, zlib.error, ValueError) as error:
        raise CatganError(f"{shown} is not a sound tar: copy or download it again.") from error
    except OSError as error:
        if error.errno is not None:
            raise  # the disk's; what gzip and bz2 say of damage has no number
        raise CatganError(f"{shown} is not a sound tar: copy or download it again.") from error


def _unpacked_xz(path: Path) -> Iterator[bytes]:
    """As `lzma.open` does it, which knows no limit of memory: stream after stream."""
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
                packed = more  # padding, which may stand between streams
            packed = packed.lstrip(b"\0")


def tar_members(plain: IO[bytes], shown: str) -> Iterator[TarMember]:
    """The members of an uncompressed tar, directories left out.

    Raises `CatganError` when it is damaged; what came before the damage is lost with it.
    """
    plain.seek(0)
    last = -1
    try:
        with tarfile.open(fileobj=cast(IO[bytes], _Bounded(plain)), mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # or it remembers them all
                if member.size < 0 or member.offset <= last:  # or one header is read for ever
                    raise tarfile.ReadError("it leads backwards")
                last = member.offset
                if member.isdir():
                    continue
                problem = None
                if member.issym() or member.islnk():
                    problem = "link inside a tar"
                elif not member.isreg() or member.sparse is not None:
                    problem = "not a regular file inside the tar"
                yield TarMember(member.name, member.offset_data, member.size, problem)
    # tarfile lets pass what its parsing of a hostile header runs into.
    except (tarfile.TarError, *_PARSING) as error:
        raise CatganError(f"{shown} is not a sound tar: copy or download it again.") from error


class _Bounded:
    """A file that rejects to hand out more at once than a header may need."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is too large")
        data = self._file.read(size)
        if _DIGITS.search(data):
            raise tarfile.ReadError("a header is made to be slow")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
