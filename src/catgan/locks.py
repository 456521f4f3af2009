"""File locks between processes; a lock dies with the process that holds it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from filelock import SoftFileLock, Timeout, lock_descriptor

from catgan.files import ON_WINDOWS

# Errors of systems whose file system does not support locks.
_LOCKS_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
_MARKER_TIMEOUT = 0.5  # s; taking over the marker of a dead process can need several attempts
_MAX_ATTEMPTS = 100  # to lock a file that other processes keep removing


class ProcessLock:
    """An exclusive lock between processes on the file `path`.

    The kernel releases the lock however its holder ends, SIGKILL and power cuts included. Where the
    file system does not support locks, or Python cannot use them, `marker` replaces the lock: a
    file beside `path` that names the holder. If that process ran on this machine and has ended, the
    marker is ignored, even if its process ID has been reused. A process on another machine cannot
    be checked and counts as alive.

    The lock is held until `release` is called or the object is deleted. Nothing is written to
    `path`, because on Windows other processes could not read it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.marker = path, path.with_name(f"{path.name}.held")
        self._file: BinaryIO | None = None
        self._soft: SoftFileLock | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None or self._soft is not None

    def acquire(self) -> bool:
        """Try to take the lock, and return whether it is held; never waits for another holder.

        False means that another process, or another object in this process, holds it.

        Raises OSError when the files cannot be written.
        """
        for _ in range(_MAX_ATTEMPTS):
            file = self.path.open("ab")
            try:
                if not lock_descriptor(file.fileno(), blocking=False):
                    file.close()
                    return False
                if self._is_in_place(file):
                    self._file = file
                    return True
                file.close()  # its holder removed it meanwhile, so locking it excludes nobody
            except BaseException as error:
                file.close()
                if isinstance(error, OSError) and error.errno in _LOCKS_UNSUPPORTED:
                    return self._acquire_marker()
                raise
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self.path))

    def _is_in_place(self, file: BinaryIO) -> bool:
        """Return whether `path` still is the opened `file`, and was not removed or replaced.

        NFS keeps a removed file under another name while it is open.
        """
        if ON_WINDOWS:  # it cannot remove an open file
            return True
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _acquire_marker(self) -> bool:
        soft = SoftFileLock(self.marker, thread_local=False)
        try:
            soft.acquire(timeout=_MARKER_TIMEOUT)
        except Timeout:
            return False
        self._soft = soft
        return True

    def release(self, *, remove: bool = False) -> None:
        """Release the lock if this object holds it; with `remove`, delete `path` as well.

        Do not remove a file that processes on several machines lock: it is safe only if all of them
        see at once that it is gone.
        """
        if not self.held:
            return
        remove_locked = remove and self._file is not None and not ON_WINDOWS
        if remove_locked:  # before the release: afterwards it may be another process's lock
            self._remove()
        if self._file is not None:
            self._file.close()
        if self._soft is not None:
            self._soft.release()
        self._file = self._soft = None
        if remove and not remove_locked:  # Windows cannot remove a file that anybody has open
            self._remove()

    def _remove(self) -> None:
        with suppress(OSError):
            self.path.unlink()
