"""Fidelity and diversity apart: precision, recall, density, coverage and realism.

Precision, recall, realism: Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing
Generative Models", NeurIPS 2019. Density, coverage: Naeem et al., "Reliable Fidelity and Diversity
Metrics for Generative Models", ICML 2020. A set of feature vectors is seen as the union of closed
balls around its members, each reaching to the member's k-th nearest other member.

float64 throughout; distances are formed in tiles and never stored whole, so 50,000 x 50,000
samples of 2,048 features need tens of megabytes beyond the features themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_TILE = 2048  # rows and columns of a tile: 32 MiB of float64 distances


@dataclass(frozen=True)
class ManifoldScores:
    """How generated samples lie among the reals; all but the last three are scalars.

    `precision`: share of generated samples inside a real ball, 0 to 1 (fidelity).
    `recall`: share of reals inside a generated ball, 0 to 1 (diversity).
    `density`: mean number of real balls a generated sample lies in, over k; 1 is expected for
    equal distributions and it may exceed 1 (fidelity, robust to outlying reals).
    `coverage`: share of real balls that hold a generated sample, 0 to 1 (diversity).
    `realism`: one number per generated sample, above 1 when inside a trustworthy real ball.
    `nearest`, `distance`: row number of and distance to the nearest real of each generated sample.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    realism: np.ndarray
    nearest: np.ndarray
    distance: np.ndarray


def distance_tiles(
    rows: np.ndarray, columns: np.ndarray, *, upper: bool = False, tile: int = _TILE
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Euclidean distances between `rows` (n x D) and `columns` (m x D), tile by tile.

    Yields (row slice, column slice, float64 distances), all columns of a block of rows before the
    next rows; with `upper` only the tiles on and above the diagonal. Distances come from
    |a|^2 + |b|^2 - 2 a.b in float64; what is below the rounding of that (about 5e-7 of the vectors'
    length at 1,000 features) is returned as 0, so that copies are at distance 0 whichever way they
    are compared.
    """
    rounding = rows.shape[1] * np.finfo(np.float64).eps
    for top in range(0, len(rows), tile):
        above = np.asarray(rows[top : top + tile], dtype=np.float64)
        above_squared = np.einsum("ij,ij->i", above, above)
        for left in range(top if upper else 0, len(columns), tile):
            beside = np.asarray(columns[left : left + tile], dtype=np.float64)
            lengths = above_squared[:, None] + np.einsum("ij,ij->i", beside, beside)
            squared = above @ beside.T
            squared *= -2.0
            squared += lengths
            lengths *= rounding
            squared[squared <= lengths] = 0.0
            yield (
                slice(top, top + len(above)),
                slice(left, left + len(beside)),
                np.sqrt(squared, out=squared),
            )


def neighbor_radii(features: np.ndarray, ks: tuple[int, ...]) -> np.ndarray:
    """Distance from each row of `features` (N x D) to its k-th nearest other row, len(ks) x N.

    Raises:
        ValueError: a k is not below the number of rows.
    """
    largest = max(ks)
    if largest >= len(features):
        raise ValueError(f"k = {largest} needs more than {largest} samples, got {len(features)}")
    nearest = np.full((len(features), largest), np.inf)
    for rows, columns, distances in distance_tiles(features, features, upper=True):
        if rows == columns:
            np.fill_diagonal(distances, np.inf)
        else:
            _keep_smallest(nearest[columns], distances.T)
        _keep_smallest(nearest[rows], distances)
    nearest.sort(axis=1)
    return nearest[:, [k - 1 for k in ks]].T


def _keep_smallest(kept: np.ndarray, found: np.ndarray) -> None:
    """Replace each row of `kept` (n x k) by the k smallest of it and its row of `found`."""
    k = kept.shape[1]
    pool = np.concatenate([kept, found], axis=1)
    pool.partition(k - 1, axis=1)
    kept[:] = pool[:, :k]


def manifold_scores(
    reals: np.ndarray,
    generated: np.ndarray,
    *,
    k_precision: int = 3,
    k_coverage: int = 5,
    real_radii: np.ndarray | None = None,
) -> ManifoldScores:
    """Where `generated` (M x D) lies among `reals` (N x D): see `ManifoldScores`.

    `k_precision` = 3 and `k_coverage` = 5 are the papers' values. `real_radii` (2 x N) are what
    `neighbor_radii` gives for the reals and these two, where they are known already. Realism uses
    the `k_precision` balls and, as its paper says, only the smaller half of them: radius over
    distance, largest over those reals; infinite for a sample that is one of them.

    Raises:
        ValueError: too few samples on a side for the k, or the feature sizes differ.
    """
    if reals.shape[1] != generated.shape[1]:
        raise ValueError(f"feature sizes differ: {reals.shape[1]} and {generated.shape[1]}")
    if real_radii is None:
        real_radii = neighbor_radii(reals, (k_precision, k_coverage))
    radii, radii_coverage = real_radii
    (generated_radii,) = neighbor_radii(generated, (k_precision,))
    trusted = radii <= np.median(radii)

    real_recalled = np.zeros(len(reals), dtype=bool)
    real_covered = np.zeros(len(reals), dtype=bool)
    inside = np.zeros(len(generated), dtype=bool)
    balls = np.zeros(len(generated), dtype=np.int64)
    realism = np.zeros(len(generated))
    nearest = np.zeros(len(generated), dtype=np.int64)
    distance = np.full(len(generated), np.inf)
    for rows, columns, distances in distance_tiles(reals, generated):
        best = distances.argmin(axis=0)
        found = distances[best, np.arange(len(best))]
        nearer = found < distance[columns]
        nearest[columns][nearer] = best[nearer] + rows.start
        distance[columns][nearer] = found[nearer]
        inside[columns] |= (distances <= radii[rows, None]).any(axis=0)
        real_recalled[rows] |= (distances <= generated_radii[columns]).any(axis=1)
        within = distances <= radii_coverage[rows, None]
        balls[columns] += within.sum(axis=0)
        real_covered[rows] |= within.any(axis=1)
        some = trusted[rows]
        if some.any():
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = radii[rows][some, None] / distances[some]
            # 0 / 0: the sample is a real whose own neighbors are copies of it.
            ratios[np.isnan(ratios)] = np.inf
            np.maximum(realism[columns], ratios.max(axis=0), out=realism[columns])
    return ManifoldScores(
        precision=float(inside.mean()),
        recall=float(real_recalled.mean()),
        density=float(balls.mean() / k_coverage),
        coverage=float(real_covered.mean()),
        realism=realism,
        nearest=nearest,
        distance=distance,
    )
