"""A run that goes wrong stops by itself with code 3, and what was best stays."""

from __future__ import annotations

import math
from unittest import mock

import pytest
import torch
from faults.scene import SETTINGS, Stage, command, settings

from catgan.config import load_recipe, override
from catgan.data.dataset.dataset import Dataset
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.image_sets import dataset_images
from catgan.evaluation.quick import reals_statistics
from catgan.runs.checkpoint import read_checkpoint
from catgan.runs.directory import RunDirectory
from catgan.training import losses, recorder
from catgan.training.guard import TrainingFailedError
from catgan.training.loop import train


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    return Stage(tmp_path_factory.mktemp("divergence"))


class Silent:
    def __getattr__(self, name):
        return lambda *_: None


def test_the_best_checkpoint_outlives_a_run_that_diverges(stage, tmp_path):
    """Its pointer, its files, and its score."""
    words = [f"{key}={value}" for key, value in SETTINGS.items()]
    words += ["output.score_samples=16", "output.checkpoints_kept=1", "training.images=96"]
    config = override(load_recipe("quick-64"), words)
    data = Dataset.open(stage.data)
    reals = reals_statistics(dataset_images(data), load_extractor("raw-64"))
    run = RunDirectory.create(tmp_path / "run", config, {"dataset": {}, "machine": {}})
    scores, real, calls = iter([9.0, 3.0, 5.0, 7.0]), losses.generator_loss, iter(range(10**9))

    def quick_score(*words, **options):
        found = score(*words, **options)
        object.__setattr__(found, "value", next(scores))
        return found

    def generator_loss(*words):
        return real(*words) * (math.nan if next(calls) == 9 else 1.0)

    score = recorder.quick_score
    with (
        mock.patch.object(recorder, "quick_score", quick_score),
        mock.patch.object(losses, "generator_loss", generator_loss),
        pytest.raises(TrainingFailedError, match="diverged before 80 images"),
    ):
        train(config, data, run, Silent(), device=torch.device("cpu"), reals=reals)
    assert run.checkpoints.names() == ["000000032", "000000064"]
    assert (run.checkpoints.pointer("best"), run.checkpoints.pointer("latest")) == (
        "000000032",
        "000000064",
    )
    for name in run.checkpoints.names():
        weights = read_checkpoint(run.checkpoints.directory / name).tensors["ema"].values()
        assert all(torch.isfinite(tensor).all() for tensor in weights)
    procedural = command("sample", run.path, "--checkpoint", "best", "-o", tmp_path / "cats.png")
    assert procedural.code == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_learning_rates_a_hundred_times_too_high(tmp_path):
    """With the recipe's own intervals: the guard needs no help to see it."""
    write_procedural_cats(tmp_path / "cats", 300, 32)
    recipe = load_recipe("quick-64")
    words = settings(
        training__images=60_000,
        training__batch_size=recipe.training.batch_size,
        output__log_images=recipe.output.log_images,
        output__sheet_images=recipe.output.grid_images,
        output__checkpoint_images=recipe.output.checkpoint_images,
        optimizer__discriminator_learning_rate=100 * recipe.optimizer.discriminator_learning_rate,
        optimizer__generator_learning_rate=100 * recipe.optimizer.generator_learning_rate,
    )
    run = tmp_path / "run"
    ended = command("train", tmp_path / "cats", "--recipe", "quick-64", "-o", run, *words)
    assert ended.code == 3, ended
    assert len(ended.error.splitlines()) == 1
    assert "training collapsed" in ended.error or "training diverged" in ended.error
