"""One holder at a time, on file systems with locks and without, and no files left."""

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

# Each makes a file that must not be there yet, and takes it away again, while it has the lock.
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
    """Another process that holds the lock until its stdin is closed."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "lock"), kernel]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.parametrize("end", ["killed", "ended"])
def test_a_living_holder_keeps_it_and_a_dead_one_does_not(tmp_path, holder, end):
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


def test_one_object_of_a_process_at_a_time(tmp_path, kernel):
    first, second = (ProcessLock(tmp_path / "lock") for _ in range(2))
    assert first.acquire()
    assert not second.acquire()
    second.release(remove=True)  # what it does not have
    assert not second.acquire()
    first.release()
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]
    assert second.acquire()
    del second
    assert first.acquire()


@pytest.mark.parametrize(
    "number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL], ids=errno.errorcode.get
)
def test_a_file_system_without_locks_is_no_error(tmp_path, monkeypatch, number):
    no_locks(monkeypatch, number)
    lock = ProcessLock(tmp_path / "lock")
    assert lock.acquire()
    assert lock.marker.exists()
    lock.release()
    assert not lock.marker.exists()


def test_what_the_disk_says_is_passed_on(tmp_path, monkeypatch):
    no_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        ProcessLock(tmp_path / "lock").acquire()
    with pytest.raises(FileNotFoundError):
        ProcessLock(tmp_path / "nowhere" / "lock").acquire()


@pytest.mark.parametrize(
    ("line", "text", "free"),
    [
        (0, "4194305", True),  # no process has this number
        (1, "another-machine", False),
        (2, "1", True),  # the number was given to another process, or the machine started again
    ],
)
def test_without_locks_the_dead_hold_nothing_and_strangers_are_believed(
    tmp_path, monkeypatch, line, text, free
):
    no_locks(monkeypatch)
    before = ProcessLock(tmp_path / "lock")
    assert before.acquire()
    lines = before.marker.read_text().splitlines()
    before.release()
    if line == 2 and len(lines) < 3:
        pytest.skip("this system does not tell when a process began")
    lines[line] = text
    before.marker.write_text("\n".join(lines) + "\n")
    assert ProcessLock(tmp_path / "lock").acquire() == free


@pytest.mark.parametrize("kept", [None, ".nfs0001"], ids=["removed", "renamed as on NFS"])
def test_a_file_removed_while_another_opens_it_locks_out_nobody(tmp_path, monkeypatch, kept):
    first, second, third = (ProcessLock(tmp_path / "lock") for _ in range(3))
    assert first.acquire()
    real = locks.lock_descriptor

    def lock_late(descriptor, *, blocking):
        monkeypatch.undo()
        if kept:  # NFS keeps what is open, by another name, and counts that as a link
            os.link(tmp_path / "lock", tmp_path / kept)
        first.release(remove=True)
        return real(descriptor, blocking=blocking)

    monkeypatch.setattr(locks, "lock_descriptor", lock_late)
    assert second.acquire()
    assert not third.acquire()  # of a lock on the removed file nobody else would know


def test_where_an_open_file_cannot_be_removed_it_is_closed_before(tmp_path, monkeypatch, kernel):
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


def test_processes_that_remove_the_file_take_turns(tmp_path):
    words = [sys.executable, "-c", TAKE_TURNS, str(tmp_path)]
    processes = [subprocess.Popen(words) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []
