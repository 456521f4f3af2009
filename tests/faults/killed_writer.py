"""Kills the checkpoint writer at every step, in processes of its own: see `test_killed_writer.py`.

    python -m faults.killed_writer PLACE

A step is whatever the writer asks of the file system: Python's audit events for opening to write,
making, renaming and removing, and `fsync`; and the moment at which a file is half written. For
each, PLACE/K is a copy of PLACE/before whose writer was killed at step K. Prints their names.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import torch

from catgan.runs import checkpoint
from catgan.runs.checkpoint import PARTS, CheckpointStore, MetricState, Score

EVENTS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
WINDOW = MetricState([0.5, 1 / 3], 3)


def save(store: CheckpointStore, images: int, score: float | None = None, keep: int = 1) -> None:
    """A small checkpoint that is known by its images."""
    value = float(images)
    tensors = {part: {"weight": torch.tensor([value] * 50)} for part in PARTS}
    rated = None if score is None else Score(score, {})
    store.save(images, {"seen": images}, WINDOW, tensors, keep=keep, score=rated)


class Steps:
    """Counts the steps once `armed`, and kills this process at one."""

    def __init__(self, fatal: int, names: int) -> None:
        self.fatal, self.names, self.count, self.armed = fatal, names, 0, False

    def step(self, name: str) -> None:
        if not self.armed:
            return
        if self.count == self.fatal:
            os.write(self.names, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    def audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS:
            self.step(f"{event} {_short(arguments[0])}")
        elif event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax":
            self.step(f"open {_short(arguments[0])}")


def _short(path: object) -> str:
    return "/".join(Path(os.fsdecode(path)).parts[-2:]).replace(f"-{os.getpid()}", "-PID")


def child(directory: Path, fatal: int, names: int) -> None:
    """Save, killed at step `fatal`; returns when there are fewer."""
    steps = Steps(fatal, names)
    real_fsync, real_write = os.fsync, checkpoint.write_and_flush

    def fsync(descriptor: int) -> None:
        steps.step("fsync")
        real_fsync(descriptor)

    def write_and_flush(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        steps.step(f"half of {path.name}")
        real_write(path, data)

    os.fsync, checkpoint.write_and_flush = fsync, write_and_flush
    sys.addaudithook(steps.audit)
    steps.armed = True
    save(CheckpointStore(directory), 30, score=1.0)


def main(place: Path) -> None:
    names: list[str] = []
    while True:
        directory = place / str(len(names))
        shutil.copytree(place / "before", directory)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            child(directory, len(names), writer)
            os._exit(0)
        os.close(writer)
        _, status = os.waitpid(pid, 0)
        name = os.read(reader, 4096).decode()
        os.close(reader)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise RuntimeError("the writer failed")
            break
        names.append(name)
    print(json.dumps(names))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
