"""Transfer: distance of photos to the source, and the recipe for their number."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from catgan.config import load_recipe
from catgan.data.dataset.dataset import Dataset
from catgan.data.dataset.image_records import ImageRecords
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.networks.build import build_generator
from catgan.runs.sampler import Sampler
from catgan.training import transfer
from catgan.training.starting_point import StartingPoint

CPU = torch.device("cpu")
RECIPE = load_recipe("transfer")


@pytest.fixture
def untrained(projected_config, monkeypatch, tmp_path):
    monkeypatch.setattr(transfer, "SAMPLES", 16)
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))
    torch.manual_seed(0)
    reals = torch.rand(64, 3, 64, 64) * 2 - 1
    generator = build_generator(projected_config.network, [reals])
    return StartingPoint(projected_config.network, generator.state_dict(), None, [])


def distance(source, dataset):
    return transfer.distance_to_source(source, dataset, CPU, lambda *_: None)


def test_samples_of_the_source_have_distance_zero(untrained, tmp_path, cats_64):
    generator = build_generator(untrained.network)
    generator.load_state_dict(untrained.generator)
    own = Sampler(generator, untrained.network, CPU)(np.arange(1000, 1016))
    records = ImageRecords.of(
        dataclasses.replace(each, split="train") for each in cats_64.records[:16]
    )
    itself = dataclasses.replace(cats_64, images=own, records=records, identity="0" * 64)
    assert abs(distance(untrained, itself)) < 0.1 * distance(untrained, cats_64)


def test_larger_photos_are_reduced_to_the_source_resolution(untrained, cats_64):
    images = np.asarray(cats_64.images).repeat(2, 1).repeat(2, 2)
    larger = dataclasses.replace(cats_64, images=images, resolution=128, identity="1" * 64)
    assert distance(untrained, larger) == pytest.approx(distance(untrained, cats_64), rel=1e-6)


def test_too_few_photos_have_no_distance(untrained, tmp_path):
    write_procedural_cats(tmp_path / "cats", 4, 64)
    assert distance(untrained, Dataset.open(tmp_path / "cats")) is None


def test_a_large_distance_is_noted():
    assert "training takes long" in transfer.describe_distance(0.175, "catgan cats")
    near = transfer.describe_distance(0.044, "catgan cats")
    assert "it takes long" not in near
    assert "catgan cats" in near
    assert "0.044" in near


@pytest.mark.parametrize("photos", [12, 60, 999])
def test_with_few_photos_a_run_may_stop_early(photos):
    config = transfer.fit_to_photos(RECIPE, photos)
    assert 0 < config.training.early_stopping_images < config.training.images
    said = transfer.describe_choice(config, photos, may_stop=True)
    assert said.startswith(f"{photos} photos: ")
    assert "held-out" in said
    assert "held-out" not in transfer.describe_choice(config, photos, may_stop=False)


def test_with_many_photos_a_run_does_not_stop_early():
    config = transfer.fit_to_photos(RECIPE, 5000)
    assert config.training.early_stopping_images == 0
    assert "5,000 photos" in transfer.describe_choice(config, 5000, may_stop=True)


def test_under_thirty_photos_a_note_says_what_to_expect():
    said = [
        transfer.describe_choice(transfer.fit_to_photos(RECIPE, n), n, may_stop=True)
        for n in (29, 30)
    ]
    assert "fewer than 30" in said[0]
    assert "fewer than 30" not in said[1]
