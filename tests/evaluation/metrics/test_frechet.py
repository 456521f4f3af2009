from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from catgan.evaluation.metrics.frechet import Gaussian, fit_gaussian, frechet_distance, gaussian_of


def correlated(count: int, size: int, seed: int, *, rank: int | None = None) -> np.ndarray:
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((rank or size, size))
    return random.standard_normal((count, rank or size)) @ mixing + random.standard_normal(size)


def by_square_root(first: Gaussian, second: Gaussian) -> float:
    root = scipy.linalg.sqrtm(first.covariance @ second.covariance)
    shift = first.mean - second.mean
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return float(shift @ shift + traces - 2 * np.trace(root).real)


def test_streamed_statistics_equal_numpy_in_any_batching() -> None:
    features = correlated(500, 20, 0) + 1e6  # far from zero: a naive sum of squares fails here
    for sizes in ([500], [1, 499], [100] * 5, [499, 1], [7] * 71 + [3]):
        cuts = np.cumsum(sizes)[:-1]
        gaussian = fit_gaussian(np.split(features, cuts))
        np.testing.assert_allclose(gaussian.mean, features.mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(
            gaussian.covariance, np.cov(features, rowvar=False), rtol=1e-8, atol=1e-8
        )
        assert gaussian.count == 500


def test_empty_batches_are_skipped_and_one_sample_is_rejected() -> None:
    features = correlated(10, 3, 1)
    gaussian = fit_gaussian([features[:0], features, features[:0]])
    np.testing.assert_allclose(gaussian.covariance, np.cov(features, rowvar=False))
    with pytest.raises(ValueError, match="at least 2"):
        fit_gaussian([features[:1]])


@pytest.mark.parametrize("seed", range(4))
def test_equals_sqrtm_on_well_conditioned_covariances(seed: int) -> None:
    first = gaussian_of(correlated(400, 30, seed))
    second = gaussian_of(correlated(300, 30, seed + 100))
    assert frechet_distance(first, second) == pytest.approx(by_square_root(first, second), rel=1e-6)


def test_closed_form_of_commuting_covariances() -> None:
    random = np.random.default_rng(5)
    basis, _ = np.linalg.qr(random.standard_normal((40, 40)))
    first_values, second_values = random.uniform(0.1, 9, 40), random.uniform(0.1, 9, 40)
    first_mean, second_mean = random.standard_normal(40), random.standard_normal(40)
    first = Gaussian(first_mean, basis * first_values @ basis.T, 2)
    second = Gaussian(second_mean, basis * second_values @ basis.T, 2)
    expected = ((first_mean - second_mean) ** 2).sum()
    expected += ((np.sqrt(first_values) - np.sqrt(second_values)) ** 2).sum()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-10)


def test_one_dimension() -> None:
    first = Gaussian(np.array([1.0]), np.array([[4.0]]), 2)
    second = Gaussian(np.array([3.0]), np.array([[25.0]]), 2)
    assert frechet_distance(first, second) == pytest.approx(4 + 9)


@pytest.mark.parametrize("rank", [5, 60, 200])
def test_a_set_against_itself_is_zero_for_any_rank(rank: int) -> None:
    gaussian = gaussian_of(correlated(100, 200, 7, rank=rank))
    assert frechet_distance(gaussian, gaussian) < 1e-11 * np.trace(gaussian.covariance)


def test_rank_deficient_sets_are_accurate() -> None:
    """Two sets in disjoint subspaces: the overlap is exactly zero, so the distance is known."""
    random = np.random.default_rng(8)
    first = np.zeros((50, 120))
    second = np.zeros((50, 120))
    first[:, :60] = random.standard_normal((50, 60)) * 100
    second[:, 60:] = random.standard_normal((50, 60)) * 100
    one, two = gaussian_of(first), gaussian_of(second)
    expected = ((one.mean - two.mean) ** 2).sum()
    expected += np.trace(one.covariance) + np.trace(two.covariance)
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-12)


def test_invariant_to_rotation_translation_and_swap() -> None:
    first, second = correlated(200, 25, 9), correlated(250, 25, 10)
    value = frechet_distance(gaussian_of(first), gaussian_of(second))
    basis, _ = np.linalg.qr(np.random.default_rng(11).standard_normal((25, 25)))
    moved = frechet_distance(gaussian_of(first @ basis + 3), gaussian_of(second @ basis + 3))
    assert moved == pytest.approx(value, rel=1e-10)
    swapped = frechet_distance(gaussian_of(second), gaussian_of(first))
    assert swapped == pytest.approx(value, rel=1e-10)
    assert frechet_distance(gaussian_of(first * 3), gaussian_of(second * 3)) == pytest.approx(
        9 * value, rel=1e-10
    )


def test_feature_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match="3 and 4"):
        frechet_distance(gaussian_of(correlated(9, 3, 0)), gaussian_of(correlated(9, 4, 0)))
