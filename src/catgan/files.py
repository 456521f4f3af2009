"""Write files atomically and durably on every operating system."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
import unicodedata
from pathlib import Path

from catgan.errors import CatganError, quoted

ON_WINDOWS = os.name == "nt"
MAX_NAME_BYTES = 120  # UTF-8; file systems allow 255, and callers append numbers and suffixes
_RENAME_DELAYS = (0.01, 0.03, 0.1, 0.3, 0.6)  # s, between attempts to rename an open file
_FLUSH_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)

_seek_lock = threading.Lock()


def to_path(name: str, value: object) -> Path:
    """Return `value`, the argument `name`, as a path; `CatganError` for an empty or other value."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise CatganError(f"{name} must be a path, not {quoted(value)}")
    return Path(value)


def read_bounded(path: str | os.PathLike[str], limit: int, remedy: str) -> bytes:
    """Return the bytes of a file that anyone may have written; of a larger one `limit` + 1.

    Raises:
        CatganError: the path is not a file, or cannot be read; it ends with the `remedy`.
    """
    where = os.fspath(path)
    try:
        path = Path(where)
        if path.exists() and not path.is_file():  # opening a pipe without a writer would block
            raise OSError(errno.EINVAL, "not a file")
        with path.open("rb") as file:
            return file.read(limit + 1)
    except (OSError, TypeError, ValueError) as error:  # ValueError: an impossible file name
        raise CatganError(
            f"{where}: cannot be read ({getattr(error, 'strerror', None) or error}): {remedy}"
        ) from None


def write_durably(path: Path, data: bytes) -> None:
    """Replace the content of `path` by `data` atomically. Raises OSError.

    Writes a temporary file in the same directory, flushes it to disk and renames it: `path` holds
    the old content or the new, also after a power cut.
    """
    require_replaceable(path)
    partial = _partial_path(path)
    try:
        write_and_flush(partial, data)
        rename(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush_directory(path.parent)


def try_writing(path: Path) -> None:
    """Check that `write_durably` can write `path`, leaving nothing behind. Raises OSError.

    It creates and deletes a temporary file, because permissions are not enough to tell: those of a
    superuser, a read-only mount or /proc allow what then fails, and a name can be too long.
    """
    require_replaceable(path)
    partial = _partial_path(path)
    partial.touch()
    partial.unlink()


def require_replaceable(path: Path) -> None:
    """Check that `path` does not exist or is a regular file. Raises OSError.

    Renaming a file onto a device or a pipe would replace it; the system needs its /dev/null.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "expected a regular file, found a device or a pipe")


def make_directory(path: Path) -> None:
    """Create a directory and its missing parents. Raises OSError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # "File exists" would not tell the user what is wrong
        raise NotADirectoryError(errno.ENOTDIR, f"{path} is not a folder") from None


def write_and_flush(path: Path, data: bytes) -> None:
    """Write a file that nobody reads yet and flush it to disk. Raises OSError."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def rename(source: Path, target: Path) -> None:
    """Rename a file or a directory; a file at `target` is replaced. Raises OSError.

    Windows cannot rename or replace an open file. A virus scanner or a viewer may hold it open for
    a moment, so this tries for about a second.
    """
    for delay in _RENAME_DELAYS if ON_WINDOWS else ():
        try:
            source.replace(target)
            return
        except PermissionError:
            time.sleep(delay)
    source.replace(target)


def flush_directory(directory: Path) -> None:
    """Flush a directory, so that renames in it survive a power cut. Raises OSError.

    Does nothing where the system cannot flush directories.
    """
    if ON_WINDOWS:  # it cannot open directories; NTFS journals renames
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _FLUSH_UNSUPPORTED:  # some network file systems flush files only
            raise
    finally:
        os.close(descriptor)


def file_name(text: str) -> str:
    """Turn any text into a valid name of a file or directory on every system.

    Letters, marks and digits of every script are kept; other characters become hyphens. The result
    has at most `MAX_NAME_BYTES` bytes of UTF-8 and is never a reserved Windows name (NUL, COM1,
    ...).
    """
    composed = unicodedata.normalize("NFC", text)
    kept = "".join(
        c if c.isalnum() or c in "_.+-" or unicodedata.category(c)[0] == "M" else " "
        for c in composed
    )
    name = re.sub(r" +", "-", kept).encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip(".-")
    if _RESERVED.match(unicodedata.normalize("NFKC", name)):  # NFKC: COM¹ is reserved, too
        name = f"_{name}"
    return name or "unnamed"


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Read `size` bytes at `offset`, fewer at the end of the file. Raises OSError.

    Threads may share the descriptor if all of them read it only through this function.
    """
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    with _seek_lock:
        before = os.lseek(descriptor, 0, os.SEEK_CUR)  # Python's file buffers rely on it
        try:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, size)
        finally:
            os.lseek(descriptor, before, os.SEEK_SET)


def is_no_space(error: OSError) -> bool:
    """Return whether the disk is full or the user's quota is used up."""
    return error.errno in _NO_SPACE


def _partial_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{os.getpid()}")
