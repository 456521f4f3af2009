"""The Frechet distance between two Gaussians fitted to feature vectors.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
NeurIPS 2017. Called FID when the features are those of the 2015 Inception network, and only then.
Everything here is float64 and pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gaussian:
    """Mean (D), unbiased covariance (D x D) and sample count of a set of feature vectors, float64.

    `covariance` divides by `count - 1`, as every published FID does.
    """

    mean: np.ndarray
    covariance: np.ndarray
    count: int


def fit_gaussian(batches: Iterable[np.ndarray]) -> Gaussian:
    """The Gaussian of all rows of `batches` (each n x D), read once, with D x D memory.

    Batches are merged by the pairwise update of Chan, Golub and LeVeque (1979), which subtracts
    each batch's own mean before squaring: no cancellation, however far the features lie from zero.

    Raises:
        ValueError: fewer than two rows in all.
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
    """`fit_gaussian` of an N x D array in blocks of rows, so that only a block is ever float64."""
    return fit_gaussian(features[start : start + block] for start in range(0, len(features), block))


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), in squared feature units, at least 0.

    The trace of the root is the sum of the singular values of C1^(1/2) C2^(1/2), with the roots
    taken from eigenvalues. That is the same number as the usual matrix square root gives, but
    nothing is squared on the way, so it keeps its digits when a covariance has no full rank (fewer
    samples than features), where `sqrtm` loses half of them and needs a fudge on the diagonal.

    Rounding can leave a few 1e-16 of the traces below zero for equal inputs; the result is clamped
    at 0, which is exact mathematics, not a repair.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"feature sizes differ: {first.mean.shape[0]} and {second.mean.shape[0]}")
    shift = first.mean - second.mean
    overlap = np.linalg.svd(_root(first).T @ _root(second), compute_uv=False).sum()
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return max(0.0, float(shift @ shift + traces - 2.0 * overlap))


def _root(gaussian: Gaussian) -> np.ndarray:
    """D x R matrix L with L L^T = covariance, R its numerical rank."""
    values, vectors = np.linalg.eigh(gaussian.covariance)
    # Eigenvalues below this are rounding of zeros: their roots would be 1e-8, not 1e-16, of the
    # largest, and a thousand of them would show in the score.
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
    return vectors[:, kept] * np.sqrt(values[kept])
