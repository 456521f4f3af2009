"""The lock of a run: one writer at a time, and a record of who it is."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from catgan.errors import CatganError
from catgan.files import ON_WINDOWS, write_durably
from catgan.locks import ProcessLock

MAX_RECORD_BYTES = 4096


class RunLock:
    """The exclusive right to write to the directory of one run.

    The lock itself is a `ProcessLock` on `.lock`. `.lock.json` only describes its holder.
    """

    def __init__(self, run: Path) -> None:
        self.run, self.record = run, run / ".lock.json"
        self._lock = ProcessLock(run / ".lock")

    def acquire(self) -> None:
        """Take the lock, unless this object already holds it.

        It is held until `release`, or until this object or its process ends.

        Raises:
            CatganError: another process holds it, or it cannot be written.
        """
        if self._lock.held:
            return
        path = self._lock.path
        try:
            acquired = self._lock.acquire()
            if acquired:
                path = self.record
                self._write_record()
        except OSError as error:
            self._lock.release()
            raise CatganError(
                f"{path}: cannot be written ({error.strerror or error}): free disk space and check "
                "the permissions of the directory, or choose another one with --out"
            ) from None
        if not acquired:
            raise self._held_by_another()

    def release(self) -> None:
        """Release the lock, if this object holds it."""
        if self._lock.held:
            with suppress(OSError):
                self.record.unlink()
            self._lock.release()

    def _write_record(self) -> None:
        record = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        write_durably(self.record, json.dumps(record).encode() + b"\n")

    def _held_by_another(self) -> CatganError:
        record = _read_record(self.record)
        pid, host = record.get("pid"), record.get("host")
        if pid is None:
            who, stop = "another process", "stop it"
        elif host == socket.gethostname():
            who = f"process {pid} since {record.get('since')}"
            stop = f"stop it ({'taskkill /F /PID' if ON_WINDOWS else 'kill'} {pid})"
        else:
            who = f"process {pid} on {host} since {record.get('since')}"
            stop = "stop it there"
        if self._lock.marker.exists():  # without kernel locks, only the user can tell
            stop += f", delete {self._lock.marker} if it has ended"
        return CatganError(
            f"{self.run} is being trained by {who}: wait for it, {stop}, or choose another "
            "directory with --out"
        )


def _read_record(path: Path) -> dict[str, Any]:
    """Return the record of the holder, or {} if it is missing, damaged or not one."""
    try:
        with path.open("rb") as file:
            record = json.loads(file.read(MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    valid = (
        isinstance(record, dict)
        and type(record.get("pid")) is int
        and all(isinstance(record.get(key), str) for key in ("host", "since"))
        and f"{record['host']}{record['since']}".isprintable()
    )
    return record if valid else {}
