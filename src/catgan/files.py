"""Files that are there completely or not at all, also after a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: written beside, flushed to the disk, renamed. Raises OSError."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        write_and_flush(partial, data)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    flush_directory(path.parent)


def write_and_flush(path: Path, data: bytes) -> None:
    """Write a file that nobody reads yet, down to the disk. Raises OSError."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush_directory(directory: Path) -> None:
    """Make renames in a directory last. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
