"""One writer a run: a lock on `.lock` in its directory, and beside it who holds it."""

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
    """The right to write into the directory of one run.

    `.lock.json` is what others are told of its holder, and decides nothing: see `ProcessLock`.
    """

    def __init__(self, run: Path) -> None:
        self.run, self.record = run, run / ".lock.json"
        self._lock = ProcessLock(run / ".lock")

    def acquire(self) -> None:
        """Take the lock, unless this object has it; `CatganError` while another process does.

        It is held until `release`, or as long as this object or its process lives.
        """
        if self._lock.held:
            return
        path = self._lock.path
        try:
            taken = self._lock.acquire()
            if taken:
                path = self.record
                self._write_record()
        except OSError as error:
            self._lock.release()
            raise CatganError(
                f"{path}: cannot be written ({error.strerror or error}): make room and see that "
                "the directory is yours to write, or take another place with --out"
            ) from None
        if not taken:
            raise self._held()

    def release(self) -> None:
        """Give the lock back, if this object has it."""
        if self._lock.held:
            with suppress(OSError):
                self.record.unlink()
            self._lock.release()

    def _write_record(self) -> None:
        mine = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        }
        write_durably(self.record, json.dumps(mine).encode() + b"\n")

    def _held(self) -> CatganError:
        record = _read(self.record)
        pid, host = record.get("pid"), record.get("host")
        if pid is None:
            who, stop = "another process", "stop it"
        elif host == socket.gethostname():
            who = f"process {pid} since {record.get('since')}"
            stop = f"stop it ({'taskkill /F /PID' if ON_WINDOWS else 'kill'} {pid})"
        else:
            who = f"process {pid} on {host} since {record.get('since')}"
            stop = "stop it there"
        if self._lock.marker.exists():  # nobody else can tell whether it is
            stop += f", delete {self._lock.marker} if it is long gone"
        return CatganError(
            f"{self.run} is being trained by {who}: wait for it, {stop}, or take another place "
            "with --out"
        )


def _read(record: Path) -> dict[str, Any]:
    """Who wrote that they hold the lock; empty when nobody did, or it is torn or not ours."""
    try:
        with record.open("rb") as file:
            found = json.loads(file.read(MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    sound = (
        isinstance(found, dict)
        and type(found.get("pid")) is int
        and all(isinstance(found.get(key), str) for key in ("host", "since"))
        and f"{found['host']}{found['since']}".isprintable()
    )
    return found if sound else {}
