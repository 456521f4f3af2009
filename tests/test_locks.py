"""`ProcessLock` on file systems with and without locks."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from catgan import locks
from catgan.locks import ProcessLock

HOLD = """
import errno, sys
from pathlib import Path
from catgan import locks

def no_locks(*_, **__):
    raise OSError(errno.ENOLCK, "No locks available")

if sys.argv[2] == "without":
    locks.lock_descriptor = no_locks
lock = locks.ProcessLock(Path(sys.argv[1]))
assert lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""

# Each process creates and removes a file while it holds the lock; creation fails if it exists.
TAKE_TURNS = """
import os, sys, time
from pathlib import Path
from catgan.locks import ProcessLock

folder, turns = Path(sys.argv[1]), 0
while turns < 30:
    lock = ProcessLock(folder / "lock")
    if lock.acquire():
        os.close(os.open(folder / "mine", os.O_CREAT | os.O_EXCL))
        time.sleep(0.0005)
        (folder / "mine").unlink()
        lock.release(remove=True)
        turns += 1
"""


def no_locks(monkeypatch, number=errno.ENOLCK):
    def lock_descriptor(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks, "lock_descriptor", lock_descriptor)


@pytest.fixture(params=["with", "without"])
def kernel(request, monkeypatch):
    if request.param == "without":
        no_locks(monkeypatch)
    return request.param


@pytest.fixture
def holder(tmp_path, kernel):
    """A second process that holds the lock until its stdin is closed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "lock"), kernel]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("end", ["killed", "ended"])
def test_lock_is_free_once_its_holder_has_ended(tmp_path, holder, end):
    lock = ProcessLock(tmp_path / "lock")
    assert not lock.acquire()
    assert not lock.held
    if end == "killed":
        holder.kill()
    else:
        holder.stdin.close()
    holder.wait()
    assert lock.acquire()
    assert lock.held
    lock.release(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_lock_excludes_other_objects_of_the_same_process(tmp_path, kernel):
    first, second = (ProcessLock(tmp_path / "lock") for _ in range(2))
    assert first.acquire()
    assert not second.acquire()
    second.release(remove=True)  # has no effect: it does not hold the lock
    assert not second.acquire()
    first.release()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert second.acquire()
    del second
    assert first.acquire()


@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL], ids=errno.errorcode.get
)
def test_marker_replaces_the_lock_on_a_file_system_without_locks(tmp_path, monkeypatch, number):
    no_locks(monkeypatch, number)
    lock = ProcessLock(tmp_path / "lock")
    assert lock.acquire()
    assert lock.marker.exists()
    lock.release()
    assert not lock.marker.exists()


def test_other_os_errors_are_raised(tmp_path, monkeypatch):
    no_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        ProcessLock(tmp_path / "lock").acquire()
    with pytest.raises(FileNotFoundError):
        ProcessLock(tmp_path / "nowhere" / "lock").acquire()


@pytest.mark.parametrize(
    ("line", "text", "free"),
    [
        (0, "4194305", True),  # no process has this ID
        (1, "another-machine", False),
        (2, "1", True),  # the ID was reused, or the machine was restarted
    ],
)
def test_marker_of_a_dead_process_is_ignored_but_not_that_of_another_machine(
    tmp_path, monkeypatch, line, text, free
):
    no_locks(monkeypatch)
    before = ProcessLock(tmp_path / "lock")
    assert before.acquire()
    lines = before.marker.read_text().splitlines()
    before.release()
    if line == 2 and len(lines) < 3:
        pytest.skip("this system does not report when a process started")
    lines[line] = text
    before.marker.write_text("\n".join(lines) + "\n")
    assert ProcessLock(tmp_path / "lock").acquire() == free


@pytest.mark.parametrize("kept", [None, ".nfs0001"], ids=["removed", "renamed as on NFS"])
def test_lock_on_a_file_removed_meanwhile_is_retried(tmp_path, monkeypatch, kept):
    first, second, third = (ProcessLock(tmp_path / "lock") for _ in range(3))
    assert first.acquire()
    real = locks.lock_descriptor

    def lock_late(descriptor, *, blocking):
        monkeypatch.undo()
        if kept:  # NFS keeps an open file under another name, which counts as a link
            os.link(tmp_path / "lock", tmp_path / kept)
        first.release(remove=True)
        return real(descriptor, blocking=blocking)

    monkeypatch.setattr(locks, "lock_descriptor", lock_late)
    assert second.acquire()
    assert not third.acquire()  # it would succeed if `second` had locked the removed file


def test_file_is_closed_before_it_is_removed_on_windows(tmp_path, monkeypatch, kernel):
    monkeypatch.setattr(locks, "ON_WINDOWS", True)
    lock = ProcessLock(tmp_path / "lock")
    assert lock.acquire()
    removed, unlink = [], type(tmp_path).unlink

    def closed_first(path, **options):
        if path == lock.path:
            assert not lock.held
            removed.append(path)
        unlink(path, **options)

    monkeypatch.setattr(type(tmp_path), "unlink", closed_first)
    lock.release(remove=True)
    assert removed == [lock.path]
    assert list(tmp_path.iterdir()) == []


def test_processes_that_remove_the_lock_file_exclude_each_other(tmp_path):
    command = [sys.executable, "-c", TAKE_TURNS, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []
