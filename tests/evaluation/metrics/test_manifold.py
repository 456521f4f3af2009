from __future__ import annotations

import functools

import numpy as np
import pytest

from catgan.evaluation.metrics import manifold
from catgan.evaluation.metrics.manifold import distance_tiles, manifold_scores, neighbor_radii


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a - b) ** 2).sum()))


def brute_radius(points: np.ndarray, i: int, k: int) -> float:
    return sorted(distance(points[i], points[j]) for j in range(len(points)) if j != i)[k - 1]


def brute(reals: np.ndarray, generated: np.ndarray, k: int, k_coverage: int) -> dict[str, object]:
    real_radii = [brute_radius(reals, i, k) for i in range(len(reals))]
    real_wide = [brute_radius(reals, i, k_coverage) for i in range(len(reals))]
    generated_radii = [brute_radius(generated, j, k) for j in range(len(generated))]
    between = [[distance(x, y) for y in generated] for x in reals]
    n, m = range(len(reals)), range(len(generated))
    median = np.median(real_radii)
    return {
        "precision": np.mean([any(between[i][j] <= real_radii[i] for i in n) for j in m]),
        "recall": np.mean([any(between[i][j] <= generated_radii[j] for j in m) for i in n]),
        "density": np.mean([sum(between[i][j] <= real_wide[i] for i in n) for j in m]) / k_coverage,
        "coverage": np.mean([any(between[i][j] <= real_wide[i] for j in m) for i in n]),
        "realism": [
            max(real_radii[i] / between[i][j] for i in n if real_radii[i] <= median) for j in m
        ],
    }


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifold, "distance_tiles", functools.partial(distance_tiles, tile=11))


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 0.6), (4.0, 1.0)])
@pytest.mark.usefixtures("small_tiles")
def test_scores_equal_brute_force_across_tiles(shift: float, scale: float) -> None:
    random = np.random.default_rng(0)
    reals = random.standard_normal((47, 3))
    generated = random.standard_normal((38, 3)) * scale + shift
    expected = brute(reals, generated, 3, 5)
    scores = manifold_scores(reals, generated)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(scores, name) == pytest.approx(expected[name], abs=1e-12), name
    np.testing.assert_allclose(scores.realism, expected["realism"], rtol=1e-6)
    table = np.sqrt(((reals[:, None] - generated[None]) ** 2).sum(axis=2))
    np.testing.assert_array_equal(scores.nearest, table.argmin(axis=0))
    np.testing.assert_allclose(scores.distance, table.min(axis=0), rtol=1e-10)


@pytest.mark.usefixtures("small_tiles")
def test_radii_equal_brute_force_across_tiles() -> None:
    points = np.random.default_rng(5).standard_normal((47, 3))
    expected = [[brute_radius(points, i, k) for i in range(47)] for k in (1, 4)]
    np.testing.assert_allclose(neighbor_radii(points, (1, 4)), expected, rtol=1e-10)


def test_radii_exclude_the_point_itself() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0]])
    np.testing.assert_allclose(neighbor_radii(line, (1, 2)), [[1, 1, 2, 4], [3, 2, 3, 6]])


def test_a_set_against_itself_is_perfect() -> None:
    points = np.random.default_rng(1).standard_normal((60, 10)).astype(np.float32) * 30
    scores = manifold_scores(points, points)
    assert (scores.precision, scores.recall, scores.coverage) == (1.0, 1.0, 1.0)
    assert scores.density == pytest.approx((5 + 1) / 5, abs=0.35)
    assert (scores.realism[neighbor_radii(points, (3,))[0] < 1] > 1).all()


def test_copies_have_distance_zero_far_from_the_origin() -> None:
    points = np.random.default_rng(2).standard_normal((9, 500)) + 1000
    (_, _, distances), *_ = distance_tiles(points, points.copy())
    np.testing.assert_array_equal(np.diag(distances), 0.0)
    assert np.min(distances + np.eye(9)) > 0


def test_dropped_modes_lower_recall_and_coverage_not_precision() -> None:
    random = np.random.default_rng(3)
    centers = random.standard_normal((4, 8)) * 20
    reals = np.concatenate([center + random.standard_normal((50, 8)) for center in centers])
    generated = np.concatenate([c + random.standard_normal((100, 8)) for c in centers[:2]])
    scores = manifold_scores(reals, generated)
    assert scores.precision > 0.8
    assert scores.recall < 0.55
    assert scores.coverage < 0.55


def test_distant_samples_score_zero_and_realism_ranks_them() -> None:
    random = np.random.default_rng(4)
    reals = random.standard_normal((80, 6))
    generated = reals[:10] + np.arange(10)[:, None]
    scores = manifold_scores(reals, generated)
    assert scores.realism[0] > scores.realism[4] > scores.realism[9]
    far = manifold_scores(reals, generated + 100)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)


def test_invalid_input() -> None:
    with pytest.raises(ValueError, match="more than 5"):
        manifold_scores(np.zeros((5, 2)), np.zeros((9, 2)))
    with pytest.raises(ValueError, match="2 and 3"):
        manifold_scores(np.zeros((9, 2)), np.zeros((9, 3)))
