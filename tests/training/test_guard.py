"""Rows and tensors that must stop a run, and those that must not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from catgan.config import Config
from catgan.runs.directory import RunDirectory
from catgan.runs.log import LOGGED_METRICS
from catgan.training.guard import (
    DIVERSITY_SIDE,
    MAX_ACCURACY,
    MIN_DIVERSITY,
    ROWS_WATCHED,
    WARMUP_IMAGES,
    Guard,
    TrainingFailedError,
    accuracies,
    diversity,
    downsample,
)

HEALTHY = {
    "discriminator_loss": 1.2,
    "generator_loss": 0.8,
    "real_accuracy": 0.8,
    "generated_accuracy": 0.7,
    "diversity": 0.9,
}
SAME = {"diversity": MIN_DIVERSITY / 2}
SURE = {"real_accuracy": 1.0, "generated_accuracy": 1.0}
STEP = 1_000


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run", Config(), {"dataset": {}, "machine": {}})


def watch(guard, changes, first=WARMUP_IMAGES):
    """Give the guard healthy rows with changes; return the images after which it raised."""
    for index, change in enumerate(changes):
        images = first + index * STEP
        try:
            guard.watch({"images": images, **HEALTHY, **change})
        except TrainingFailedError as error:
            return images, str(error), error
    return None


def test_the_example_is_complete():
    assert set(HEALTHY) == set(LOGGED_METRICS)


@pytest.mark.parametrize(
    "changes",
    [
        [{}] * 30,
        [SAME] * (ROWS_WATCHED - 1) + [{}] + [SAME] * (ROWS_WATCHED - 1),
        [{"diversity": MIN_DIVERSITY}] * 30,
        [SURE] * (ROWS_WATCHED - 1) + [{}] + [SURE] * (ROWS_WATCHED - 1),
        [{"real_accuracy": 1.0}] * 30,
        [{"generated_accuracy": 1.0}] * 30,
        [{"real_accuracy": MAX_ACCURACY, "generated_accuracy": 1.0}] * 30,
        [{"diversity": 5.0}, {"real_accuracy": 0.0, "generated_accuracy": 0.0}] * 15,
        [SAME, SURE] * 15,
    ],
)
def test_a_run_that_may_recover_continues(run, changes):
    assert watch(Guard(run), changes) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (SAME, ("differed less than 15%", "optimizer.discriminator_learning_rate", "best")),
        (SURE, ("never wrong", "optimizer.generator_learning_rate", "best")),
    ],
)
def test_a_collapse_stops_the_run_after_enough_rows(run, change, words):
    images, text, error = watch(Guard(run), [{}] * 5 + [change] * 30)
    assert images == WARMUP_IMAGES + (5 + ROWS_WATCHED - 1) * STEP
    assert error.exit_code == 3
    assert "\n" not in text
    for word in (str(run.path), f"up to {images} images", *words):
        assert word in text


@pytest.mark.parametrize("change", [SAME, SURE])
def test_no_collapse_during_warmup(run, change):
    """Earlier rows count, but do not stop a run by themselves."""
    assert WARMUP_IMAGES % STEP == 0
    images, _, _ = watch(Guard(run), [change] * 30, first=STEP)
    assert images == WARMUP_IMAGES


@pytest.mark.parametrize("measure", LOGGED_METRICS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_metrics_stop_the_run(run, measure, value):
    images, text, error = watch(Guard(run), [{}, {measure: value}], first=STEP)
    assert images == 2 * STEP
    assert f"diverged before {images} images: values of the log ({measure}) are not" in text
    assert error.exit_code == 3
    assert "\n" not in text


def test_tensors_are_checked_before_they_are_saved(run):
    guard = Guard(run)
    good = [torch.ones(3), torch.tensor(7), torch.zeros(0), torch.ones(2, dtype=torch.bfloat16)]
    guard.check_finite(good, "weights of ema", 640)
    for value in (math.nan, math.inf):
        with pytest.raises(TrainingFailedError, match="before 640 images: weights of ema are not"):
            guard.check_finite([*good, torch.tensor([1.0, value])], "weights of ema", 640)


@pytest.mark.parametrize("before", [1, ROWS_WATCHED - 1, ROWS_WATCHED + 5])
def test_a_resumed_guard_reads_the_log(run, before):
    rows = [{"images": WARMUP_IMAGES + index * STEP, **HEALTHY, **SAME} for index in range(before)]
    for row in rows:
        run.append_row(row)
        run.append_row({"images": row["images"], "score": 1.0, "scored_by": "FD"})
    run.append_row({"images": 5} | {m: v for m, v in HEALTHY.items() if m != "diversity"})
    images, _, _ = watch(Guard(run), [SAME] * 30, first=WARMUP_IMAGES + before * STEP)
    assert images == WARMUP_IMAGES + max(before, ROWS_WATCHED - 1) * STEP


def test_a_run_without_a_log_starts_empty(run):
    assert len(Guard(run).recent) == 0


# -- what is measured ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bce", "hinge", "mse", "relativistic"])
@pytest.mark.parametrize("heads", [1, 4])
def test_accuracies_equal_a_count(kind, heads):
    rng = np.random.default_rng(heads)
    offsets = rng.normal(0, 5, heads) if kind == "relativistic" else 0.3
    real = (rng.normal(0.5, 1, (40, heads)) + offsets).astype(np.float32)
    generated = (rng.normal(-0.5, 1, (40, heads)) + offsets).astype(np.float32)
    right = {"real": 0, "generated": 0}
    for k in range(heads):
        level = {"bce": 0.0, "hinge": 0.0, "mse": 0.5}.get(kind)
        if level is None:
            level = (real[:, k].mean() + generated[:, k].mean()) / 2
        right["real"] += sum(bool(value > level) for value in real[:, k])
        right["generated"] += sum(bool(value <= level) for value in generated[:, k])
    ours = accuracies(kind, torch.from_numpy(real), torch.from_numpy(generated))
    assert [value.item() for value in ours] == pytest.approx(
        [right["real"] / real.size, right["generated"] / real.size]
    )
    assert min(ours) > 0.4


def test_an_uninformative_discriminator_has_half_accuracy():
    torch.manual_seed(0)
    logits = torch.randn(2, 4_000, 4)
    for accuracy in accuracies("relativistic", *logits):
        assert accuracy.item() == pytest.approx(0.5, abs=0.02)
    constant = torch.full((8, 4), 3.0)
    assert [a.item() for a in accuracies("relativistic", constant, constant)] == [0.0, 1.0]


def diversity_of(images):
    return diversity(downsample(images))


def test_diversity_is_the_std_of_downsampled_pixels():
    rng = np.random.default_rng(0)
    images = rng.normal(0, 1, (16, 3, 32, 32))
    blocks = images.reshape(16, 3, DIVERSITY_SIDE, 4, DIVERSITY_SIDE, 4).mean((3, 5))
    expected = blocks.std(0, ddof=1).mean()
    assert diversity_of(torch.from_numpy(images)).item() == pytest.approx(expected)


def test_diversity_follows_contrast_and_not_brightness_and_sees_copies():
    torch.manual_seed(0)
    images = torch.randn(32, 3, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    one = diversity_of(images).item()
    assert one == pytest.approx(1, abs=0.05)
    assert diversity_of(images / 2 + 3).item() == pytest.approx(one / 2, rel=1e-4)
    assert diversity_of(images[:1].expand(32, -1, -1, -1)).item() == 0
    fine = torch.randn(32, 3, 32, 32)  # noise that averages out
    assert diversity_of(fine).item() < 0.3
