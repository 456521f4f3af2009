"""The injected faults: what is done to a run, what the command ends with, what it says.

Used by `test_faults.py`, which checks each of them, and by `torture.py`, which prints the table
that stands in docs/research/reliability-tests.md.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from faults.scene import Scene

from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.training import loop, losses

Inflict = Callable[[Scene], AbstractContextManager[object]]


class CannotInflictError(Exception):
    """This machine does not let us: mounting needs root."""


@dataclass(frozen=True)
class Fault:
    """What is done, while `inflict` lasts; then the run is resumed with `words` to the end.

    The command must end with `code` and say `says`. Once the fault is over, the run must resume
    and end as the straight one, unless it is not `mendable`.
    """

    name: str
    inflict: Inflict
    code: int
    says: str
    words: tuple[str, ...] = ()
    mendable: bool = True


# -- the disk --------------------------------------------------------------------------------------


@contextmanager
def largest_file(scene: Scene) -> Iterator[None]:
    """No file may be longer than this; the checkpoint's are, all others are not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(scene: Scene, *, room: int = 48, read_only: bool = False) -> Iterator[None]:
    """The run lies on a file system of its own that has `room` KiB left, or is read-only."""
    aside = scene.run.with_name("aside")
    scene.run.rename(aside)
    scene.run.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(scene.run)]
    if (
        sys.platform != "linux"
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        scene.run.rmdir()
        aside.rename(scene.run)
        raise CannotInflictError("mounting a small file system needs Linux and root")
    try:
        shutil.copytree(aside, scene.run, dirs_exist_ok=True)
        free = shutil.disk_usage(scene.run).free - room * 1024
        (scene.run / "filler").write_bytes(b"\1" * free)
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", str(scene.run)], check=True)
        yield
        if read_only:
            subprocess.run(["mount", "-o", "remount,rw", str(scene.run)], check=True)
        (scene.run / "filler").unlink()
        shutil.rmtree(aside)
        shutil.copytree(scene.run, aside)  # as it was left
    finally:
        subprocess.run(["umount", str(scene.run)], check=True)
        scene.run.rmdir()
        aside.rename(scene.run)


def read_only_disk(scene: Scene) -> AbstractContextManager[None]:
    """The run lies on a file system that is mounted read-only."""
    return small_disk(scene, read_only=True)


def no_room_for(name: str, *, at: str = "write") -> Inflict:
    """The disk is full when a file called like this is written, or when it is flushed."""

    @contextmanager
    def inflict(scene: Scene) -> Iterator[None]:
        real_open, real_fsync, marked = Path.open, os.fsync, set()

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def opening(path: Path, mode: str = "r", *rest: object, **options: object) -> io.IOBase:
            file = real_open(path, mode, *rest, **options)
            if name in path.name and mode[0] in "wax" and scene.run in path.parents:
                if at == "write":
                    file.write = full
                else:
                    marked.add(file.fileno())
            return file

        def flushing(descriptor: int) -> None:
            if descriptor in marked:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real_fsync(descriptor)

        with mock.patch.object(Path, "open", opening), mock.patch.object(os, "fsync", flushing):
            yield

    return inflict


# -- damage ----------------------------------------------------------------------------------------


def damaged(name: str, how: str) -> Inflict:
    """A file of the newest checkpoint is cut short, has one bit flipped, or is gone."""

    @contextmanager
    def inflict(scene: Scene) -> Iterator[None]:
        path = scene.newest / name
        data = bytearray(path.read_bytes())
        if how == "gone":
            path.unlink()
        elif how == "cut short":
            path.write_bytes(data[: len(data) // 2])
        else:
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        yield

    return inflict


@contextmanager
def all_damaged(scene: Scene) -> Iterator[None]:
    """No checkpoint is sound."""
    for path in (scene.run / "checkpoints").glob("0*"):
        (path / "ema.safetensors").write_bytes(b"")
    yield


def latest_says(text: str) -> Inflict:
    """The pointer `latest` holds something else."""

    @contextmanager
    def inflict(scene: Scene) -> Iterator[None]:
        (scene.run / "checkpoints" / "latest").write_text(text)
        yield

    return inflict


@contextmanager
def torn_log(scene: Scene) -> Iterator[None]:
    """The last row of the log was written half."""
    with (scene.run / "log.jsonl").open("a") as file:
        file.write('{"images": 40, "discriminator_lo')
    yield


# -- other processes and the clock -----------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from catgan.runs.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


@contextmanager
def lock_holder(run: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the run's lock; killed at the end."""
    words = [sys.executable, "-c", HOLDER, str(run)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            if process.stdout.readline() != "held\n":
                raise RuntimeError("the other process did not get the lock")
            yield process
        finally:
            process.kill()


def second_run(scene: Scene) -> AbstractContextManager[object]:
    """Another process trains in this directory."""
    return lock_holder(scene.run)


@contextmanager
def killed_holder(scene: Scene) -> Iterator[None]:
    """Another process was killed here, and its name still stands in the lock."""
    with lock_holder(scene.run):
        pass
    assert json.loads((scene.run / ".lock.json").read_text())["pid"]
    yield


@contextmanager
def clock_backwards(scene: Scene) -> Iterator[None]:
    """Each look at the clock shows an hour less than the last."""
    calls, real = iter(range(10**9)), time.time
    with mock.patch.object(time, "time", side_effect=lambda: real() - 3600 * next(calls)):
        yield


def signals_in_the_save(number: int, count: int) -> Inflict:
    """Signals arrive while the first file of a checkpoint is flushed."""

    @contextmanager
    def inflict(scene: Scene) -> Iterator[None]:
        real, sent = os.fsync, []

        def flushing(descriptor: int) -> None:
            real(descriptor)
            partial = list((scene.run / "checkpoints").glob(".partial-*/generator.safetensors"))
            if partial and not sent:
                sent.append(number)
                for _ in range(count):
                    os.kill(os.getpid(), number)

        with mock.patch.object(os, "fsync", flushing):
            yield
        assert sent

    return inflict


# -- data and configuration ------------------------------------------------------------------------


@contextmanager
def one_pixel(scene: Scene) -> Iterator[None]:
    """One bit of one pixel changes, and nothing tells of it: not the size, not the time."""
    path = scene.data / "images.npy"
    before, stat = path.read_bytes(), path.stat()
    data = bytearray(before)
    data[-1000] ^= 1
    for content in (bytes(data), before):
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if content != before:
            yield


@contextmanager
def other_data(scene: Scene) -> Iterator[None]:
    """The dataset was prepared again with fewer images."""
    aside = scene.data.rename(scene.data.with_name("aside"))
    write_procedural_cats(scene.data, 50, 32)
    yield
    shutil.rmtree(scene.data)
    aside.rename(scene.data)


@contextmanager
def other_split(scene: Scene) -> Iterator[None]:
    """The same pixels, but the holdout is trained on."""
    path = scene.data / "dataset.json"
    before = path.read_text()
    path.write_text(before.replace('"holdout"', '"train"'))
    yield
    path.write_text(before)


@contextmanager
def edited_configuration(scene: Scene) -> Iterator[None]:
    """Someone edited config.toml."""
    path = scene.run / "config.toml"
    before = path.read_text()
    path.write_text(
        before.replace("beta1 = 0.5", "beta1 = 0.9").replace("flip = true", "flip = false")
    )
    yield
    path.write_text(before)


@contextmanager
def nothing(scene: Scene) -> Iterator[None]:
    """Nothing: the words of the command are the fault."""
    yield


# -- divergence ------------------------------------------------------------------------------------


def poisoned(value: float, *, batches: int) -> Inflict:
    """An image of the batch holds such a pixel, in so many batches (real images come first)."""

    @contextmanager
    def inflict(scene: Scene) -> Iterator[None]:
        real, calls = loop.augment, iter(range(10**9))

        def augment(pictures, *rest):  # type: ignore[no-untyped-def]
            call, pictures = next(calls), real(pictures, *rest)  # which would clamp the pixel
            if call % 2 == 0 and call // 2 < batches:
                pictures = pictures.clone()
                pictures[0, 0, 5, 5] = value
            return pictures

        with mock.patch.object(loop, "augment", augment):
            yield

    return inflict


@contextmanager
def poisoned_loss(scene: Scene) -> Iterator[None]:
    """The generator's loss of one step is NaN."""
    real, calls = losses.generator_loss, iter(range(10**9))

    def generator_loss(*words):  # type: ignore[no-untyped-def]
        return real(*words) * (math.nan if next(calls) == 1 else 1.0)

    with mock.patch.object(losses, "generator_loss", generator_loss):
        yield


@contextmanager
def poisoned_weight(scene: Scene) -> Iterator[None]:
    """One weight of the generator becomes infinite after the last step before a checkpoint."""
    real, calls = loop.update_ema, iter(range(10**9))

    def update_ema(average, model, decay):  # type: ignore[no-untyped-def]
        if next(calls) == 1:
            weights = next(model.parameters()).data
            weights[(0,) * weights.dim()] = math.inf
        real(average, model, decay)

    with mock.patch.object(loop, "update_ema", update_ema):
        yield


FULL, REFUSED = "No space left on device", "must keep"
PARTS = ("generator", "ema", "discriminator", "optimizer")

FAULTS = [
    Fault("files may not grow (RLIMIT_FSIZE)", largest_file, 2, "File too large"),
    Fault("full disk (small tmpfs)", small_disk, 2, FULL),
    Fault("read-only disk", read_only_disk, 2, "Read-only file system"),
    *(
        Fault(f"no room for {what}", no_room_for(name), 2, FULL)
        for what, name in (
            ("the lock", ".lock"),
            ("the configuration", "config.toml"),
            ("a row of the log", "log.jsonl"),
            ("a sample grid", ".png"),
            ("a network of the checkpoint", "discriminator.safetensors"),
            ("the checkpoint's manifest", "manifest.json"),
            ("the pointer `latest`", "latest"),
            ("the report", "report.html"),
        )
    ),
    Fault(
        "the disk fails as a row is flushed", no_room_for("log.jsonl", at="flush"), 2, "output err"
    ),
    Fault(
        "the disk fails as a network is flushed", no_room_for("ema.", at="flush"), 2, "output err"
    ),
    *(
        Fault(
            f"`{part}` of the newest checkpoint {how}", damaged(f"{part}.safetensors", how), 0, says
        )
        for part, how, says in (
            ("generator", "cut short", "generator.safetensors does not have the checksum"),
            ("ema", "with one bit flipped", "ema.safetensors does not have the checksum"),
            ("discriminator", "gone", "discriminator: No such file"),
            (
                "optimizer",
                "with one bit flipped",
                "optimizer.safetensors does not have the checksum",
            ),
        )
    ),
    Fault(
        "the manifest cut short", damaged("manifest.json", "cut short"), 0, "manifest.json is dam"
    ),
    Fault(
        "the manifest with one bit flipped", damaged("manifest.json", "flipped"), 0, "manifest.json"
    ),
    Fault("every checkpoint damaged", all_damaged, 2, "no valid checkpoint", mendable=False),
    Fault("`latest` points nowhere", latest_says("000000099"), 0, "'latest' names no checkpoint"),
    Fault("`latest` is empty", latest_says(""), 0, "'latest' names no checkpoint"),
    Fault(
        "`latest` leads out of the run", latest_says("../../.."), 0, "'latest' names no checkpoint"
    ),
    Fault("half a row at the end of the log", torn_log, 0, "finished"),
    Fault("two runs in one directory", second_run, 2, "is being trained by process"),
    Fault("a lock whose holder was killed", killed_holder, 0, "finished"),
    Fault("the clock goes backwards", clock_backwards, 0, "finished"),
    Fault(
        "SIGTERM during the save", signals_in_the_save(signal.SIGTERM, 1), 143, "stopped after 48"
    ),
    Fault("SIGTERM twice during the save", signals_in_the_save(signal.SIGTERM, 2), 130, ""),
    Fault("one bit of one pixel changed", one_pixel, 2, "has changed on disk"),
    Fault("the dataset has fewer images", other_data, 2, "differs in its images"),
    Fault("the dataset is split otherwise", other_split, 2, "differs in its split"),
    Fault(
        "another batch size and seed",
        nothing,
        2,
        REFUSED,
        ("--set", "training.batch_size=4", "--set", "training.seed=1"),
    ),
    Fault("config.toml edited", edited_configuration, 2, REFUSED),
    Fault("NaN in every batch", poisoned(math.nan, batches=10**9), 3, "diverged before 40 images"),
    Fault(
        "one poisoned batch (a pixel of 1e30)",
        poisoned(1e30, batches=1),
        3,
        "diverged before 48 images: weights",
    ),
    Fault("the loss of one step is NaN", poisoned_loss, 3, "diverged before 48 images"),
    Fault("one weight becomes infinite", poisoned_weight, 3, "diverged before 48 images: weights"),
]
