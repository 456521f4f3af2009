"""Files that are there completely or not at all, also after a power cut, on every system."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from pathlib import Path

ON_WINDOWS = os.name == "nt"
_PAUSES = (0.01, 0.03, 0.1, 0.3, 0.6)  # s, between the attempts to rename what another program uses
_NO_FLUSH = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(?=\.|$)", re.IGNORECASE)

_seeking = threading.Lock()


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: written beside, flushed to the disk, renamed. Raises OSError."""
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
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    partial = _beside(path)
    partial.touch()
    partial.unlink()


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


def portable_name(name: str) -> str:
    """`name`, or where Windows reserves it (CON, nul.txt), one like it that can be a file's."""
    return _RESERVED.sub(r"\1_", name, count=1) if _RESERVED.match(name) else name


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial-{os.getpid()}")
