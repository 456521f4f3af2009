"""One writer a run: a kernel lock on `.lock` in its directory, and in the file who holds it.

The kernel gives the lock back however a process ends, SIGKILL and power cuts among it, so a lock
that nobody holds any more hinders nobody. Where a file system has no locks, the holder's record
decides: a holder of this machine that is gone (its number may be another process's by now) holds
nothing; one of another machine cannot be looked for, and is believed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import IO, Any

import psutil

from catgan.errors import CatganError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # says a file system


class RunLock:
    """The right to write into the directory of one run."""

    def __init__(self, run: Path) -> None:
        self.run, self.path = run, run / ".lock"
        self.file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock, unless this object has it; `CatganError` while another process does.

        It is held until `release`, or as long as this object or its process lives.
        """
        if self.file is not None:
            return
        try:
            file = self.path.open("a+", encoding="utf-8")
        except OSError as error:
            raise self._cannot_write(error) from None
        try:
            self._take(file)
        except BaseException:
            file.close()
            raise
        self.file = file

    def release(self) -> None:
        """Give the lock back, if this object has it."""
        if self.file is not None:
            file, self.file = self.file, None
            with file:
                file.truncate(0)

    def _take(self, file: IO[str]) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._held(_record(file)) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise self._cannot_write(error) from None
            record = _record(file)
            if _may_live(record):
                raise self._held(record) from None
        mine = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            "process": _process_identity(os.getpid()),
        }
        try:
            file.truncate(0)
            file.write(json.dumps(mine) + "\n")
            file.flush()
        except OSError as error:
            raise self._cannot_write(error) from None

    def _held(self, record: dict[str, Any]) -> CatganError:
        pid, host = record.get("pid"), record.get("host")
        if pid is None:
            who, stop = "another process", "stop it"
        elif host == socket.gethostname():
            who, stop = f"process {pid} since {record.get('since')}", f"stop it (kill {pid})"
        else:
            who = f"process {pid} on {host} since {record.get('since')}"
            stop = f"stop it there, or delete {self.path} if it is long gone"
        return CatganError(
            f"{self.run} is being trained by {who}: wait for it, {stop}, or take another place "
            "with --out"
        )

    def _cannot_write(self, error: OSError) -> CatganError:
        return CatganError(
            f"{self.path}: cannot be written ({error.strerror or error}): make room and see that "
            "the directory is yours to write, or take another place with --out"
        )


def _record(file: IO[str]) -> dict[str, Any]:
    """Who wrote that they hold the lock; empty when nobody did, or it is torn."""
    file.seek(0)
    try:
        record = json.loads(file.read(4096))
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _may_live(record: dict[str, Any]) -> bool:
    """Whether the process of a record may still be there."""
    if not record:
        return False
    if record.get("host") != socket.gethostname():
        return True
    pid = record.get("pid")
    return type(pid) is int and _process_identity(pid) == record.get("process")


def _process_identity(pid: int) -> str | None:
    """What no other process shares, be it after a reboot or with the same number; None: no such.

    Linux counts a process's start in ticks of its boot, which setting the clock does not change.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{boot} {ticks}"
    except (OSError, IndexError):
        pass
    try:
        return str(psutil.Process(pid).create_time())
    except (psutil.Error, OverflowError):
        return None
