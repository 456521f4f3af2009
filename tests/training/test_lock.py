from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys

import pytest

from catgan.errors import CatganError
from catgan.training import lock as lock_module
from catgan.training.lock import RunLock

HOLD = """
import sys
from pathlib import Path
from catgan.training.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path` until its stdin is closed."""
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def no_kernel_locks(monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)


def test_one_at_a_time_and_the_other_is_named(tmp_path, holder):
    with pytest.raises(CatganError) as error:
        RunLock(tmp_path).acquire()
    text = str(error.value)
    assert error.value.exit_code == 2
    assert "\n" not in text
    for words in (str(tmp_path), f"process {holder.pid} since 20", f"kill {holder.pid}", "--out"):
        assert words in text


@pytest.mark.parametrize("end", ["killed", "ended"])
def test_however_the_holder_ends_the_lock_is_free(tmp_path, holder, end):
    if end == "killed":
        holder.kill()
    else:
        holder.stdin.close()
    holder.wait()
    lock = RunLock(tmp_path)
    lock.acquire()
    assert json.loads(lock.path.read_text())["pid"] == os.getpid()


def test_taken_twice_by_one_object_and_given_back(tmp_path):
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.acquire()
    first.acquire()
    with pytest.raises(CatganError, match=f"process {os.getpid()} "):
        second.acquire()
    first.release()
    assert first.path.read_bytes() == b""
    second.acquire()
    second.release()
    second.release()


def test_without_kernel_locks_a_living_holder_is_believed(tmp_path, holder, monkeypatch):
    no_kernel_locks(monkeypatch)
    with pytest.raises(CatganError, match=f"process {holder.pid} since"):
        RunLock(tmp_path).acquire()
    holder.kill()
    holder.wait()
    RunLock(tmp_path).acquire()


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ({}, False),
        ({"process": "another-boot 1"}, True),  # the machine was started again since
        ({"process": "the same boot, another start"}, True),  # the number was given again
        ({"pid": 2**22 + 1}, True),
        ({"host": "another-machine"}, False),
        ({"pid": "1"}, True),
    ],
)
def test_without_kernel_locks_stale_records_are_recognised(tmp_path, monkeypatch, change, free):
    no_kernel_locks(monkeypatch)
    mine = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": "2026-11-22 09:30:00",
        "process": lock_module._process_identity(os.getpid()),
    }
    lock = RunLock(tmp_path)
    lock.path.write_text(json.dumps(mine | change))
    if free:
        lock.acquire()
    else:
        with pytest.raises(CatganError, match="since 2026-11-22 09:30:00") as error:
            lock.acquire()
        assert ("delete" in str(error.value)) == ("host" in change)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0" * 10, "[" * 10_000])
def test_a_torn_record_hinders_nobody(tmp_path, monkeypatch, text):
    (tmp_path / ".lock").write_text(text)
    RunLock(tmp_path).acquire()
    (tmp_path / ".lock").write_text(text)
    no_kernel_locks(monkeypatch)
    RunLock(tmp_path).acquire()


def test_processes_are_told_apart_without_the_number(holder):
    own, other = map(lock_module._process_identity, (os.getpid(), holder.pid))
    assert own == lock_module._process_identity(os.getpid())
    assert own != other
    assert lock_module._process_identity(2**22 + 1) is None


def test_a_place_that_cannot_be_written_is_a_one_line_error(tmp_path):
    with pytest.raises(CatganError, match="cannot be written"):
        RunLock(tmp_path / "nowhere").acquire()
