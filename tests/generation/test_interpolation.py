from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from catgan.errors import CatganError
from catgan.generation.interpolation import loop_latents, morph_latents, slerp
from catgan.generation.latents import latents


def test_the_way_keeps_to_the_sphere_and_to_even_steps():
    a, b = latents([1, 2], 64)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    way = morph_latents(np.stack([a, b]), 9)
    assert np.allclose(np.linalg.norm(way, axis=1), 1, atol=1e-6)
    angles = [np.arccos(np.clip(p @ q, -1, 1)) for p, q in pairwise(way)]
    assert np.allclose(angles, angles[0], atol=1e-5)


def test_ends_are_exact_and_the_middle_of_right_angles_is_known():
    a, b = np.array([1.0, 0]), np.array([0, 1.0])
    assert np.allclose(slerp(a, b, 0.5), [0.5**0.5, 0.5**0.5])
    z = latents([3, 9], 128)
    assert np.array_equal(slerp(*z, 0), z[0])
    assert np.array_equal(slerp(*z, 1), z[1])


def test_parallel_opposite_and_zero_latents_give_numbers():
    a = np.ones(4, np.float32)
    for b in (a, 2 * a, -a, 0 * a):
        assert np.isfinite(slerp(a, b, 0.3)).all()


def test_a_loop_closes_evenly():
    z = latents([3, 9, 27], 16)
    way = loop_latents(z, 12)
    assert np.array_equal(way[[0, 4, 8]], z)
    assert np.allclose(way[10], slerp(z[2], z[0], 0.5))


def test_too_few_stops_or_frames_are_refused():
    for make in (morph_latents, loop_latents):
        with pytest.raises(CatganError):
            make(latents([1], 4), 5)
        with pytest.raises(CatganError):
            make(latents([1, 2], 4), 1)


def test_a_way_with_fewer_frames_than_stops_is_refused():
    for make in (morph_latents, loop_latents):
        with pytest.raises(CatganError, match="3 frames cannot show 4 seeds"):
            make(latents(range(4), 4), 3)
        assert len(make(latents(range(4), 4), 4)) == 4
