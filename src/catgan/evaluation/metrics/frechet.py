"""The Frechet distance between two Gaussians fitted to feature vectors.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
NeurIPS 2017. It is called FID only if the features are those of the 2015 Inception network.
Computed in float64.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gaussian:
    """Mean (D), unbiased covariance (D x D) and sample count of feature vectors, float64.

    `covariance` divides by `count - 1`, as every published FID does.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int


def fit_gaussian(batches: Iterable[np.ndarray]) -> Gaussian:
    """Return the Gaussian fitted to the rows of all `batches` (each n x D), in one pass.

    Batches are merged by the pairwise update of Chan, Golub and LeVeque (1979). It subtracts each
    batch's own mean before squaring, so nothing cancels when features lie far from zero.

    Raises:
        ValueError: there are fewer than two rows in total.
    """
    count = 0
    mean = np.zeros(0)
    scatter = np.zeros((0, 0))
    for batch in batches:
        rows = np.asarray(batch, dtype=np.float64)
        if not len(rows):
            continue
        batch_mean = rows.mean(axis=0)
        centered = rows - batch_mean
        if not count:
            mean, scatter, count = batch_mean, centered.T @ centered, len(rows)
            continue
        total = count + len(rows)
        shift = batch_mean - mean
        scatter += centered.T @ centered + np.outer(shift, shift) * (count * len(rows) / total)
        mean = mean + shift * (len(rows) / total)
        count = total
    if count < 2:
        raise ValueError(f"a covariance needs at least 2 samples, got {count}")
    return Gaussian(mean, scatter / (count - 1), count)


def gaussian_of(features: np.ndarray, *, block: int = 1024) -> Gaussian:
    """Return the Gaussian of `features` (N x D), converting `block` rows at a time to float64."""
    return fit_gaussian(features[start : start + block] for start in range(0, len(features), block))


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), in squared feature units, at least 0.

    The trace of (C1 C2)^(1/2) equals the sum of the singular values of C1^(1/2) C2^(1/2), whose
    factors come from eigenvalues. Unlike the usual matrix square root, this squares nothing, so it
    stays accurate for rank-deficient covariances (fewer samples than features). There `sqrtm` loses
    half of its digits and needs an offset on the diagonal.

    For equal inputs, rounding can give about -1e-16 of the traces. The exact distance is never
    negative, so the result is clamped at 0.

    Raises:
        ValueError: the feature sizes differ.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"feature sizes differ: {first.mean.shape[0]} and {second.mean.shape[0]}")
    shift = first.mean - second.mean
    roots = _covariance_root(first).T @ _covariance_root(second)
    overlap = np.linalg.svd(roots, compute_uv=False).sum()
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return max(0.0, float(shift @ shift + traces - 2.0 * overlap))


def _covariance_root(gaussian: Gaussian) -> np.ndarray:
    """Return L (D x R) with L L^T = covariance, where R is its numerical rank."""
    values, vectors = np.linalg.eigh(gaussian.covariance)
    # Smaller eigenvalues are rounded zeros. Their square roots would be 1e-8 of the largest instead
    # of 1e-16, and a thousand of them would change the score.
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
    return vectors[:, kept] * np.sqrt(values[kept])
