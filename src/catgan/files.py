"""Files that are there completely or not at all, also after a power cut, on every system."""

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
MAX_NAME_BYTES = 120  # in UTF-8: file systems take 255, and numbers and endings are added to it
_PAUSES = (0.01, 0.03, 0.1, 0.3, 0.6)  # s, between the attempts to rename what another program uses
_NO_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)", re.IGNORECASE)

_seeking = threading.Lock()


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
    """Replace `path` by `data`: written beside, flushed to the disk, renamed. Raises OSError."""
    require_replaceable(path)
    partial = _beside(path)
    try:
        write_and_flush(partial, data)
        rename(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush_directory(path.parent)


def try_writing(path: Path) -> None:
    """Pass if `write_durably` can put a file at `path`; nothing is left behind. Raises OSError.

    It is tried, as permissions do not tell it: those of a superuser, of a mount or of /proc allow
    what fails, and a name can be too long.
    """
    require_replaceable(path)
    partial = _beside(path)
    partial.touch()
    partial.unlink()


def require_replaceable(path: Path) -> None:
    """Pass if `path` is free or a file. Raises OSError.

    What is renamed to the name of a device or a pipe takes its place, and /dev/null is missed.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is a device or a pipe, no file")


def make_directory(path: Path) -> None:
    """Make a directory and those above it, where they are missing. Raises OSError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError:  # which "File exists" would not explain
        raise NotADirectoryError(errno.ENOTDIR, f"{path} is no folder") from None


def write_and_flush(path: Path, data: bytes) -> None:
    """Write a file that nobody reads yet, down to the disk. Raises OSError."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def rename(source: Path, target: Path) -> None:
    """Rename a file or a directory; a file at `target` is replaced. Raises OSError.

    Windows renames and replaces nothing that is open, be it in a virus scanner or a viewer: such a
    program is given a second to close it.
    """
    for pause in _PAUSES if ON_WINDOWS else ():
        try:
            source.replace(target)
            return
        except PermissionError:
            time.sleep(pause)
    source.replace(target)


def flush_directory(directory: Path) -> None:
    """Make renames in a directory last, where the system can. Raises OSError."""
    if ON_WINDOWS:  # which opens no directory, and keeps a journal of renames
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FLUSH:  # some network file systems flush files only
            raise
    finally:
        os.close(descriptor)


def file_name(text: str) -> str:
    """`text` as the name of one file or directory on any system, whatever it holds.

    Letters, marks and digits of every script stay; the rest becomes hyphens. At most
    `MAX_NAME_BYTES` bytes of UTF-8; no name that Windows keeps for a device (NUL, COM1, ...).
    """
    composed = unicodedata.normalize("NFC", text)
    kept = "".join(
        c if c.isalnum() or c in "_.+-" or unicodedata.category(c)[0] == "M" else " "
        for c in composed
    )
    name = re.sub(r" +", "-", kept).encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip(".-")
    if _RESERVED.match(unicodedata.normalize("NFKC", name)):  # COM and a superscript 1, too
        name = f"_{name}"
    return name or "unnamed"


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Read `size` bytes at `offset`, fewer at the end of the file. Raises OSError.

    Threads may share the descriptor, if they read it by this alone.
    """
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    with _seeking:
        before = os.lseek(descriptor, 0, os.SEEK_CUR)  # on which Python's buffers rely
        try:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, size)
        finally:
            os.lseek(descriptor, before, os.SEEK_SET)


def is_no_space(error: OSError) -> bool:
    """Whether the disk, or the user's share of it, is full."""
    return error.errno in _NO_SPACE


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{os.getpid()}")
