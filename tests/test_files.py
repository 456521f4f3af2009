"""Writing, renaming and reading, on systems that are not this one too."""

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
def in_use(monkeypatch):
    """`Path.replace` rejects so many times, as it does on Windows over an open file."""
    state = {"rejections": 0, "asked": 0, "slept": 0.0}
    real = Path.replace

    def replace(path, target):
        state["asked"] += 1
        if state["asked"] <= state["rejections"]:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, target)

    def sleep(seconds):
        state["slept"] += seconds

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(files.time, "sleep", sleep)
    return state


def test_windows_waits_for_a_program_that_has_the_file_open(tmp_path, monkeypatch, in_use):
    monkeypatch.setattr(files, "ON_WINDOWS", True)
    in_use["rejections"] = 3
    (tmp_path / "file").write_bytes(b"old")
    write_durably(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert in_use["asked"] == 4


def test_windows_does_not_wait_for_ever(tmp_path, monkeypatch, in_use):
    monkeypatch.setattr(files, "ON_WINDOWS", True)
    in_use["rejections"] = 10**6
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(PermissionError):
        write_durably(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"
    assert in_use["slept"] < 2


def test_elsewhere_what_is_not_permitted_is_said_at_once(tmp_path, monkeypatch, in_use):
    monkeypatch.setattr(files, "ON_WINDOWS", False)
    in_use["rejections"] = 1
    with pytest.raises(PermissionError):
        rename(tmp_path / "one", tmp_path / "two")
    assert in_use["slept"] == 0


def test_windows_is_not_asked_to_open_a_directory(tmp_path, monkeypatch):
    def no_directories(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files.os, "open", no_directories)
    monkeypatch.setattr(files, "ON_WINDOWS", True)
    flush_directory(tmp_path)


@pytest.mark.skipif(files.ON_WINDOWS, reason="Windows flushes no directory")
@pytest.mark.parametrize(
    ("number", "passes"), [(errno.EINVAL, True), (errno.EOPNOTSUPP, True), (errno.EIO, False)]
)
def test_a_file_system_that_flushes_no_directory_is_no_error(tmp_path, monkeypatch, number, passes):
    def fsync(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", fsync)
    if passes:
        flush_directory(tmp_path)
    else:
        with pytest.raises(OSError, match="Input/output"):
            flush_directory(tmp_path)


@pytest.mark.parametrize("system", ["with pread", "without"])
def test_threads_read_from_one_file(tmp_path, monkeypatch, system):
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
        assert file.read(4) == content[8:12]  # as if nobody else had read
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
def test_names_become_one_harmless_part_of_a_path(text, name):
    assert file_name(text) == name


def test_a_name_is_the_same_however_its_umlauts_are_typed():
    decomposed = unicodedata.normalize("NFD", "Müll")
    assert decomposed != "Müll"
    assert file_name(decomposed) == "Müll"


def test_a_long_name_of_any_script_leaves_room_in_a_directory(tmp_path):
    name = file_name("猫" * 200)
    assert name == "猫" * (MAX_NAME_BYTES // 3)
    (tmp_path / f"{name}-000469856-12").mkdir()
