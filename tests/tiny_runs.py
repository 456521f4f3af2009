"""A tiny dataset and tiny recipes, as fixtures: a whole training run in about a second."""

from __future__ import annotations

import pytest
from processors import PLAIN, PROBED, seen_as

from catgan.config import load_recipe, override
from catgan.data.dataset.dataset import Dataset
from catgan.data.synthetic.procedural import write_procedural_cats

TINY = [
    "network.resolution=32",
    "network.channels=8",
    "network.maximum_channels=16",
    "network.latent_size=8",
    "training.batch_size=8",
    "training.images=320",
    "output.log_images=40",
    "output.grid_images=160",
    "output.checkpoint_images=80",
    "output.grid_seeds=4",
    "output.score_samples=0",
]

TINY_PROJECTED = [
    *TINY,
    "network.resolution=64",
    "training.batch_size=4",
    "training.images=24",
    "output.log_images=8",
    "output.grid_images=12",
    "output.checkpoint_images=12",
]


@pytest.fixture(scope="session")
def cats(tmp_path_factory) -> Dataset:
    path = tmp_path_factory.mktemp("data") / "cats"
    write_procedural_cats(path, 60, 32)
    return Dataset.open(path)


@pytest.fixture(params=[("lsgan-64", PROBED), ("dcgan-128", PLAIN)], ids=["lsgan-64", "dcgan-128"])
def tiny_config(request):
    """A run of either classic family, one in the precision of this machine, one in float32."""
    recipe, kind = request.param
    with seen_as(kind) as precision:
        yield override(load_recipe(recipe), [*TINY, precision])


@pytest.fixture(scope="session")
def cats_64(tmp_path_factory) -> Dataset:
    path = tmp_path_factory.mktemp("data") / "cats-64"
    write_procedural_cats(path, 20, 64)
    return Dataset.open(path)


@pytest.fixture
def projected_config(monkeypatch, processor):
    """A projected run of six steps, its features standardized on eight images, calibrated on 64."""
    monkeypatch.setattr("catgan.training.initialize.STATISTICS_IMAGES", 8)
    monkeypatch.setattr("catgan.runs.sampler.CALIBRATION_SEEDS", range(100, 164))
    return override(load_recipe("projected-128"), [*TINY_PROJECTED, processor])
