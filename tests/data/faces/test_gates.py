from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from catgan.data.faces.gates import (
    Gates,
    Measures,
    NearDuplicates,
    brightness,
    rejection,
    sharpness,
    with_settings,
)
from catgan.data.synthetic.procedural import render_cat
from catgan.errors import CatganError

GOOD = Measures(
    side=150, outside=0, cat=0.8, dog=0.01, closeness=0.5, confidence=3, evidence=5, votes=80,
    sharpness=10, brightness=180,
)  # fmt: skip


def test_a_good_face_passes():
    assert rejection(GOOD, Gates(), 128) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cat": 0.05}, "not a cat: probability 0.05, less than"),
        ({"cat": 0.05, "dog": 0.9}, "not a cat, a dog: probability 0.05"),
        ({"evidence": 2.0, "closeness": -3}, "not a clear face: clarity 2.00, less than"),
        ({"evidence": 4.0, "closeness": 2.0}, "not a clear face: clarity 2.00, less than"),
        ({"closeness": 9.0}, "a close-up: closeness 9.00, more than"),
        ({"side": 60}, "too small: 60.0 px, less than 64"),
        ({"outside": 0.3}, "cut off: 30% outside the photo, more than 10%"),
        ({"brightness": 20}, "too dark: 20 of 255, less than"),
        ({"sharpness": 0.5}, "blurred: sharpness 0.50 %, less than"),
    ],
)
def test_each_gate_gives_its_measure_and_threshold(changes, reason):
    assert rejection(replace(GOOD, **changes), Gates(), 128).startswith(reason)


def test_a_measure_equal_to_its_threshold_passes():
    gates = Gates()
    edge = replace(
        GOOD, side=64, outside=gates.outside, cat=gates.cat, evidence=gates.face + gates.close,
        closeness=gates.close, sharpness=gates.sharpness, brightness=gates.brightness,
    )  # fmt: skip
    assert rejection(edge, gates, 128) is None
    assert rejection(replace(GOOD, side=128), Gates(enlarge=1), 128) is None
    assert "less than 128" in str(rejection(replace(GOOD, side=127), Gates(enlarge=1), 128))
    assert "too small" in str(rejection(GOOD, Gates(enlarge=0), 128))


def test_with_settings():
    assert with_settings(Gates(), ["cat=0.5", "distance=-1"]) == Gates(cat=0.5, distance=-1)


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("sharpnes=3", "did you mean sharpness=...?"),
        ("cat", "did you mean cat=...?"),
        ("zzz=1", "gates are face, cat"),
        ("cat=much", "'much' is not a number; try cat="),
        ("cat=nan", "not a number"),
    ],
)
def test_invalid_settings(setting, part):
    with pytest.raises(CatganError, match=r"^invalid --gate [^\n]*$") as error:
        with_settings(Gates(), [setting])
    assert part in str(error.value)


def test_sharpness_does_not_depend_on_contrast():
    cat = Image.fromarray(render_cat(8, 256))
    sharp = sharpness(np.asarray(cat))
    blurred = [sharpness(np.asarray(cat.filter(ImageFilter.GaussianBlur(s)))) for s in (2, 4, 8)]
    assert sharp > blurred[0] > blurred[1] > blurred[2]
    assert rejection(replace(GOOD, sharpness=blurred[2]), Gates(), 128).startswith("blurred")
    assert rejection(replace(GOOD, sharpness=sharp), Gates(), 128) is None
    faint = (np.asarray(cat) * 0.5 + 60).astype(np.uint8)
    assert sharpness(faint) == pytest.approx(sharp, rel=0.1)
    assert sharpness(np.zeros((64, 64, 3), np.uint8)) == 0
    # On a checkerboard the fine detail is all of the contrast: 100 percent.
    checks = np.repeat((np.indices((128, 128)).sum(axis=0) % 2 * 255)[:, :, None], 3, axis=2)
    assert sharpness(checks.astype(np.uint8)) == pytest.approx(100, abs=2)


def test_brightness_is_that_of_the_brightest_part():
    night = np.full((128, 128, 3), 12, np.uint8)
    assert rejection(replace(GOOD, brightness=brightness(night)), Gates(), 128) == (
        "too dark: 12 of 255, less than 60"
    )
    black_cat = night.copy()
    black_cat[40:80, 30:50] = black_cat[40:80, 80:100] = 200  # its eyes: a tenth
    assert brightness(black_cat) == 200


def changed(image: np.ndarray) -> np.ndarray:
    """Return a smaller, darker version, like another export of the same photo."""
    small = Image.fromarray(image).resize((100, 100), Image.Resampling.LANCZOS)
    return (np.asarray(small) * 0.85).astype(np.uint8)


def test_near_duplicates():
    seen = NearDuplicates(Gates().distance)
    for index in range(8):
        assert seen.add(render_cat(index, 128)).shape == (0, 2)
    for index in range(8):
        again = changed(render_cat(index, 128))
        rows = seen.add(again)
        assert rows[0, 0] == index
        assert rows[0, 1] <= Gates().distance
        mirrored = seen.add(again[:, ::-1])
        assert set(mirrored[:, 0]) == {index, 8 + 2 * index}
        assert list(mirrored[:, 1]) == sorted(mirrored[:, 1])
    rng = np.random.default_rng(0)
    for _ in range(8):
        noise = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        assert len(seen.add(np.asarray(noise.resize((128, 128))))) == 0


def test_near_duplicates_grow_beyond_the_initial_capacity():
    seen = NearDuplicates(0)
    for index in range(1100):
        seen.add(np.full((8, 8, 3), index % 256, np.uint8))
    assert len(seen.add(render_cat(3, 64))) == 0
    assert seen.add(render_cat(3, 64)).tolist() == [[1100, 0]]


@pytest.mark.parametrize(("setting", "floor"), [("cat=0", "0.02"), ("face=1.4", "1.5")])
def test_thresholds_below_their_floor_are_rejected(setting, floor):
    """They would have no effect: `find_faces` drops what is below the floors."""
    with pytest.raises(CatganError, match=rf"^invalid gate [^\n]*give {floor} or more$"):
        with_settings(Gates(), [setting])
    name = setting.split("=")[0]
    at_floor = with_settings(Gates(), [f"{name}={floor}"])
    just = replace(GOOD, cat=0.02, closeness=0) if name == "cat" else replace(GOOD, evidence=1.5)
    assert rejection(replace(just, closeness=0), Gates(), 128) is not None
    assert rejection(replace(just, closeness=0), at_floor, 128) is None
