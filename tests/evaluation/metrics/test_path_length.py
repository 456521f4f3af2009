from __future__ import annotations

import numpy as np
import pytest

from catgan.evaluation.metrics.path_length import path_length, spherical_interpolation


def test_interpolation_has_linear_length_and_constant_angular_speed() -> None:
    first = np.array([[2.0, 0.0], [1.0, 0.0]])
    second = np.array([[0.0, 4.0], [0.0, 1.0]])
    np.testing.assert_allclose(spherical_interpolation(first, second, np.zeros(2)), first)
    np.testing.assert_allclose(
        spherical_interpolation(first, second, np.ones(2)), second, atol=1e-12
    )
    third = spherical_interpolation(first, second, np.full(2, 1 / 3))
    np.testing.assert_allclose(np.linalg.norm(third, axis=1), [2 + 2 / 3, 1])
    np.testing.assert_allclose(np.arctan2(third[:, 1], third[:, 0]), np.pi / 6)


def test_equal_and_opposite_ends_are_finite() -> None:
    point = np.array([[1.0, 2.0]])
    half = np.array([0.5])
    np.testing.assert_allclose(spherical_interpolation(point, point, half), point)
    assert np.isfinite(spherical_interpolation(point, -point, half)).all()


def test_path_length_of_a_linear_generator() -> None:
    """Features = scale * direction: each step is a chord of the angle between the ends."""
    seen: list[np.ndarray] = []

    def features_of(latents: np.ndarray) -> np.ndarray:
        seen.append(latents)
        return 3 * latents / np.linalg.norm(latents, axis=1, keepdims=True)

    result = path_length(features_of, 512, paths=400, epsilon=1e-3, batch=100)
    # In 512 dimensions independent directions are almost exactly a right angle apart.
    assert result.mean == pytest.approx(9 * (np.pi / 2) ** 2, rel=0.01)
    assert sum(len(latents) for latents in seen) == 800


def test_scales_quadratically_and_is_deterministic() -> None:
    one = path_length(lambda z: z, 16, paths=100)
    assert path_length(lambda z: z, 16, paths=100) == one
    assert path_length(lambda z: 2 * z, 16, paths=100).mean == pytest.approx(4 * one.mean)
    assert path_length(lambda z: z, 16, paths=100, batch=7).mean != pytest.approx(0)


def test_progress_reaches_the_end() -> None:
    seen: list[tuple[int, int]] = []
    path_length(
        lambda z: z, 4, paths=50, batch=20, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(20, 50), (40, 50), (50, 50)]
