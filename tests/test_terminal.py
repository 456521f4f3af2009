"""How progress is shown, to a person and to a file."""

from __future__ import annotations

import io

from rich.console import Console

from catgan.terminal import ProgressBar


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
