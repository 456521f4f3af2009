"""What a run keeps, and when it has waited long enough for something better."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from catgan.config import Config, override
from catgan.evaluation.fingerprint import ExtractorIdentity, Fingerprint
from catgan.evaluation.quick import QuickScore
from catgan.runs.directory import RunDirectory
from catgan.training import recorder
from catgan.training.display import score_line
from catgan.training.guard import Guard, TrainingFailedError
from catgan.training.metric_averager import MetricAverager
from catgan.training.recorder import Recorder

CPU = torch.device("cpu")
HELD_OUT = "held-out KD-lite2"
REALS = SimpleNamespace(score_name=HELD_OUT)
IDENTITY = ExtractorIdentity("lite2", 1, "0" * 64, 12, 8, "clean", "float32")


class Notes:
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)

    def score(self, row):
        self.notes.append(score_line(row))


class FakeSampler:
    """Knows after how many images it was measured, and draws nothing."""

    def calibrated(self, images, precision):
        return lambda seeds: np.zeros((len(seeds), 4, 4, 3), np.uint8)


def config_of(patience):
    return override(
        Config(),
        [
            f"training.early_stopping_images={patience}",
            "output.grid_seeds=4",
            "output.score_samples=16",
            "output.checkpoints_kept=9",
        ],
    )


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run", config_of(0), {"dataset": {}, "machine": {}})


def recorder_of(run, patience, reals=REALS, settings=()):
    config = override(config_of(patience), settings)
    module = nn.Linear(2, 2)
    return Recorder(
        config, run, Notes(), FakeSampler(), contextlib.nullcontext(),
        dict.fromkeys(("generator", "ema", "discriminator"), module),
        {}, MetricAverager(CPU, 8), Guard(run), reals,
    )  # fmt: skip


def log(run, scores, name=HELD_OUT, samples=16):
    for images, score in scores.items():
        run.append_row({"images": images, "score": score, "scored_by": name, "samples": samples})


def score_with(monkeypatch, values, metric="kernel", split="holdout"):
    """Let `quick_score` find these values, one after the other."""
    remaining = iter(values)

    def quick_score(sample, statistics, *, count):
        assert sample(range(count)).shape[0] == count == 16
        taken = Fingerprint(IDENTITY, count, 20, "d" * 64, split, "0" * 64)
        return QuickScore(next(remaining), metric, taken)

    monkeypatch.setattr(recorder, "quick_score", quick_score)
    return SimpleNamespace(score_name=HELD_OUT if split == "holdout" else "FD-lite2")


@pytest.mark.parametrize(
    ("scores", "past"),
    [
        ({}, False),
        ({100: 0.5}, False),
        ({100: 0.5, 200: 0.6}, False),
        ({100: 0.5, 200: 0.6, 300: 0.6}, True),
        ({100: 0.5, 200: 0.6, 300: 0.4}, False),
        ({100: 0.5, 200: 0.4, 300: 0.6}, False),
        ({100: 0.5, 200: 0.4, 300: 0.6, 400: 0.41}, True),
        ({100: 0.5, 200: 0.5, 300: 0.5}, True),  # the earliest of equals is the best
        ({100: 0.01, 200: -0.002, 300: -0.001}, False),
        ({100: -0.002, 200: -0.001, 300: 0.0}, True),
    ],
)
def test_a_run_waits_so_many_images_for_a_better_score(run, scores, past):
    log(run, scores)
    assert recorder_of(run, patience=200).is_past_its_best == past


def test_without_patience_no_score_ends_a_run(run):
    log(run, {100: 0.1, 10**9: 9.0})
    assert not recorder_of(run, patience=0).is_past_its_best


def test_rows_of_losses_are_no_scores_and_do_not_end_the_wait(run):
    log(run, {100: 0.5})
    run.append_row({"images": 10_000, "discriminator_loss": 1.0})
    run.append_row({"images": 10_000, "score": 9.0})  # of nobody knows what
    assert not recorder_of(run, patience=200).is_past_its_best


def test_scores_of_another_kind_are_not_mixed(run):
    """Those against training images, or of another number of samples, decide nothing."""
    log(run, {100: 40.0, 400: 41.0}, "FD-lite2")
    log(run, {100: 0.001, 400: 0.002}, samples=1000)
    assert not recorder_of(run, patience=200).is_past_its_best
    log(run, {500: 0.004, 700: 0.005})
    assert recorder_of(run, patience=200).is_past_its_best
    log(run, {800: 0.003})
    assert not recorder_of(run, patience=200).is_past_its_best


def test_without_anything_to_score_against_no_old_score_ends_a_run(run):
    log(run, {100: 0.5, 900: 0.6})
    assert not recorder_of(run, patience=200, reals=None).is_past_its_best


def test_only_the_main_process_reads_the_log(run, monkeypatch):
    log(run, {100: 0.5, 900: 0.6})
    assert recorder_of(run, patience=200).is_past_its_best
    monkeypatch.setattr(
        recorder.distributed, "world", lambda: SimpleNamespace(is_main_process=False)
    )
    assert not recorder_of(run, patience=200).is_past_its_best


def test_the_wait_begins_when_the_generator_moves(run):
    log(run, {0: 0.5, 100: 0.5, 500: 0.5})
    held = ["optimizer.generator_freeze_images=300", "optimizer.generator_ramp_images=100"]
    assert recorder_of(run, patience=200).is_past_its_best
    assert not recorder_of(run, patience=200, settings=held).is_past_its_best
    log(run, {600: 0.6})
    assert recorder_of(run, patience=200, settings=held).is_past_its_best


def test_checkpoints_find_out_and_a_resumed_run_knows_from_its_log(run, monkeypatch):
    reals = score_with(monkeypatch, [0.02, 0.01, 0.03, 0.04])
    kept = recorder_of(run, patience=200, reals=reals)
    found = []
    for images in (100, 200, 300, 400):
        kept.checkpoint(images)
        found.append(kept.is_past_its_best)
    assert found == [False, False, False, True]
    assert run.checkpoints.pointer("best") == "000000200"
    assert run.checkpoints.pointer("latest") == "000000400"
    assert kept.display.notes[-1] == "held-out KD-lite2 0.04 after 400 images"
    row = {"images": 400, "score": 0.04, "scored_by": HELD_OUT, "samples": 16}
    assert run.rows()[-1] == row
    assert recorder_of(run, patience=200).is_past_its_best
    assert not recorder_of(run, patience=300).is_past_its_best
    run.rewind(300)  # it goes on from an earlier checkpoint
    assert not recorder_of(run, patience=200).is_past_its_best


def test_a_lower_score_of_another_kind_is_not_called_better_and_the_next_is_the_best(
    run, monkeypatch
):
    recorder_of(run, 0, score_with(monkeypatch, [0.01])).checkpoint(100)
    reals = score_with(monkeypatch, [40.0, 50.0], metric="frechet", split="train")
    later = recorder_of(run, 0, reals)
    later.checkpoint(200)
    assert run.checkpoints.pointer("best") == "000000200"
    later.checkpoint(300)
    assert run.checkpoints.pointer("best") == "000000200"


def test_a_checkpoint_that_is_not_to_be_scored_is_kept_without_a_score(run, monkeypatch):
    recorder_of(run, 200, score_with(monkeypatch, [])).checkpoint(100, scored=False)
    assert run.rows() == []
    assert run.checkpoints.names() == ["000000100"]
    assert run.checkpoints.pointer("best") is None


def test_weights_that_are_not_finite_replace_none_that_are(run):
    kept = recorder_of(run, 0, reals=None)
    kept.checkpoint(100)
    with torch.no_grad():
        kept.modules["ema"].weight[0, 0] = torch.inf
    with pytest.raises(TrainingFailedError, match="before 200 images, weights of generator"):
        kept.checkpoint(200)
    assert run.checkpoints.names() == ["000000100"]
    assert run.checkpoints.pointer("latest") == "000000100"


def test_a_sheet_has_the_cats_that_are_asked_for(run):
    recorder_of(run, 0).make_grid(100)
    assert list(run.grids()) == [100]
