from __future__ import annotations

import hashlib

import numpy as np
import pytest

from catgan.data.synthetic.cat_traits import PATTERNS, sample_traits
from catgan.data.synthetic.procedural import render_cat
from catgan.errors import CatganError


@pytest.mark.parametrize("size", [32, 64, 128, 256])
def test_shape_and_range(size):
    cat = render_cat(3, size)
    assert cat.shape == (size, size, 3)
    assert cat.dtype == np.uint8
    assert cat.min() < 40
    assert cat.max() > 215


def test_render_cat_depends_on_the_index_only():
    np.random.seed(0)
    first = render_cat(5, 64)
    np.random.seed(1)
    render_cat(6, 64)
    np.testing.assert_array_equal(render_cat(5, 64), first)


def test_pixels_of_this_renderer_version():
    """Change RENDERER_VERSION together with this value: cached datasets depend on it."""
    digest = hashlib.sha256(b"".join(render_cat(index, 32).tobytes() for index in range(8)))
    assert digest.hexdigest() == "eb8fd08d03849a7d99f3bab42b8cf112dd186969193ef1514b4e68af5e667a15"


def test_same_cat_at_every_size():
    for index in range(6):
        small = render_cat(index, 64).astype(float)
        large = render_cat(index, 256).astype(float).reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
        other = render_cat(index + 100, 64).astype(float)
        assert np.abs(small - large).mean() < 0.25 * np.abs(small - other).mean()


def test_cats_vary():
    cats = np.stack([render_cat(index, 32) for index in range(60)]).astype(float)
    assert len(np.unique(cats.reshape(60, -1), axis=0)) == 60
    flat = cats.reshape(60, -1)
    distances = np.abs(flat[:, None] - flat[None]).mean(axis=2)[~np.eye(60, dtype=bool)]
    assert distances.min() > 8  # in gray levels per channel: no two are alike
    assert cats.std(axis=0).mean() > 35


def test_every_pattern_and_eye_occurs():
    traits = [sample_traits(np.random.Generator(np.random.Philox(seed))) for seed in range(400)]
    counts = {name: sum(t.pattern == name for t in traits) for name, _, _ in PATTERNS}
    for name, weight, _ in PATTERNS:
        expected = 400 * weight
        assert abs(counts[name] - expected) < 4 * np.sqrt(expected), name
    assert len({t.eye_colors[0] for t in traits}) == 7
    assert any(t.eye_colors[0] != t.eye_colors[1] for t in traits)


def test_ears_are_inside_the_picture():
    """The top row is background, which is smooth; fur and its outline are not."""
    for index in range(40):
        top = render_cat(index, 128)[0].astype(int)
        assert np.abs(np.diff(top, axis=0)).max() < 40, index


@pytest.mark.parametrize("size", [0, 48, 512])
def test_invalid_sizes(size):
    with pytest.raises(CatganError):
        render_cat(0, size)
