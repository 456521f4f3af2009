from __future__ import annotations

import threading

import numpy as np
import pytest
from faces_photos import photo_of
from PIL import Image

from catgan.data.faces.cascade import (
    EXTENDED,
    PLAIN,
    Box,
    CascadeDetector,
    Pass,
    group_windows,
    mean_box,
    non_maximum_suppression,
)
from catgan.data.synthetic.procedural import render_cat

CATS = (2, 8, 13)  # procedural cats that the cascades detect well


@pytest.fixture(scope="module")
def detector() -> CascadeDetector:
    return CascadeDetector()


def test_boxes_are_at_the_faces(detector):
    whole = detector.find(render_cat(8, 256))[0]
    found = detector.find(photo_of((8, 30, 60, 192), (13, 260, 40, 160)))
    assert len(found) >= 2
    first, second = sorted(found[:2], key=lambda box: box.x)
    assert first.evidence > 3
    assert second.evidence > 3
    assert first.x == pytest.approx(30 + whole.x * 192 / 256, abs=8)
    assert first.y == pytest.approx(60 + whole.y * 192 / 256, abs=8)
    assert first.side == pytest.approx(whole.side * 192 / 256, rel=0.15)
    assert 300 < second.x < 380


def test_boxes_are_in_pixels_of_the_photo(detector):
    small = photo_of((8, 30, 60, 192))
    large = np.asarray(Image.fromarray(small).resize((2400, 1600), Image.Resampling.BICUBIC))
    one, five = detector.find(small)[0], detector.find(large)[0]
    assert (five.x, five.y, five.side) == pytest.approx(
        (5 * one.x, 5 * one.y, 5 * one.side), rel=0.05
    )


@pytest.mark.parametrize("angle", [-25, 20])
def test_angle_of_a_tilted_face(detector, angle):
    tilted = Image.fromarray(photo_of((8, 140, 60, 200))).rotate(
        -angle, Image.Resampling.BICUBIC, fillcolor=(120, 120, 120)
    )
    box = detector.find(np.asarray(tilted))[0]
    assert box.angle == pytest.approx(angle, abs=6)
    assert np.hypot(box.x - 240, box.y - 160) < 40


def test_photos_without_a_face(detector):
    assert detector.find(np.full((300, 400, 3), 200, np.uint8)) == []
    assert detector.find(np.zeros((20, 400, 3), np.uint8)) == []
    assert detector.find(np.zeros((1, 1, 3), np.uint8)) == []


def test_detector_is_thread_safe(detector):
    photos = [photo_of((index, 30, 60, 192)) for index in CATS] * 2
    sequential = [detector.find(photo) for photo in photos]
    concurrent: list = [None] * len(photos)

    def detect(number: int) -> None:
        concurrent[number] = detector.find(photos[number])

    threads = [threading.Thread(target=detect, args=(number,)) for number in range(len(photos))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert concurrent == sequential


def test_passes_can_be_chosen():
    photo = photo_of((8, 30, 60, 192))
    assert CascadeDetector((Pass(PLAIN, 0, False),)).find(photo)
    assert CascadeDetector((Pass(EXTENDED, 0, True),)).find(photo)


def test_group_windows():
    rng = np.random.default_rng(0)
    windows = np.zeros((30, 5))
    windows[:20, :3] = rng.normal((100, 100, 50), 2, (20, 3))
    windows[20:29, :3] = rng.normal((300, 80, 60), 2, (9, 3))
    windows[29, :3] = (108, 108, 20)  # within the first face, of another size: a nose
    groups = group_windows(windows[rng.permutation(30)])
    assert [len(group) for group in groups] == [20, 9]
    assert mean_box(groups[0]).x == pytest.approx(100, abs=2)
    assert group_windows(np.empty((0, 5))) == []


def test_mean_box_is_weighted_by_confidence():
    windows = np.array([[10, 10, 40, 0, -1.0], [20, 10, 40, 10, 3.0]])
    box = mean_box(windows)
    weight = np.exp(3) / (np.exp(3) + np.exp(-1))
    assert box.x == pytest.approx(10 + 10 * weight)
    assert box.angle == pytest.approx(10 * weight)
    assert (box.votes, box.confidence) == (2, 3.0)
    assert box.evidence == pytest.approx(np.log(np.exp(3) + np.exp(-1)))


def test_non_maximum_suppression():
    weak = Box(100, 100, 60, 0, 5, 1, 2.0)
    strong = Box(110, 100, 50, 0, 9, 2, 4.0)
    other = Box(150, 100, 50, 0, 3, 1, 1.0)
    assert non_maximum_suppression([weak, other, strong]) == [strong, other]
