"""The correction of coefficients: dependences it learns, against scipy's distances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from catgan.network_config import ProjectedConfig
from catgan.networks.build import build_generator
from catgan.networks.projected import correction as module
from catgan.networks.projected.correction import Correction, energy_distance
from catgan.networks.projected.eigenfaces import Eigenfaces

COUNT = 3


def independent(count, seed):
    return torch.randn(count, COUNT, generator=torch.Generator().manual_seed(seed))


def dependent(count, seed):
    """Return coefficients of mean 0 and std 1, uncorrelated, the second large where the first is.

    In the plane of both they lie along a parabola.
    """
    coefficients = independent(count, seed)
    curve = (coefficients[:, 0].square() - 1) / 2**0.5
    coefficients[:, 1] = 0.8 * curve + 0.6 * coefficients[:, 1]
    return coefficients


def to_images(coefficients):
    """Return images (B, 3, 8, 8) of stripes and patches as strong as the coefficients."""
    basis = torch.randn(COUNT, 3 * 8 * 8, generator=torch.Generator().manual_seed(5))
    return (0.2 * coefficients @ basis).unflatten(1, (3, 8, 8))


@pytest.fixture(scope="module")
def learned():
    correction = Correction(COUNT, 32)
    progress = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH_SIZE", 256)
        patch.setattr(module, "LEARNING_RATE", 1e-2)
        patch.setattr(module, "STEPS", 200)
        correction.learn(
            independent(4_000, 1), dependent(4_000, 2), to_images,
            on_progress=lambda *step: progress.append(step),
        )  # fmt: skip
    assert progress == [(step, 200) for step in range(1, 201)]
    return correction


def test_nothing_changes_before_it_learns():
    coefficients = independent(10, 0)
    assert torch.equal(Correction(COUNT, 4)(coefficients), coefficients)


def test_energy_distance_equals_that_of_scipys_distances():
    a, b = independent(40, 1).double(), 1.5 * dependent(30, 2).double() + 0.3
    within = [cdist(x, x)[~np.eye(len(x), dtype=bool)].mean() for x in (a, b)]
    expected = 2 * cdist(a, b).mean() - sum(within)
    # On the diagonal, ours has the square root of the lower limit for a distance of 0.
    assert energy_distance(a, b).item() == pytest.approx(expected, rel=2e-3)


def test_energy_distance_is_0_on_average_between_samples_of_one_distribution():
    found = [
        energy_distance(independent(50, seed), independent(50, seed + 1_000)).item()
        for seed in range(200)
    ]
    error = np.std(found) / len(found) ** 0.5
    assert abs(np.mean(found)) < 3 * error + 1e-4
    assert np.mean(found) < 0.1 * energy_distance(independent(50, 1), independent(50, 2) + 0.5)


def test_it_learns_a_dependence_between_uncorrelated_coefficients(learned):
    """Of coefficients that it has not seen; the real ones here are new, too."""
    before, real = independent(3_000, 11), dependent(3_000, 12)
    after = learned(before)
    relation = [np.corrcoef(x[:, 0].square(), x[:, 1])[0, 1] for x in (before, after, real)]
    assert abs(relation[0]) < 0.05
    assert relation[2] > 0.7
    assert relation[1] > 0.5 * relation[2]
    assert energy_distance(after, real) < 0.4 * energy_distance(before, real)
    torch.testing.assert_close(after.std(0), torch.ones(COUNT), rtol=0, atol=0.2)
    torch.testing.assert_close(after.mean(0), torch.zeros(COUNT), rtol=0, atol=0.15)


def test_what_is_distributed_alike_stays_almost_as_it_is(monkeypatch):
    monkeypatch.setattr(module, "BATCH_SIZE", 256)
    monkeypatch.setattr(module, "STEPS", 60)
    correction = Correction(COUNT, 16)
    correction.learn(dependent(4_000, 1), dependent(4_000, 2), to_images)
    coefficients = dependent(1_000, 3)
    assert (correction(coefficients) - coefficients).square().mean().sqrt() < 0.1


def test_learning_again_gives_the_same(learned, monkeypatch):
    monkeypatch.setattr(module, "BATCH_SIZE", 32)
    monkeypatch.setattr(module, "STEPS", 3)
    twice = []
    for correction in (Correction(COUNT, 8), Correction(COUNT, 8)):
        for _ in range(2):  # what it had learned before does not count
            correction.learn(independent(200, 1), dependent(200, 2), to_images)
        twice.append(correction.state_dict())
    assert all(torch.equal(twice[0][name], tensor) for name, tensor in twice[1].items())
    assert any(tensor.abs().max() > 0 for tensor in twice[0].values())


# -- in eigenfaces and in the generator ------------------------------------------------------------


@pytest.fixture
def eigenfaces(learned):
    torch.manual_seed(0)
    faces = Eigenfaces(32, COUNT + 1, correction_width=32)
    faces.learn([torch.rand(50, 3, 32, 32) - 0.5])
    faces.correction.load_state_dict(learned.state_dict())
    return faces


def test_images_are_corrected_at_inference_only(eigenfaces, learned):
    style = torch.randn(20, COUNT + 1)
    details = torch.zeros(20, 3, 32, 32)

    def generated(correction):
        eigenfaces.eval()
        eigenfaces.correction = correction
        images = eigenfaces(style, details)
        return eigenfaces.coefficients_of(images)

    expected = learned(generated(None))
    torch.testing.assert_close(generated(learned), expected, rtol=0, atol=0.02)
    assert (expected - generated(None)).abs().max() > 0.1
    images = []
    for correction in (None, learned):
        eigenfaces.train().correction = correction
        images.append(eigenfaces(style, details))
    assert torch.equal(*images)


def test_training_does_not_touch_it():
    config = ProjectedConfig(32, 8, 4, 8, coefficient_correction=4)
    names = {name for name, _ in build_generator(config).named_parameters()}
    assert not [name for name in names if "correction" in name]
    assert len([n for n in build_generator(config).state_dict() if "correction" in n]) == 6


def test_a_generator_without_one_says_so():
    generator = build_generator(ProjectedConfig(32, 8, 4, 8))
    with pytest.raises(ValueError, match="no correction"):
        generator.learn_correction(torch.randn(4, 8), [], print)
