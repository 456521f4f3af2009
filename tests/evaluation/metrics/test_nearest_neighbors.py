from __future__ import annotations

import numpy as np
import pytest

from catgan.evaluation.metrics.manifold import neighbor_radii
from catgan.evaluation.metrics.nearest_neighbors import (
    Memorization,
    closest_pairs,
    memorization,
    nearest,
)


def report_of(samples: np.ndarray, train: np.ndarray, holdout: np.ndarray) -> Memorization:
    return memorization(
        samples,
        train,
        holdout,
        to_train=nearest(samples, train)[1],
        within_train=neighbor_radii(train, (1,))[0],
    )


def test_nearest_equals_brute_force() -> None:
    random = np.random.default_rng(0)
    queries, references = random.standard_normal((30, 4)), random.standard_normal((50, 4))
    table = np.sqrt(((queries[:, None] - references[None]) ** 2).sum(axis=2))
    index, distance = nearest(queries, references)
    np.testing.assert_array_equal(index, table.argmin(axis=1))
    np.testing.assert_allclose(distance, table.min(axis=1), rtol=1e-10)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    points = np.random.default_rng(1).standard_normal((1300, 6))
    return points[:900], points[900:1000], points[1000:]


def test_no_gap_without_memorization(data: tuple[np.ndarray, ...]) -> None:
    train, holdout, samples = data
    report = report_of(samples, train, holdout)
    assert (report.subsets, report.subset_size) == (9, 100)
    assert abs(report.gap) < 0.06
    assert report.gap_in_stds is not None
    assert abs(report.gap_in_stds) < 3
    assert report.close_fraction < 0.05


def test_gap_grows_with_the_share_of_copies(data: tuple[np.ndarray, ...]) -> None:
    train, holdout, honest = data
    gaps, shares = [], []
    for copies in (0, 100, 200, 300):
        samples = np.concatenate([train[:copies] + 1e-3, honest[copies:]])
        report = report_of(samples, train, holdout)
        gaps.append(report.gap)
        shares.append(report.close_fraction)
    assert gaps == sorted(gaps)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    pure = report_of(train[:50], train[:50], holdout)
    assert pure.gap == 1.0
    assert pure.gap_in_stds is None


def test_closest_pairs_are_sorted_with_exact_distances() -> None:
    train = np.random.default_rng(2).standard_normal((40, 5)).astype(np.float32) + 100
    samples = train[[7, 3, 9]].copy()
    samples[0, 0] += 0.5
    samples[2, 1] += 0.25
    pairs = closest_pairs(samples, train, nearest(samples, train), 3)
    np.testing.assert_array_equal(pairs.samples, [1, 2, 0])
    np.testing.assert_array_equal(pairs.trained, [3, 9, 7])
    np.testing.assert_array_equal(pairs.distances, [0.0, 0.25, 0.5])


def test_empty_sets_are_rejected() -> None:
    points = np.zeros((5, 2))
    with pytest.raises(ValueError, match="unseen"):
        report_of(points, points, points[:0])
