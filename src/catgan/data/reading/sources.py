"""Read photos from a source: a folder, a zip, a tar, a list of paths, or one file.

Names in a source are only labels; none is used as a path, except the lines of a list, which the
user wrote.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from catgan.data.reading.images import ImageRejected
from catgan.data.reading.tars import TarMember, is_tar, open_plain, tar_members
from catgan.errors import CatganError
from catgan.files import read_at

MAX_FILE_BYTES = 128 * 2**20  # of one image file; ten times a large camera JPEG
MAX_FILES = 1_000_000  # in one source
MAX_DIRECTORY_BYTES = 64 * 2**20  # of a zip's list of members, which is read into memory
# A file above both is a compression bomb: photos hardly compress, and plain-color BMPs are small.
MAX_RATIO, RATIO_FREE_BYTES = 200, 2**20
MAX_LABEL = 200  # characters; the end of a longer name is kept

_IGNORED = {"__macosx", "thumbs.db", "desktop.ini"}
_ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?")
_CHUNK = 2**20


@dataclass(frozen=True)
class SourceFile:
    """One file of a source; `name` is printable, relative to the source, and may not be unique.

    `read()` returns the content, at most `MAX_FILE_BYTES`, or raises `ImageRejected`.
    """

    name: str
    read: Callable[[], bytes]


def label(name: str) -> str:
    """Make a file name safe for a terminal, a JSON file and a web page.

    The name is made `printable`; of a long name the end is kept.
    """
    text = printable(name)
    if len(text) > MAX_LABEL:
        text = "…" + text[1 - MAX_LABEL :]
    return text or "(unnamed)"


def printable(text: str) -> str:
    """Make text safe to print on one line of a terminal.

    Terminal escapes are removed; other unprintable characters (control and direction characters,
    bytes that are not UTF-8) become U+FFFD.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in _ESCAPE.sub("", text)
    )


def source_name(path: str | os.PathLike[str]) -> str:
    """Return the name for a dataset of the photos at `path`: the folder or file name, no suffix.

    A symbolic link is resolved first.
    """
    real = Path(os.path.realpath(path))  # unlike `resolve`, accepts a link to itself
    if real.is_dir():
        return label(real.name)
    return label(re.sub(r"(?<=.)(\.tar)?\.[^.]+$", "", real.name))


@contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[list[SourceFile]]:
    """List the files of a folder (recursively), a zip, a tar, or one image, sorted by name.

    A `.txt` file is a list of paths, one per line, absolute or relative to the list; their order is
    kept. Empty lines and lines that start with # are skipped.

    Hidden files and files of operating systems (`__MACOSX`, `Thumbs.db`) are skipped; everything
    else is listed, so that it is either used or reported. Symbolic links are followed only to
    regular files inside the folder. A folder and a zip of the same files give the same list.

    Raises `CatganError` when the source is missing, unreadable, or has more than `MAX_FILES`.
    """
    path = Path(path)
    shown = label(str(path))
    with ExitStack() as stack:
        try:
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                files = _sorted(_folder_files(path), shown)
            elif not stat.S_ISREG(mode):
                raise CatganError(
                    f"{shown} is neither a folder nor a file: give a folder or a zip."
                )
            elif _is_zip(path):
                archive = stack.enter_context(_open_zip(path, shown))
                files = _sorted(_zip_files(archive, path.stat().st_size, shown), shown)
            elif is_tar(path):
                plain = stack.enter_context(open_plain(path, shown))
                files = _sorted(_tar_files(plain, shown), shown)
            elif path.suffix.lower() == ".txt":
                files = _listed_files(path, shown)
            else:
                files = [SourceFile(label(path.name), partial(_read_regular, path))]
        except FileNotFoundError as error:
            raise CatganError(f"{shown} does not exist: check the path.") from error
        except (OSError, ValueError) as error:  # ValueError: a null character in the path
            reason = "invalid path"
            if isinstance(error, OSError):
                reason = error.strerror or str(error)
            raise CatganError(f"{shown} cannot be read: {reason}.") from error
        yield files


def content_key(path: str | os.PathLike[str]) -> str:
    """Return the sha256 (hex) of a source's content: a file's bytes, or a folder's names and files.

    It does not depend on times, owners and the path of the source. A file that cannot be read
    contributes its name and the reason.
    """
    path = Path(path)
    digest = hashlib.sha256()
    if path.is_file() and path.suffix.lower() != ".txt":
        digest.update(b"file\0")
        try:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        except OSError as error:
            raise CatganError(
                f"{label(str(path))} cannot be read: {error.strerror or error}."
            ) from error
        return digest.hexdigest()
    with open_source(path) as files:
        digest.update(b"folder\0")  # or a list of paths
        for entry in files:
            try:
                content = b"+" + hashlib.sha256(entry.read()).digest()
            except ImageRejected as error:
                content = b"-" + hashlib.sha256(error.reason.encode()).digest()
            digest.update(hashlib.sha256(entry.name.encode()).digest() + content)
    return digest.hexdigest()


def _sorted(files: Iterator[tuple[tuple[str, ...], SourceFile]], shown: str) -> list[SourceFile]:
    found = []
    for entry in files:
        found.append(entry)
        if len(found) > MAX_FILES:
            raise CatganError(f"{shown} has more than {MAX_FILES:,} files: prepare a part of it.")
    # `sorted` is stable: members of the same name keep their order in the zip.
    return [file for _, file in sorted(found, key=lambda entry: entry[0])]


def _is_ignored(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") or part.lower() in _IGNORED for part in parts)


def _rejection(name: str, reason: str) -> SourceFile:
    def read() -> bytes:
        raise ImageRejected(reason)

    return SourceFile(label(name), read)


def _folder_files(root: Path) -> Iterator[tuple[tuple[str, ...], SourceFile]]:
    """Walk a folder without recursion; folder links are never entered, so loops cannot form."""
    inside = os.path.realpath(root)
    pending: list[tuple[str, ...]] = [()]
    while pending:
        parts = pending.pop()
        try:
            with os.scandir(Path(root, *parts)) as entries:
                listed = list(entries)
        except OSError as error:
            if not parts:
                raise
            reason = f"folder cannot be read: {error.strerror}"
            yield parts, _rejection("/".join(parts) + "/", reason)
            continue
        for entry in listed:
            below = (*parts, entry.name)
            if _is_ignored((entry.name,)):
                continue
            name = "/".join(below)
            target = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
            if entry.is_dir(follow_symlinks=False):
                pending.append(below)
            elif entry.is_symlink() and not os.path.exists(target):  # noqa: PTH110 - str from realpath
                yield below, _rejection(name, "broken symbolic link")
            elif entry.is_symlink() and Path(target).is_dir():
                yield below, _rejection(name, "symbolic link to a folder, not followed")
            elif entry.is_symlink() and not Path(target).is_relative_to(inside):
                yield below, _rejection(name, "symbolic link to outside the folder, not followed")
            else:
                yield below, SourceFile(label(name), partial(_read_regular, Path(target)))


def _listed_files(path: Path, shown: str) -> list[SourceFile]:
    """List the files that a list of paths names; an invalid line is rejected when it is read."""
    if path.stat().st_size > MAX_DIRECTORY_BYTES:
        raise CatganError(f"{shown}: the list is too long; split it.")
    files = []
    for line in path.read_bytes().splitlines():
        text = os.fsdecode(line.removeprefix(b"\xef\xbb\xbf")).strip()
        if not text or text.startswith("#"):
            continue
        if "\0" in text:
            files.append(_rejection(text, "not a usable path"))
        else:
            files.append(SourceFile(label(text), partial(_read_regular, path.parent / text)))
        if len(files) > MAX_FILES:
            raise CatganError(f"{shown} lists more than {MAX_FILES:,} files: split it.")
    return files


def _tar_files(plain: IO[bytes], shown: str) -> Iterator[tuple[tuple[str, ...], SourceFile]]:
    for member in tar_members(plain, shown):
        parts = tuple(part for part in member.name.split("/") if part not in ("", ".", ".."))
        if _is_ignored(parts):
            continue
        problem = member.problem
        if problem is None and member.size > MAX_FILE_BYTES:
            problem = _too_big(member.size)
        if problem is not None:
            yield parts, _rejection(member.name, problem)
        else:
            yield (
                parts,
                SourceFile(label(member.name), partial(_read_slice, plain.fileno(), member)),
            )


def _read_slice(descriptor: int, member: TarMember) -> bytes:
    try:
        data = read_at(descriptor, member.size, member.offset)
    except OSError as error:
        raise ImageRejected(f"cannot be read: {error.strerror or 'input error'}") from error
    if len(data) != member.size:
        raise ImageRejected("truncated inside the tar")
    return data


def _read_regular(path: Path) -> bytes:
    """Read a regular file of at most `MAX_FILE_BYTES`; a pipe or device does not block."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        # With an opener, as `open` on a descriptor of a directory fails and would leak it.
        with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageRejected("not a regular file")
            if status.st_size > MAX_FILE_BYTES:
                raise ImageRejected(_too_big(status.st_size))
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ImageRejected(_os_reason(path, error)) from error
    if len(data) > MAX_FILE_BYTES:
        raise ImageRejected(_too_big(len(data)))
    return data


def _os_reason(path: Path, error: OSError) -> str:
    try:  # opening a socket fails, and on some systems a pipe: give the real reason
        if not stat.S_ISREG(path.stat().st_mode):
            return "not a regular file"
    except OSError:
        pass
    return f"cannot be read: {error.strerror or 'input/output error'}"


def _too_big(size: int) -> str:
    return f"file of {size / 2**20:.0f} MiB, more than the {MAX_FILE_BYTES // 2**20} MiB allowed"


def _is_zip(path: Path) -> bool:
    """Return whether a file is a zip by its first bytes; a photo with a zip appended is a photo."""
    with path.open("rb") as file:
        start = file.read(4)
    return start in (b"PK\x03\x04", b"PK\x05\x06") or (
        path.suffix.lower() == ".zip" and zipfile.is_zipfile(path)
    )


@contextmanager
def _open_zip(path: Path, shown: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip after checking the size of its list of members."""
    damaged = f"{shown} is not a valid zip: copy or download it again."
    if _directory_bytes(path) > MAX_DIRECTORY_BYTES:
        raise CatganError(f"{shown} lists too many members: unpack it and prepare the folder.")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError) as error:
        raise CatganError(damaged) from error
    with archive:
        yield archive


def _directory_bytes(path: Path) -> int:
    """Return the size of a zip's central directory from its end record (APPNOTE 4.3.14, 4.3.16)."""
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - 22 - 65535))
        tail = file.read()
        end = tail.rfind(b"PK\x05\x06")
        if end < 0 or len(tail) < end + 22:
            return 0  # not a zip; opening it will fail
        (size,) = struct.unpack_from("<I", tail, end + 12)
        # The zip64 locator is in the 20 bytes before and points to the larger record.
        if tail[max(0, end - 20) : end].startswith(b"PK\x06\x07"):
            (offset,) = struct.unpack_from("<Q", tail, end - 12)
            file.seek(min(offset, length))
            record = file.read(56)
            if record.startswith(b"PK\x06\x06") and len(record) == 56:
                (size,) = struct.unpack_from("<Q", record, 40)
    return min(size, length)


def _zip_files(
    archive: zipfile.ZipFile, archive_bytes: int, shown: str
) -> Iterator[tuple[tuple[str, ...], SourceFile]]:
    # Not `info.is_dir()`, which fails on an empty name.
    members = [info for info in archive.infolist() if not info.filename.endswith("/")]
    if sum(info.compress_size for info in members) > archive_bytes:
        # Members that overlap: a bomb that the ratio of a single member does not reveal (Fifield,
        # "A better zip bomb", WOOT 2019).
        raise CatganError(f"{shown} claims more content than it has: it is damaged or hostile.")
    for info in members:
        parts = tuple(part for part in info.filename.split("/") if part not in ("", ".", ".."))
        if not _is_ignored(parts):
            yield (
                parts,
                SourceFile(label(info.filename), partial(_read_member, archive, info)),
            )


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Read one member, with at most `MAX_FILE_BYTES` in memory, whatever its header claims."""
    if info.flag_bits & 0x1:
        raise ImageRejected("encrypted: unpack the zip with its password first")
    # The standard library decompresses only these two in bounded steps.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ImageRejected("packed by an unusual method: unpack the zip first")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise ImageRejected("symbolic link inside a zip")
    if info.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * info.compress_size):
        raise ImageRejected("compression bomb")
    if info.file_size > MAX_FILE_BYTES:
        raise ImageRejected(_too_big(info.file_size))
    content = bytearray()
    try:
        with archive.open(info) as member:
            while chunk := member.read(_CHUNK):
                content += chunk
                if len(content) > MAX_FILE_BYTES:
                    raise ImageRejected(_too_big(len(content)))
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError) as error:
        if isinstance(error, ImageRejected):
            raise
        raise ImageRejected("damaged inside the zip") from error
    except (OSError, RuntimeError, NotImplementedError) as error:
        raise ImageRejected("cannot be unpacked from the zip") from error
    if len(content) != info.file_size:
        raise ImageRejected("damaged inside the zip")
    return bytes(content)
