"""Initialization: each image once, with progress, and none on resume."""

from __future__ import annotations

import pytest
import torch

from catgan.config import load_recipe, override
from catgan.training import initialize
from catgan.training.initialize import initial_networks

CPU = torch.device("cpu")
SETTINGS = [
    "network.resolution=64",
    "network.channels=8",
    "network.maximum_channels=16",
    "network.latent_size=8",
]


def config_of(recipe="projected-128"):
    return override(load_recipe(recipe), SETTINGS)


def build(images, count, recipe="projected-128", progress=None):
    reports = progress or (lambda *_: None)
    return initial_networks(config_of(recipe), CPU, torch.float32, images, count, reports)


def random_images(first, count):
    generators = [torch.Generator().manual_seed(seed) for seed in range(first, first + count)]
    return torch.stack([torch.rand(3, 64, 64, generator=each) * 2 - 1 for each in generators])


@pytest.mark.parametrize("count", [5, 20, 70])
def test_each_network_requests_each_image_once(monkeypatch, count):
    monkeypatch.setattr(initialize, "EIGENFACE_IMAGES", 50)
    monkeypatch.setattr(initialize, "STATISTICS_IMAGES", 12)
    monkeypatch.setattr(initialize, "_CHUNK", 16)
    requested, reports = [], []

    def images(first, number):
        requested.extend(range(first, first + number))
        return random_images(first, number)

    build(images, count, progress=lambda *call: reports.append(call))
    assert requested == [*range(min(count, 50)), *range(min(count, 12))]
    eigenfaces = [(done, total) for what, done, total in reports if "eigenfaces" in what]
    assert eigenfaces[-1] == (min(count, 50), min(count, 50))
    assert [done for done, _ in eigenfaces] == sorted({done for done, _ in eigenfaces})
    assert any("features" in what for what, *_ in reports)


def test_without_images_networks_have_the_right_shapes(monkeypatch):
    """The state that is loaded later holds all statistics of images."""
    generator, discriminator = build(None, 20, progress=pytest.fail)
    learned = build(random_images, 20)
    z, images = torch.randn(2, 8), random_images(90, 2)
    for ours, theirs in zip((generator, discriminator), learned, strict=True):
        ours.load_state_dict(theirs.state_dict())
        assert ours.eval() is ours
        theirs.eval()
    with torch.no_grad():
        assert torch.equal(generator(z), learned[0](z))
        for x, y in zip(discriminator.features(images), learned[1].features(images), strict=True):
            assert torch.equal(x, y)


@pytest.mark.parametrize("recipe", ["lsgan-64", "dcgan-128"])
def test_classic_families_request_no_images(recipe):
    def images(first, count):
        pytest.fail("asked for images")

    build(images, 20, recipe)


def test_initial_networks_are_a_function_of_seed_and_images():
    one, same = build(random_images, 8), build(random_images, 8)
    other = initial_networks(
        override(config_of(), ["training.seed=1"]),
        CPU,
        torch.float32,
        random_images,
        8,
        lambda *_: None,
    )
    for a, b, c in zip(one, same, other, strict=True):
        states = [network.state_dict() for network in (a, b, c)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])
