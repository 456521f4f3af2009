"""Write, rename and read files, with other operating systems simulated."""

from __future__ import annotations

import errno
import os
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from catgan import files
from catgan.files import (
    MAX_NAME_BYTES,
    file_name,
    flush_directory,
    read_at,
    rename,
    write_durably,
)


@pytest.fixture
def open_elsewhere(monkeypatch):
    """Make `Path.replace` fail `rejections` times, as Windows does on an open file."""
    state = {"rejections": 0, "attempts": 0, "slept": 0.0}
    real = Path.replace

    def replace(path, target):
        state["attempts"] += 1
        if state["attempts"] <= state["rejections"]:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, target)

    def sleep(seconds):
        state["slept"] += seconds

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(files.time, "sleep", sleep)
    return state


def test_rename_retries_on_windows(tmp_path, monkeypatch, open_elsewhere):
    monkeypatch.setattr(files, "ON_WINDOWS", True)
    open_elsewhere["rejections"] = 3
    (tmp_path / "file").write_bytes(b"old")
    write_durably(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert open_elsewhere["attempts"] == 4


def test_rename_gives_up_on_windows(tmp_path, monkeypatch, open_elsewhere):
    monkeypatch.setattr(files, "ON_WINDOWS", True)
    open_elsewhere["rejections"] = 10**6
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(PermissionError):
        write_durably(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"
    assert open_elsewhere["slept"] < 2


def test_rename_does_not_retry_on_other_systems(tmp_path, monkeypatch, open_elsewhere):
    monkeypatch.setattr(files, "ON_WINDOWS", False)
    open_elsewhere["rejections"] = 1
    with pytest.raises(PermissionError):
        rename(tmp_path / "one", tmp_path / "two")
    assert open_elsewhere["slept"] == 0


def test_directories_are_not_flushed_on_windows(tmp_path, monkeypatch):
    def no_directories(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.os, "open", no_directories)
    monkeypatch.setattr(files, "ON_WINDOWS", True)
    flush_directory(tmp_path)


@pytest.mark.skipif(files.ON_WINDOWS, reason="Windows cannot flush directories")
@pytest.mark.parametrize(
    ("number", "passes"), [(errno.EINVAL, True), (errno.EOPNOTSUPP, True), (errno.EIO, False)]
)
def test_file_system_that_cannot_flush_directories(tmp_path, monkeypatch, number, passes):
    def fsync(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fsync)
    if passes:
        flush_directory(tmp_path)
    else:
        with pytest.raises(OSError, match="Input/output"):
            flush_directory(tmp_path)


@pytest.mark.parametrize("system", ["with pread", "without"])
def test_threads_share_a_descriptor(tmp_path, monkeypatch, system):
    if system == "without":
        monkeypatch.delattr(os, "pread", raising=False)
    elif not hasattr(os, "pread"):
        pytest.skip("POSIX: os.pread")
    content = b"".join(number.to_bytes(4, "big") for number in range(4096))
    (tmp_path / "file").write_bytes(content)
    threads = threading.Barrier(4)

    def check(first):
        threads.wait()
        return all(
            read_at(file.fileno(), 4, 4 * number) == number.to_bytes(4, "big")
            for number in range(first, 4096, 4)
        )

    with (tmp_path / "file").open("r+b") as file, ThreadPoolExecutor(4) as pool:
        file.write(content[:8])
        file.flush()
        assert all(pool.map(check, range(4)))
        assert file.read(4) == content[8:12]  # the file position is unchanged
        assert read_at(file.fileno(), 10, len(content) - 2) == content[-2:]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("raw-64", "raw-64"),
        ("a/run at 8", "a-run-at-8"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("Kätzchen.onnx", "Kätzchen.onnx"),
        ("Fotos mit Müll", "Fotos-mit-Müll"),
        ("हिन्दी", "हिन्दी"),  # its vowels are marks, not letters
        ("🐱", "unnamed"),
        ("cats...", "cats"),
        ("NUL", "_NUL"),
        ("com1.onnx", "_com1.onnx"),
        ("LPT\N{SUPERSCRIPT TWO}", "_LPT\N{SUPERSCRIPT TWO}"),
        ("console", "console"),
        ("COM10", "COM10"),
        ("\udcff", "unnamed"),
        ("x" * 300, "x" * 120),
    ],
)
def test_file_name(text, name):
    assert file_name(text) == name


def test_file_name_is_normalized():
    decomposed = unicodedata.normalize("NFD", "Müll")
    assert decomposed != "Müll"
    assert file_name(decomposed) == "Müll"


def test_long_file_name_is_cut_in_bytes(tmp_path):
    name = file_name("猫" * 200)
    assert name == "猫" * (MAX_NAME_BYTES // 3)
    (tmp_path / f"{name}-000469856-12").mkdir()
