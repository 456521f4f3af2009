from __future__ import annotations

import time

import pytest
import torch

from catgan.runs.checkpoint import Window
from catgan.runs.log import MEASURES
from catgan.training.tally import Tally

CPU = torch.device("cpu")


def measures(value):
    return [torch.tensor(value + index) for index in range(len(MEASURES))]


def test_a_row_holds_the_means_since_the_last_one():
    tally = Tally(CPU, batch_size=16)
    for value, seconds in ((1.0, 0.5), (2.0, 1.0), (6.0, 0.5)):
        tally.add(measures(value), seconds)
    row = tally.row(480)
    assert list(row) == ["images", *MEASURES, "machine"]
    assert row["images"] == 480
    assert [row[name] for name in MEASURES] == pytest.approx([3.0, 4.0, 5.0, 6.0, 7.0])
    assert row["machine"]["images_per_second"] == pytest.approx(3 * 16 / 2)
    assert row["machine"]["memory_mib"] > 0
    assert row["machine"]["unix_time"] == pytest.approx(time.time(), abs=60)
    tally.add(measures(8.0), 4.0)
    row = tally.row(496)
    assert row[MEASURES[0]] == 8.0
    assert row["machine"]["images_per_second"] == pytest.approx(4.0)


def test_measures_are_numbers_and_keep_no_graph():
    tally = Tally(CPU, batch_size=2)
    tally.add([torch.ones((), requires_grad=True) * 2 for _ in MEASURES], 1.0)
    assert not tally.sums.requires_grad
    assert all(type(tally.row(2)[name]) is float for name in MEASURES[:1])


def test_a_window_carries_the_sums_over_a_stop_to_the_bit():
    straight, first, second = (Tally(CPU, batch_size=4) for _ in range(3))
    values = [0.1, 1 / 3, 2.7, 1e-8]
    for tally, part in ((straight, values), (first, values[:2])):
        for value in part:
            tally.add(measures(value), 1.0)
    window = first.window()
    assert window == Window(first.sums.tolist(), 2)
    second.restore(window)
    for value in values[2:]:
        second.add(measures(value), 0.5)
    ours, theirs = straight.row(16), second.row(16)
    assert [ours[name] for name in MEASURES] == [theirs[name] for name in MEASURES]
    # Only two of the four steps were timed here.
    assert theirs["machine"]["images_per_second"] == pytest.approx(2 * 4 / 1.0)


def test_a_window_of_other_measures_is_passed_over():
    tally = Tally(CPU, batch_size=4)
    tally.restore(Window([1.0, 2.0], 3))
    tally.add(measures(5.0), 1.0)
    assert tally.row(4)[MEASURES[0]] == 5.0


def test_a_lost_number_shows_in_the_row():
    tally = Tally(CPU, batch_size=4)
    tally.add([torch.tensor(float("nan")), *measures(1.0)[1:]], 1.0)
    tally.add(measures(1.0), 1.0)
    row = tally.row(8)
    assert row[MEASURES[0]] != row[MEASURES[0]]
    assert row[MEASURES[1]] == 2.0
