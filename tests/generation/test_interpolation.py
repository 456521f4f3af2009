from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from catgan.errors import CatganError
from catgan.generation.interpolation import loop_latents, morph_latents, slerp
from catgan.generation.latents import latents


def test_morph_stays_on_the_sphere_in_equal_steps():
    a, b = latents([1, 2], 64)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    path = morph_latents(np.stack([a, b]), 9)
    assert np.allclose(np.linalg.norm(path, axis=1), 1, atol=1e-6)
    angles = [np.arccos(np.clip(p @ q, -1, 1)) for p, q in pairwise(path)]
    assert np.allclose(angles, angles[0], atol=1e-5)


def test_slerp_is_exact_at_the_ends_and_correct_in_the_middle():
    a, b = np.array([1.0, 0]), np.array([0, 1.0])
    assert np.allclose(slerp(a, b, 0.5), [0.5**0.5, 0.5**0.5])
    z = latents([3, 9], 128)
    assert np.array_equal(slerp(*z, 0), z[0])
    assert np.array_equal(slerp(*z, 1), z[1])


def test_slerp_of_parallel_opposite_and_zero_latents_is_finite():
    a = np.ones(4, np.float32)
    for b in (a, 2 * a, -a, 0 * a):
        assert np.isfinite(slerp(a, b, 0.3)).all()


def test_loop_closes_in_equal_steps():
    z = latents([3, 9, 27], 16)
    path = loop_latents(z, 12)
    assert np.array_equal(path[[0, 4, 8]], z)
    assert np.allclose(path[10], slerp(z[2], z[0], 0.5))


def test_too_few_stops_or_frames_are_rejected():
    for interpolate in (morph_latents, loop_latents):
        with pytest.raises(CatganError):
            interpolate(latents([1], 4), 5)
        with pytest.raises(CatganError):
            interpolate(latents([1, 2], 4), 1)


def test_fewer_frames_than_stops_are_rejected():
    for interpolate in (morph_latents, loop_latents):
        with pytest.raises(CatganError, match="3 frames cannot show 4 seeds"):
            interpolate(latents(range(4), 4), 3)
        assert len(interpolate(latents(range(4), 4), 4)) == 4
