"""Fidelity and diversity separately: precision, recall, density, coverage and realism.

Precision, recall, realism: Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing
Generative Models", NeurIPS 2019. Density, coverage: Naeem et al., "Reliable Fidelity and Diversity
Metrics for Generative Models", ICML 2020. The manifold of a set of feature vectors is the union of
closed balls around them; each radius is the distance to the k-th nearest neighbor in the set.

Computed in float64. Distances are computed in tiles and never stored as a whole, so 50,000 x 50,000
samples of 2,048 features need only tens of megabytes besides the features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_TILE = 2048  # rows and columns of a tile: 32 MiB of float64 distances


@dataclass(frozen=True)
class ManifoldScores:
    """Manifold metrics of generated samples against reals.

    `precision`: fraction of generated samples inside a real ball, 0 to 1 (fidelity).
    `recall`: fraction of reals inside a generated ball, 0 to 1 (diversity).
    `density`: mean number of real balls that contain a generated sample, divided by k (fidelity,
    robust to outliers among the reals). Equal distributions have 1 on average; it can exceed 1.
    `coverage`: fraction of real balls that contain a generated sample, 0 to 1 (diversity).
    `realism` (M): above 1 for generated samples inside a trusted real ball.
    `nearest`, `distance` (M): row number of the nearest real, and the distance to it.
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
    """Yield Euclidean distances between `rows` (n x D) and `columns` (m x D), tile by tile.

    Each item is (row slice, column slice, float64 distances), in row-major order of the tiles. With
    `upper`, only the tiles on and above the diagonal are computed. Distances are computed as
    |a|^2 + |b|^2 - 2 a.b. Those below its rounding error (about 5e-7 of the vectors' length at
    1,000 features) are set to 0, so that exact copies always have distance 0.
    """
    rounding = rows.shape[1] * np.finfo(np.float64).eps
    for top in range(0, len(rows), tile):
        row_block = np.asarray(rows[top : top + tile], dtype=np.float64)
        row_lengths = np.einsum("ij,ij->i", row_block, row_block)
        for left in range(top if upper else 0, len(columns), tile):
            column_block = np.asarray(columns[left : left + tile], dtype=np.float64)
            lengths = row_lengths[:, None] + np.einsum("ij,ij->i", column_block, column_block)
            squared = row_block @ column_block.T
            squared *= -2.0
            squared += lengths
            lengths *= rounding
            squared[squared <= lengths] = 0.0
            yield (
                slice(top, top + len(row_block)),
                slice(left, left + len(column_block)),
                np.sqrt(squared, out=squared),
            )


def neighbor_radii(features: np.ndarray, ks: tuple[int, ...]) -> np.ndarray:
    """Return the distance of each row (N x D) to its k-th nearest other row, as len(ks) x N.

    Raises:
        ValueError: some k is not less than N.
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
    """Replace each row of `kept` (n x k) by the k smallest values of it and its row of `found`."""
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
    """Return the metrics of `generated` (M x D) against `reals` (N x D): see `ManifoldScores`.

    `k_precision` = 3 and `k_coverage` = 5 are the papers' values. `real_radii` (2 x N), if known,
    is `neighbor_radii(reals, (k_precision, k_coverage))`. The realism of a sample is the maximum of
    radius / distance over the trusted reals, infinite for a copy of one. As in its paper, trusted
    are those with the smaller half of the `k_precision` radii.

    Raises:
        ValueError: a set has too few samples for k, or the feature sizes differ.
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
    ball_counts = np.zeros(len(generated), dtype=np.int64)
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
        ball_counts[columns] += within.sum(axis=0)
        real_covered[rows] |= within.any(axis=1)
        trusted_rows = trusted[rows]
        if trusted_rows.any():
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = radii[rows][trusted_rows, None] / distances[trusted_rows]
            # 0 / 0: the sample copies a real whose own neighbors are copies of it.
            ratios[np.isnan(ratios)] = np.inf
            np.maximum(realism[columns], ratios.max(axis=0), out=realism[columns])
    return ManifoldScores(
        precision=float(inside.mean()),
        recall=float(real_recalled.mean()),
        density=float(ball_counts.mean() / k_coverage),
        coverage=float(real_covered.mean()),
        realism=realism,
        nearest=nearest,
        distance=distance,
    )
