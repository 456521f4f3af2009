"""How progress is shown, to a person and to a file."""

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


def shown(*, terminal):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=80)
    with ProgressBar(console) as progress:
        for done in range(1, 4):
            progress("drawing", done, 3)
        progress("writing", 1, 1200)
    return out.getvalue()


def test_where_nobody_watches_each_task_is_told_once():
    assert shown(terminal=False) == "drawing: 3\nwriting: 1,200\n"


def test_a_person_sees_a_bar_for_each_task_and_no_trace_is_left():
    text = shown(terminal=True)
    assert "drawing" in text
    assert "3/3" in text
    assert "1/1200" in text
    assert text.endswith("\x1b[2K\x1b[1A\x1b[2K")  # both lines erased


def test_no_bar_without_a_task():
    out = io.StringIO()
    with ProgressBar(Console(file=out, force_terminal=True)):
        pass
    assert out.getvalue() == ""


def test_a_name_in_brackets_is_shown_and_is_no_markup():
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
        (PermissionError(errno.EACCES, "Permission denied", "a"), "a: Permission denied: see that"),
        (
            FileNotFoundError(errno.ENOENT, "No such file", Path("a")),
            "a: No such file: see that it",
        ),
        (OSError(errno.EMFILE, "Too many open files", "a"), "ulimit -n"),
        (OSError(errno.EIO, "Input/output error"), "drive works"),
    ],
)
def test_what_the_system_refuses_is_one_line_with_the_remedy(error, expected):
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
def test_an_error_that_only_a_bug_can_cause_has_no_line(error):
    assert explain_system_error(error) is None


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX: a directory in use can be removed")
def test_a_current_directory_that_is_gone_is_one_line(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        os.getcwd()  # noqa: PTH109 - Path.cwd and os.path.abspath ask it
    assert "current directory is gone" in explain_system_error(caught.value)


def test_an_error_is_shown_in_characters_that_do_nothing_to_a_terminal(capsys):
    with pytest.raises(SystemExit) as end:
        fail("a\x1b[2Jb\nc \udcff \u202e é", 2)
    assert end.value.code == 2
    assert capsys.readouterr().err == "catgan: error: a\\x1b[2Jb c \\udcff \\u202e é\n"
