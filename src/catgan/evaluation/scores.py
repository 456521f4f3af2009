"""All scores of one set of feature vectors against another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catgan.evaluation.metrics.frechet import Gaussian, frechet_distance, gaussian_of
from catgan.evaluation.metrics.kernel import KernelDistance, kernel_distance
from catgan.evaluation.metrics.manifold import ManifoldScores, manifold_scores


@dataclass(frozen=True)
class Scores:
    """Scores of one set of images against another; docs/concepts/metrics.md explains each."""

    frechet: float
    kernel: KernelDistance
    precision: float
    recall: float
    density: float
    coverage: float


def score_features(
    generated: np.ndarray,
    reals: np.ndarray,
    *,
    gaussian: Gaussian | None = None,
    radii: np.ndarray | None = None,
) -> tuple[Scores, ManifoldScores]:
    """Return the scores of `generated` (M x D) against `reals` (N x D), and those of each sample.

    `gaussian` and `radii` (2 x N, k = 3 and 5) are those of the reals, if known.
    """
    manifold = manifold_scores(reals, generated, real_radii=radii)
    # In a small set, subsets of full size would all be equal and have no standard deviation.
    subset_size = min(1000, len(generated) // 2, len(reals) // 2)
    scores = Scores(
        frechet_distance(gaussian or gaussian_of(reals), gaussian_of(generated)),
        kernel_distance(generated, reals, subset_size=subset_size),
        manifold.precision,
        manifold.recall,
        manifold.density,
        manifold.coverage,
    )
    return scores, manifold
