"""Progress bars and one-line errors."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from catgan.cli import console as terminal
from catgan.cli.console import ProgressBar, explain_system_error, fail


def output(*, terminal):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80)
    with ProgressBar(console) as progress:
        for done in range(1, 4):
            progress("sampling", done, 3)
        progress("writing", 1, 1200)
    return out.getvalue()


def test_without_a_terminal_each_stage_is_one_line():
    assert output(terminal=False) == "sampling: 3\nwriting: 1,200\n"


def test_bars_are_erased_from_a_terminal():
    text = output(terminal=True)
    assert "sampling" in text
    assert "3/3" in text
    assert "1/1200" in text
    assert text.endswith("\x1b[2K\x1b[1A\x1b[2K")  # both lines erased


def test_no_stage_prints_nothing():
    out = io.StringIO()
    with ProgressBar(Console(file=out, force_terminal=True)):
        pass
    assert out.getvalue() == ""


def test_names_in_brackets_are_not_markup():
    out = io.StringIO()
    with ProgressBar(Console(file=out, force_terminal=True, width=80)) as progress:
        progress("features of cats [/old] [red]", 1, 2)
    assert "features of cats [/old] [red]" in out.getvalue()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "a/b"),
            "a/b: No space left on device: make",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device: make room"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "a: Permission denied: check"),
        (
            FileNotFoundError(errno.ENOENT, "No such file", Path("a")),
            "a: No such file: check that it",
        ),
        (OSError(errno.EMFILE, "Too many open files", "a"), "ulimit -n"),
        (OSError(errno.EIO, "Input/output error"), "drive works"),
    ],
)
def test_system_errors_are_one_line_with_the_remedy(error, expected):
    assert expected in explain_system_error(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError("no number"),
        OSError(errno.EBADF, "Bad file descriptor"),
        OSError(errno.EINVAL, "Invalid argument", "a"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        FileNotFoundError(errno.ENOENT, "No such file", str(Path(terminal.__file__).parent / "x")),
    ],
)
def test_bugs_have_no_line(error):
    assert explain_system_error(error) is None


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX: a directory in use can be removed")
def test_deleted_current_directory_is_one_line(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        os.getcwd()  # noqa: PTH109 - Path.cwd and os.path.abspath ask it
    assert "current directory is gone" in explain_system_error(caught.value)


def test_errors_escape_control_characters(capsys):
    with pytest.raises(SystemExit) as end:
        fail("a\x1b[2Jb\nc \udcff \u202e é", 2)
    assert end.value.code == 2
    assert capsys.readouterr().err == "catgan: error: a\\x1b[2Jb c \\udcff \\u202e é\n"
