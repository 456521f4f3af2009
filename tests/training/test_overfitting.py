from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from catgan.data.dataset.dataset import Dataset
from catgan.data.dataset.image_records import ImageRecords
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.network_config import DcganConfig, ProjectedConfig
from catgan.networks.build import build_discriminator
from catgan.training.overfitting import MAX_IMAGES, OverfittingMonitor, overfitting

CPU = torch.device("cpu")
LOGIT = -50.0  # of generated images, lower than any of a real image


@pytest.mark.parametrize(
    ("held_out", "expected"), [(3.0, 0.0), (1.0, 1.0), (2.0, 0.5), (4.0, -0.5)]
)
def test_r_v_of_held_out_images(held_out, expected):
    assert overfitting(3.0, 1.0, held_out) == expected


@pytest.mark.parametrize("generated", [3.0, 4.0])
def test_no_ratio_if_training_images_have_no_higher_logits(generated):
    assert overfitting(3.0, generated, 2.0) is None


@pytest.fixture(scope="module")
def cats(tmp_path_factory):
    path = tmp_path_factory.mktemp("cats") / "cats"
    write_procedural_cats(path, 60, 64)
    dataset = Dataset.open(path)
    assert 1 < len(dataset.indices("holdout")) < MAX_IMAGES
    return dataset


@pytest.fixture(scope="module")
def discriminator():
    torch.manual_seed(0)
    reals = torch.rand(16, 3, 64, 64) * 2 - 1
    config = ProjectedConfig(64, feature_resolution=128)
    return build_discriminator(config, lambda: reals, torch.float32)


def test_the_monitor_uses_held_out_images(cats, discriminator):
    monitor = OverfittingMonitor(cats, discriminator, discriminator, CPU)
    found = []
    for split in ("train", "holdout"):
        pixels = np.asarray(cats.images[cats.indices(split)[:MAX_IMAGES]])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
        with torch.no_grad():
            found.append(discriminator(discriminator.features(images)).mean().item())
    expected = (found[0] - found[1]) / (found[0] + 50)
    assert expected != 0
    assert monitor.measure(LOGIT)["overfitting"] == pytest.approx(expected, rel=0.01)


def test_no_ratio_without_held_out_images(cats, discriminator):
    records = ImageRecords.of(dataclasses.replace(record, split="train") for record in cats.records)
    cats = dataclasses.replace(cats, records=records)
    assert OverfittingMonitor(cats, discriminator, discriminator, CPU).measure(LOGIT) == {}


def test_no_ratio_for_networks_with_batch_normalization(cats):
    discriminator = build_discriminator(DcganConfig(64), None, torch.float32)
    before = {name: tensor.clone() for name, tensor in discriminator.state_dict().items()}
    assert OverfittingMonitor(cats, discriminator, discriminator, CPU).measure(LOGIT) == {}
    assert all(torch.equal(before[n], t) for n, t in discriminator.state_dict().items())
