from __future__ import annotations

import io

import pytest
from rich.console import Console

from catgan.formatting import duration, kimg
from catgan.training.display import BarDisplay, CallbackDisplay, LineDisplay, choose_display

ROW = {
    "images": 2_048,
    "discriminator_loss": 0.5,
    "generator_loss": 1.25,
    "real_accuracy": 0.75,
    "generated_accuracy": 0.5,
    "machine": {"images_per_second": 32.0, "memory_mib": 1536},
}


def console(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def show(display):
    display.begin(0, 10_240)
    display.step(2_048)
    display.row(ROW)
    display.note("[not markup] /a/path")
    display.end()


def test_a_pipe_gets_one_plain_line_a_row_with_the_time_left():
    out = console(terminal=False)
    display = choose_display(out)
    assert isinstance(display, LineDisplay)
    show(display)
    lines = out.file.getvalue().splitlines()
    assert lines == [
        "2.0 kimg of 10.2 kimg  32.0 img/s  4 min left  D 0.500  G 1.250  "
        "right on real 75%, generated 50%  1.5 GiB",
        "[not markup] /a/path",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_what_comes_before_the_first_step_is_shown(terminal):
    out = console(terminal)
    display = choose_display(out)
    for done in (256, 512):
        display.prepare("finding eigenfaces", done, 512)
    show(display)
    text = out.file.getvalue()
    assert "finding eigenfaces" in text
    assert "2.0 kimg" in text
    if not terminal:
        assert text.splitlines()[0] == "finding eigenfaces: 512 images"
        assert text.count("eigenfaces") == 1


def test_a_terminal_gets_a_bar_with_the_same_facts():
    out = console(terminal=True)
    display = choose_display(out)
    assert isinstance(display, BarDisplay)
    show(display)
    text = out.file.getvalue()
    for words in ("2.0 kimg", "32.0 img/s", "D 0.500", "1.5 GiB", "[not markup] /a/path"):
        assert words in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89, "89 s"), (91, "2 min"), (5_340, "89 min"), (36_300, "10 h 05 min")],
)  # fmt: skip
def test_durations_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_kimg():
    assert kimg(12_345) == "12.3 kimg"


SCORE = {"images": 2_048, "score": 30.25, "scored_by": "FD-lite2", "samples": 1_000}


@pytest.mark.parametrize("terminal", [False, True])
def test_a_score_is_one_line(terminal):
    out = console(terminal)
    choose_display(out).score(SCORE)
    assert "FD-lite2 30.25 after 2,048 images" in out.file.getvalue()


def test_a_callback_gets_every_row_of_the_log_and_no_more():
    rows, notes = [], []
    display = CallbackDisplay(rows.append, notes.append)
    display.prepare("finding eigenfaces", 256, 512)
    show(display)
    display.score(SCORE)
    assert rows == [ROW, SCORE]
    assert notes == ["[not markup] /a/path"]
