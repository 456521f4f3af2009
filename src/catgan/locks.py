"""One process at a time: a lock on a path, which a process that has died does not hold."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from filelock import SoftFileLock, Timeout, lock_descriptor

from catgan.files import ON_WINDOWS

# What systems answer where a file system has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
_TAKEOVER = 0.5  # s: a dead process's marker is taken over in one try, or in a few
_ATTEMPTS = 100  # of locking a file that others remove


class ProcessLock:
    """The right to do what one process at a time may do, by a lock on the file `path`.

    The kernel gives the lock back however its holder ends, SIGKILL and power cuts included. Where
    the file system has no locks, or Python cannot ask for them, `marker` decides: a file beside
    `path` that names the holder. A holder of this machine that is gone, its process number given
    to another or not, holds nothing; one of another machine cannot be looked for, and is believed.

    A lock is held until `release`, or as long as its object lives. Nothing is written to `path`:
    on Windows others could not read it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.marker = path, path.with_name(f"{path.name}.held")
        self._file: BinaryIO | None = None
        self._soft: SoftFileLock | None = None

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._file is not None or self._soft is not None

    def acquire(self) -> bool:
        """Take the lock; False while another process, or another object of this one, has it.

        Raises OSError when the files cannot be written.
        """
        for _ in range(_ATTEMPTS):
            file = self.path.open("ab")
            try:
                if not lock_descriptor(file.fileno(), blocking=False):
                    file.close()
                    return False
                if self._is_in_place(file):
                    self._file = file
                    return True
                file.close()  # who had it has removed it: it locks out nobody
            except BaseException as error:
                file.close()
                if isinstance(error, OSError) and error.errno in _NO_LOCKS:
                    return self._acquire_marker()
                raise
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self.path))

    def _is_in_place(self, file: BinaryIO) -> bool:
        """Whether `path` still is `file`. NFS only renames what is removed while it is open."""
        if ON_WINDOWS:  # which removes no file that is open
            return True
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _acquire_marker(self) -> bool:
        soft = SoftFileLock(self.marker, thread_local=False)
        try:
            soft.acquire(timeout=_TAKEOVER)
        except Timeout:
            return False
        self._soft = soft
        return True

    def release(self, *, remove: bool = False) -> None:
        """Give the lock back, if this object has it; with `remove`, `path` goes too.

        A file that processes of several machines lock should stay: removing it is safe only where
        all of them see that it is gone.
        """
        if not self.held:
            return
        early = remove and self._file is not None and not ON_WINDOWS
        if early:  # while it is locked, so that nobody else's is removed
            self._remove()
        if self._file is not None:
            self._file.close()
        if self._soft is not None:
            self._soft.release()
        self._file = self._soft = None
        if remove and not early:  # Windows removes no file that is open, here or elsewhere
            self._remove()

    def _remove(self) -> None:
        with suppress(OSError):
            self.path.unlink()
