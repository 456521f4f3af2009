"""Progress bars and one-line errors."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from pathlib import Path

import pytest

from catgan.cli import console
from catgan.cli.console import Output, ProgressBar, explain_system_error, fail


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch):
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")


def show_stages():
    with ProgressBar(Output()) as progress:
        for done in range(1, 4):
            progress("sampling", done, 3)
        progress("writing", 1, 1200)


def on_a_terminal(*reports):
    with contextlib.redirect_stdout(Terminal()) as out, ProgressBar(Output()) as progress:
        for report in reports:
            progress(*report)
    return out.getvalue()


def test_without_a_terminal_each_stage_is_one_line(capsys):
    show_stages()
    assert capsys.readouterr().out == "sampling: 3\nwriting: 1,200\n"


def test_bars_are_erased_from_a_terminal():
    with contextlib.redirect_stdout(Terminal()) as out:
        show_stages()
    text = out.getvalue()
    assert "sampling" in text
    assert "3/3" in text
    assert "1/1200" in text
    assert text.endswith("\x1b[2K\x1b[1A\x1b[2K")  # both lines erased


def test_no_stage_prints_nothing():
    assert on_a_terminal() == ""


def test_a_single_step_needs_no_bar():
    assert on_a_terminal(("generating", 1, 1)) == ""


def test_a_total_that_grows_has_a_bar():
    assert "863/863" in on_a_terminal(("downloading", 400, 400), ("downloading", 863, 863))


def test_names_in_brackets_are_not_markup():
    name = "features of cats [/old] [red]"
    assert name in on_a_terminal((name, 1, 2))


LONG_LINE = "cats [red] :cat: 3 " * 20


def test_lines_are_printed_verbatim(capsys):
    Output().print_line(LONG_LINE)
    Output(quiet=True).print_line("nothing")
    assert capsys.readouterr().out == f"{LONG_LINE}\n"


def test_lines_are_printed_verbatim_beside_a_bar():
    output = Output()
    with contextlib.redirect_stdout(Terminal()) as out, ProgressBar(output) as progress:
        progress("sampling", 1, 3)
        output.print_line(LONG_LINE)
    assert f"{LONG_LINE}\n" in out.getvalue()


def test_without_standard_output_nothing_is_printed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    show_stages()


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
        FileNotFoundError(errno.ENOENT, "No such file", str(Path(console.__file__).parent / "x")),
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
