"""The loss on eyes' colors against a plain computation, and what it does to a mismatched pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from catgan.training.eye_colors import (
    EyeColorLoss,
    eye_color_loss,
    eye_features,
    statistics_of_photos,
)

SIDE = 64
ORANGE, GREEN = (200.0, 140.0, 40.0), (120.0, 160.0, 60.0)


def faces(count, seed=0, side=SIDE):
    """Gray noise with two irises of nearly one color, from orange to green."""
    rng = np.random.default_rng(seed)
    images = rng.normal(110, 8, (count, 3, side, side))
    share = rng.uniform(0, 1, (count, 1))
    colors = share * ORANGE + (1 - share) * GREEN
    paint(images, *(colors + rng.normal(0, 5, colors.shape) for _ in range(2)))
    return torch.tensor(images, dtype=torch.float32).clamp(0, 255)


def paint(images, left, right):
    u = images.shape[-1] // 32
    rows = slice(14 * u, 16 * u)
    for columns, color in ((slice(10 * u, 12 * u), left), (slice(20 * u, 22 * u), right)):
        images[:, :, rows, columns] = np.asarray(color, dtype=np.float64)[:, :, None, None]


def mismatched(count, seed=1):
    images = faces(count, seed).numpy()
    jitter = np.random.default_rng(seed).normal(0, 5, (2, count, 3))
    paint(images, ORANGE + jitter[0], GREEN + jitter[1])
    return torch.tensor(images)


def plain_features(image):
    """Those of the left eye of one image (3, 128, 128), pixel by pixel."""
    pixels = [image[:, y, x].astype(np.float64) for y in range(48, 74) for x in range(30, 60)]
    colors = [((r + g + b) / 3, r - g, (r + g) / 2 - b) for r, g, b in pixels]
    numbers = []
    for likeness in (
        [c[2] for c in colors], [-c[1] for c in colors],
        [-c[0] for c in colors], [c[0] for c in colors],
    ):  # fmt: skip
        weights = [np.exp(value / 8) for value in likeness]
        for channel in range(3):
            weighted = (w * c[channel] for w, c in zip(weights, colors, strict=True))
            numbers.append(sum(weighted) / sum(weights))
        numbers.append(8 * np.log(sum(weights)))
    return np.array(numbers)


def test_features_are_those_of_a_plain_computation():
    images = np.random.default_rng(0).uniform(0, 255, (2, 3, 128, 128)).astype(np.float32)
    left, right = eye_features(torch.from_numpy(images))
    for row, image in enumerate(images):
        np.testing.assert_allclose(left[row], plain_features(image), rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(
            right[row], plain_features(image[..., ::-1]), rtol=1e-4, atol=1e-3
        )


def test_a_mirror_image_exchanges_the_eyes():
    images = mismatched(3)
    left, right = eye_features(images)
    for mirrored, other in zip(eye_features(images.flip(3)), (right, left), strict=True):
        torch.testing.assert_close(mirrored, other)
    assert (left - right).abs().max() > 20  # levels: orange is redder than green


def test_the_loss_is_that_of_a_plain_computation():
    photos, images = faces(200).double(), mismatched(7).double()
    statistics = statistics_of_photos(photos.float().split(64))

    def forms(faces):
        left, right = (each.numpy() for each in eye_features(faces))
        return (left + right) / 2, left - right

    (real, apart), (both, difference) = forms(photos), forms(images)
    expected = 0.0
    for numbers, mean, variance in (
        (both, real.mean(0), real.var(0)),
        (difference, 0, np.square(apart).mean(0)),
    ):
        variance = np.maximum(variance, 1)  # none is taken for less than one level squared
        own = np.maximum(numbers.var(0, ddof=1), 1)
        expected += ((np.square(numbers.mean(0) - mean) - own / len(numbers)) / variance).sum()
        expected += np.square(np.sqrt(own / variance) - 1).sum()
    assert eye_color_loss(images.float(), statistics).item() == pytest.approx(expected, rel=1e-3)


def test_photos_are_read_once_each_and_in_the_range_of_the_networks():
    images, asked = faces(100), []

    def load(first, count):
        asked.append((first, count))
        return images[first : first + count] / 127.5 - 1, torch.zeros(0)

    loss = EyeColorLoss(0.5, (-1.0, 1.0), load, 100)
    assert asked == [(0, 64), (64, 36)]
    others = mismatched(8)
    expected = 0.5 * eye_color_loss(others, statistics_of_photos([images]))
    torch.testing.assert_close(loss(others / 127.5 - 1), expected, rtol=1e-3, atol=0)


def test_without_a_weight_no_photo_is_read():
    assert EyeColorLoss(0.0, (-1.0, 1.0), None, 100)(faces(2)) == 0


@pytest.mark.parametrize("batch_size", [4, 32])
def test_the_expected_loss_of_photos_does_not_depend_on_the_batch_size(batch_size):
    """Biased moments would add 32 / batch_size, and so ask for less variety than photos have."""
    images = faces(1280)
    statistics = statistics_of_photos([images])
    losses = [eye_color_loss(batch, statistics).item() for batch in images.split(batch_size)]
    only_of_stds = 32 / (2 * batch_size)  # the variance of a standard deviation
    assert np.mean(losses) == pytest.approx(0, abs=1.5 * only_of_stds)


def test_eyes_of_two_colors_cost_more_than_photos():
    statistics = statistics_of_photos([faces(500)])
    of_photos = eye_color_loss(faces(500, seed=2), statistics)
    assert of_photos < 1
    assert eye_color_loss(mismatched(500), statistics) > 20 * of_photos


def test_descent_makes_the_colors_of_the_eyes_agree():
    statistics = statistics_of_photos([faces(500)])
    images = mismatched(32).requires_grad_()

    def mismatch():
        left, right = eye_features(images.detach())
        return (left - right)[:, 1].mean().abs()  # red minus green of the yellowest pixels

    before = mismatch()
    optimizer = torch.optim.Adam([images], 1.0)  # one level a step
    for _ in range(30):
        optimizer.zero_grad()
        eye_color_loss(images, statistics).backward()
        optimizer.step()
    assert mismatch() < before / 2


def test_images_that_are_all_the_same_have_a_finite_gradient():
    statistics = statistics_of_photos([faces(20)])
    images = torch.zeros(4, 3, SIDE, SIDE, requires_grad=True)
    eye_color_loss(images, statistics).backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()


@pytest.mark.parametrize("side", [32, 64, 128, 256])
def test_windows_scale_with_the_image(side):
    """The painted irises are found at any size: the yellowest pixels are theirs."""
    images = np.full((2, 3, side, side), 110.0)
    paint(images, [ORANGE, GREEN], [ORANGE, GREEN])
    left, _ = eye_features(torch.tensor(images))
    assert left[:, 1].tolist() == pytest.approx([60, -40], abs=1)
