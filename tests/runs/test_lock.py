from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from catgan import locks
from catgan.errors import CatganError
from catgan.runs import lock as lock_module
from catgan.runs.lock import RunLock

HOLD = """
import sys
from pathlib import Path
from catgan.runs.lock import RunLock
lock = RunLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""

HOSTILE = '{"pid": 1, "host": "\\u001b[31mred", "since": "2026-11-22 09:30:00"}'


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path` until its stdin is closed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def no_kernel_locks(monkeypatch):
    def lock_descriptor(*_, **__):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(locks, "lock_descriptor", lock_descriptor)


def test_second_process_is_told_who_holds_the_lock(tmp_path, holder):
    with pytest.raises(CatganError) as error:
        RunLock(tmp_path).acquire()
    text = str(error.value)
    assert error.value.exit_code == 2
    assert "\n" not in text
    for part in (str(tmp_path), f"process {holder.pid} since 20", f"kill {holder.pid}", "--out"):
        assert part in text


@pytest.mark.parametrize("end", ["killed", "ended"])
def test_lock_is_free_once_its_holder_ends(tmp_path, holder, end):
    if end == "killed":
        holder.kill()
    else:
        holder.stdin.close()
    holder.wait()
    lock = RunLock(tmp_path)
    lock.acquire()
    assert json.loads(lock.record.read_text())["pid"] == os.getpid()


def test_acquire_is_reentrant_and_release_frees(tmp_path):
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.acquire()
    first.acquire()
    with pytest.raises(CatganError, match=f"process {os.getpid()} "):
        second.acquire()
    first.release()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    second.acquire()
    second.release()
    second.release()


def test_lock_works_without_kernel_locks(tmp_path, monkeypatch):
    no_kernel_locks(monkeypatch)
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    first.acquire()
    with pytest.raises(CatganError, match=f"process {os.getpid()} since 20") as error:
        second.acquire()
    assert "lock.held if it has ended" in str(error.value)  # as this may be another container
    first.release()
    second.acquire()


def test_holder_on_another_machine_is_named(tmp_path, monkeypatch):
    no_kernel_locks(monkeypatch)
    (tmp_path / ".lock.held").write_text("7\nanother-machine\n1\n")
    record = {"pid": 7, "host": "another-machine", "since": "2026-11-22 09:30:00"}
    (tmp_path / ".lock.json").write_text(json.dumps(record))
    with pytest.raises(CatganError) as error:
        RunLock(tmp_path).acquire()
    text = str(error.value)
    assert "process 7 on another-machine since 2026-11-22 09:30:00" in text
    assert f"stop it there, delete {tmp_path / '.lock.held'} if it has ended" in text
    assert "kill" not in text
    (tmp_path / ".lock.held").unlink()
    RunLock(tmp_path).acquire()


@pytest.mark.parametrize("text", ["", "{", "[]", "\0" * 10, "[" * 10_000, '{"pid": null}', HOSTILE])
def test_damaged_record_is_ignored(tmp_path, text):
    (tmp_path / ".lock.json").write_text(text)
    first = RunLock(tmp_path)
    first.acquire()
    (tmp_path / ".lock.json").write_text(text)
    with pytest.raises(CatganError, match="by another process: wait for it, stop it"):
        RunLock(tmp_path).acquire()


@pytest.mark.parametrize("kernel", [True, False])
def test_lock_file_of_an_older_version_is_ignored(tmp_path, monkeypatch, kernel):
    """It wrote who held the lock into the lock itself."""
    if not kernel:
        no_kernel_locks(monkeypatch)
    for text in ("", '{"pid": 1, "host": "another-machine", "since": "2026-11-22 09:30:00"}\n'):
        (tmp_path / ".lock").write_text(text)
        lock = RunLock(tmp_path)
        lock.acquire()
        lock.release()


def test_windows_message_names_taskkill(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(lock_module, "ON_WINDOWS", True)
    with pytest.raises(CatganError, match=f"taskkill /F /PID {holder.pid}"):
        RunLock(tmp_path).acquire()


def test_unwritable_directory_is_a_one_line_error(tmp_path):
    with pytest.raises(CatganError, match="cannot be written"):
        RunLock(tmp_path / "nowhere").acquire()
