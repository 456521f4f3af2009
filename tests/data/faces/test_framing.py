from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from catgan.data.faces.framing import (
    CROP_PER_BOX,
    DROP_PER_BOX,
    Frame,
    crop_box,
    crop_frame,
    frame_of_box,
    outside_fraction,
    shrink_to_photo,
)


def picture(seed: int, width: int, height: int) -> np.ndarray:
    """Return an image of smooth colors, which interpolation changes little."""
    noise = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def test_upright_frame_of_whole_pixels_is_copied():
    photo = picture(0, 90, 70)
    np.testing.assert_array_equal(crop_frame(photo, Frame(45, 31, 40, 0), 40), photo[11:51, 25:65])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_match_numpy(quarters):
    photo = picture(1, 64, 64)
    # A face rotated clockwise by 90 degrees is rotated back counter-clockwise, like rot90.
    found = crop_frame(photo, Frame(32, 32, 64, 90 * quarters), 64)
    np.testing.assert_allclose(found, np.rot90(photo, quarters), atol=1)


def test_tilted_image_is_rotated_upright():
    photo = picture(2, 201, 201)
    tilted = np.asarray(Image.fromarray(photo).rotate(-20, Image.Resampling.BICUBIC))  # clockwise
    found = crop_frame(tilted, Frame(100.5, 100.5, 80, 20), 80).astype(int)
    expected = crop_frame(photo, Frame(100.5, 100.5, 80, 0), 80)
    assert np.abs(found - expected).mean() < 1.5
    assert (
        np.abs(crop_frame(tilted, Frame(100.5, 100.5, 80, -20), 80) - expected.astype(int)).mean()
        > 15
    )


def test_downscaling_is_antialiased():
    checks = np.indices((256, 256)).sum(axis=0) % 2 * 255
    photo = np.repeat(checks[:, :, None], 3, axis=2).astype(np.uint8)
    assert np.ptp(crop_frame(photo, Frame(128, 128, 192, 0), 32)[4:-4, 4:-4].astype(int)) <= 2


def test_outside_is_filled_by_reflection():
    photo = picture(3, 60, 60)
    found = crop_frame(photo, Frame(20, 30, 60, 0), 60)
    np.testing.assert_array_equal(found[:, 10:], photo[:, :50])
    np.testing.assert_array_equal(found[:, :10], photo[:, 10:0:-1])


def test_outside_fraction():
    assert outside_fraction(Frame(50, 50, 100, 0), 100, 100) == 0
    assert outside_fraction(Frame(50, 50, 100, 45), 100, 100) == pytest.approx(0.1716, abs=0.005)
    assert outside_fraction(Frame(0, 50, 50, 0), 100, 100) == pytest.approx(0.5)
    assert outside_fraction(Frame(0, 0, 50, 0), 100, 100) == pytest.approx(0.75)


def test_shrink_to_photo():
    assert shrink_to_photo(Frame(50, 50, 90, 0), 100, 100).side == 90
    assert shrink_to_photo(Frame(50, 50, 108, 0), 100, 100).side == pytest.approx(108 * 0.94)
    far = shrink_to_photo(Frame(10, 50, 80, 5), 100, 100)
    assert far == Frame(10, 50, pytest.approx(80 * 0.88), 5)


def test_frame_of_box():
    frame = frame_of_box(100, 200, 50, 0)
    assert frame == Frame(100, pytest.approx(200 + 50 * DROP_PER_BOX), 50 * CROP_PER_BOX, 0)
    # "Down" rotates with the face: to the left, if the face is rotated clockwise by 90 degrees.
    turned = frame_of_box(100, 200, 50, 90)
    assert (turned.x, turned.y) == (pytest.approx(100 - 50 * DROP_PER_BOX), pytest.approx(200))


def test_crop_box_is_inside_the_photo():
    assert crop_box(Frame(50, 40, 20.5, 0), 100, 80) == (39, 29, 61, 51)
    assert crop_box(Frame(0, 0, 20, 30), 100, 80)[:2] == (0, 0)
    assert crop_box(Frame(99, 79, 50, 30), 100, 80)[2:] == (100, 80)


def test_panorama_wider_than_opencv_supports():
    photo = np.zeros((40, 40_000, 3), dtype=np.uint8)
    photo[:, 39_960:] = picture(4, 40, 40)
    np.testing.assert_array_equal(
        crop_frame(photo, Frame(39_980, 20, 40, 0), 40), picture(4, 40, 40)
    )
