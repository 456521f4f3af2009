from __future__ import annotations

import time

import pytest
import torch

from catgan.runs.checkpoint import MetricState
from catgan.runs.log import LOGGED_METRICS
from catgan.training.metric_averager import MetricAverager

CPU = torch.device("cpu")


def measures(value):
    return [torch.tensor(value + index) for index in range(len(LOGGED_METRICS))]


def test_a_row_holds_the_means_since_the_last_one():
    averager = MetricAverager(CPU, batch_size=16)
    for value, seconds in ((1.0, 0.5), (2.0, 1.0), (6.0, 0.5)):
        averager.add(measures(value), seconds)
    row = averager.row(480)
    assert list(row) == ["images", *LOGGED_METRICS, "machine"]
    assert row["images"] == 480
    assert [row[name] for name in LOGGED_METRICS] == pytest.approx([3.0, 4.0, 5.0, 6.0, 7.0])
    assert row["machine"]["images_per_second"] == pytest.approx(3 * 16 / 2)
    assert row["machine"]["memory_mib"] > 0
    assert row["machine"]["unix_time"] == pytest.approx(time.time(), abs=60)
    averager.add(measures(8.0), 4.0)
    row = averager.row(496)
    assert row[LOGGED_METRICS[0]] == 8.0
    assert row["machine"]["images_per_second"] == pytest.approx(4.0)


def test_metrics_keep_no_autograd_graph():
    averager = MetricAverager(CPU, batch_size=2)
    averager.add([torch.ones((), requires_grad=True) * 2 for _ in LOGGED_METRICS], 1.0)
    assert not averager.sums.requires_grad
    assert all(type(averager.row(2)[name]) is float for name in LOGGED_METRICS[:1])


def test_restored_state_is_bit_exact():
    straight, first, second = (MetricAverager(CPU, batch_size=4) for _ in range(3))
    values = [0.1, 1 / 3, 2.7, 1e-8]
    for averager, part in ((straight, values), (first, values[:2])):
        for value in part:
            averager.add(measures(value), 1.0)
    window = first.window()
    assert window == MetricState(first.sums.tolist(), 2)
    second.restore(window)
    for value in values[2:]:
        second.add(measures(value), 0.5)
    ours, theirs = straight.row(16), second.row(16)
    assert [ours[name] for name in LOGGED_METRICS] == [theirs[name] for name in LOGGED_METRICS]
    # Only two of the four steps were timed here.
    assert theirs["machine"]["images_per_second"] == pytest.approx(2 * 4 / 1.0)


def test_state_of_other_metrics_is_ignored():
    averager = MetricAverager(CPU, batch_size=4)
    averager.restore(MetricState([1.0, 2.0], 3))
    averager.add(measures(5.0), 1.0)
    assert averager.row(4)[LOGGED_METRICS[0]] == 5.0


def test_nan_shows_in_the_row():
    averager = MetricAverager(CPU, batch_size=4)
    averager.add([torch.tensor(float("nan")), *measures(1.0)[1:]], 1.0)
    averager.add(measures(1.0), 1.0)
    row = averager.row(8)
    assert row[LOGGED_METRICS[0]] != row[LOGGED_METRICS[0]]
    assert row[LOGGED_METRICS[1]] == 2.0
