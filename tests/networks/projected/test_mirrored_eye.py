"""The mirrored eye against a plain computation, and axes of faces that are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from catgan.errors import CatganError
from catgan.network_config import ProjectedConfig
from catgan.networks.projected import mirrored_eye
from catgan.networks.projected.mirrored_eye import (
    UNITS,
    AxisFinder,
    MirroredEye,
    seen,
    symmetry_axes,
)


def layer_at(side, tilt, position):
    """A layer that takes every face to have this axis, in degrees and 128ths of the side."""
    layer = MirroredEye(side)
    layer.finder.bias4 += torch.tensor([tilt, position]) / torch.tensor(UNITS)
    return layer


def noise(count, side, seed=0):
    """Smooth random images in [-1, 1]."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 1, (count, 3, side, side))
    blurred = [[cv2.GaussianBlur(channel, (0, 0), 1.5) for channel in each] for each in images]
    return torch.tensor(np.array(blurred), dtype=torch.float32).mul(2).tanh()


def faces(axes, seed=0):
    """Noise of 64 px that is symmetric at each of the axes, with a little noise that is not."""
    images = noise(len(axes), 64, seed)
    images = images + images.flip(3)
    images = torch.stack([turned(each, *axis) for each, axis in zip(images, axes, strict=True)])
    return images + 0.1 * noise(len(axes), 64, seed + 1)


def turned(image, tilt, position):
    """An image (3, 64, 64), turned about the middle between the eyes, and moved."""
    # OpenCV's angles are counterclockwise; here the right side goes down.
    matrix = cv2.getRotationMatrix2D((31.5, (mirrored_eye.EYE_HEIGHT - 1) / 2), -tilt, 1)
    matrix[0, 2] += position / 2
    image = image.permute(1, 2, 0).numpy()
    image = cv2.warpAffine(image, matrix, (64, 64), borderMode=cv2.BORDER_REFLECT)
    return torch.tensor(image).permute(2, 0, 1)


def plainly_mirrored(image, tilt, position):
    """One image (3, side, side), pixel by pixel."""
    side = image.shape[-1]
    unit = side / 128
    drop, shift = np.radians(tilt) * 20 * unit, position * unit
    result = image.copy()
    for y in range(side):
        for x in range(side):
            right = (side - 1) / 2 + 20 * unit + shift, 61.5 * unit - 0.5 + drop
            ellipse = ((x - right[0]) / (14.5 * unit)) ** 2 + ((y - right[1]) / (13.0 * unit)) ** 2
            share = min(max((1 - ellipse) / 0.9 + 0.5, 0), 1)
            if share:
                across, down = side - 1 - (x - 2 * shift), y - 2 * drop
                left, top = int(np.floor(across)), int(np.floor(down))
                a, b = across - left, down - top
                mirrored = sum(
                    weight * image[:, top + i, left + j]
                    for i, j, weight in (
                        (0, 0, (1 - a) * (1 - b)), (0, 1, a * (1 - b)),
                        (1, 0, (1 - a) * b), (1, 1, a * b),
                    )
                )  # fmt: skip
                result[:, y, x] = (1 - share) * image[:, y, x] + share * mirrored
    return result


@pytest.mark.parametrize(("side", "tilt", "position"), [(64, 0, 0), (128, 7.3, -4.1)])
def test_images_are_those_of_a_plain_computation(side, tilt, position):
    images = noise(2, side)
    found = layer_at(side, tilt, position)(images)
    for image, expected in zip(found, images.numpy(), strict=True):
        np.testing.assert_allclose(
            image, plainly_mirrored(expected, tilt, position), rtol=0, atol=2e-5
        )


def test_only_the_right_eye_changes_and_becomes_the_left_one():
    images = noise(2, 128)
    found = layer_at(128, 0, 0)(images)
    changed = (found != images).any(1).any(0)
    rows, columns = (torch.nonzero(changed.any(axis)).flatten() for axis in (1, 0))
    assert rows.min() >= 45
    assert rows.max() <= 77
    assert columns.min() >= 66
    assert columns.max() <= 101
    eye = (slice(None), slice(None), slice(55, 67), slice(77, 91))
    torch.testing.assert_close(found[eye], images.flip(3)[eye])


def test_symmetric_images_pass_unchanged():
    images = noise(2, 64)
    images = (images + images.flip(3)) / 2
    torch.testing.assert_close(layer_at(64, 0, 0)(images), images, rtol=0, atol=1e-6)


def test_an_image_of_twice_the_size_becomes_the_same():
    small = noise(1, 64)
    large = F.interpolate(small, scale_factor=2, mode="bilinear")
    found = F.avg_pool2d(layer_at(128, 5, 3)(large), 2)
    expected = F.avg_pool2d(large, 2)
    expected = layer_at(64, 5, 3)(expected)
    assert (found - expected).abs().max() < 0.1 < (found - small).abs().max()


def test_gradients_reach_the_images_but_no_weight():
    layer = layer_at(64, 3, 2)
    assert not list(layer.parameters())
    images = noise(1, 64).requires_grad_()
    layer(images)[..., 50].sum().backward()
    assert images.grad[..., 13:17].abs().sum() > 0  # mirrored, and moved


AXES = [(-8, 2), (-4, 0), (0, 0), (0, 5), (2, -6), (6, 3), (10, -2)]


def test_the_axes_of_symmetric_faces_are_found():
    axes, correlation = symmetry_axes(faces(AXES))
    assert (axes - torch.tensor(AXES, dtype=torch.float32)).abs().max() <= 2  # a step, or its half
    assert correlation.min() > 0.6
    _, without = symmetry_axes(noise(8, 64, 5))
    assert without.max() < 0.5


def test_the_finder_learns_axes_from_photos_alone(monkeypatch):
    for name, value in {
        "STEPS": 80, "BATCH_SIZE": 24, "TILTS": range(-16, 17, 4), "POSITIONS": range(-10, 11, 2)
    }.items():  # fmt: skip
        monkeypatch.setattr(mirrored_eye, name, value)
    rng = np.random.default_rng(1)
    axes = np.stack([rng.normal(0, 5, 128), rng.normal(0, 3, 128)], 1).round(1)
    # All of one face, as cats' faces are alike.
    face = faces([(0, 0)]).expand(len(axes), -1, -1, -1)
    photos = torch.stack([turned(each, *axis) for each, axis in zip(face, axes, strict=True)])
    finder, done = AxisFinder(), []
    state = torch.get_rng_state()
    finder.learn(photos.split(50), on_progress=lambda *each: done.append(each))
    assert torch.equal(torch.get_rng_state(), state)
    assert done[-1] == (80, 80)
    assert not list(finder.parameters())
    error = (finder(photos) * torch.tensor(UNITS) - torch.tensor(axes)).abs().mean(0)
    usual = torch.tensor(np.abs(axes).mean(0))
    assert (error < usual / 2).all(), (error, usual)

    again = AxisFinder()
    again.learn([photos])
    for name, buffer in again.named_buffers():
        assert torch.equal(buffer, finder.get_buffer(name)), name


def test_images_of_any_size_are_seen_at_64_pixels():
    assert seen(torch.ones(2, 3, 256, 256)).shape == (2, 3, 64, 64)


def test_smaller_images_have_no_mirrored_eye():
    ProjectedConfig(64, mirrored_eye=True)
    with pytest.raises(CatganError, match=r"needs 64 px or more, and network\.resolution is 32"):
        ProjectedConfig(32, mirrored_eye=True)
