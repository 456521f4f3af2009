"""The kernel distance: squared maximum mean discrepancy with a cubic polynomial kernel.

Binkowski et al., "Demystifying MMD GANs", ICLR 2018. Called KID when the features are those of the
2015 Inception network. Unbiased at any sample count, unlike the Frechet distance. float64, pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation over `subsets` random subsets of `subset_size` from each side.

    The mean estimates the squared discrepancy without bias, so it may be slightly negative for
    equal distributions. The standard deviation is that of one subset's estimate (divisor: the
    number of subsets, as in torch-fidelity), not of the mean.
    """

    mean: float
    standard_deviation: float
    subsets: int
    subset_size: int


def polynomial_kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """k(x, y) = (x . y / D + 1)^3 for the rows of `first` (n x D) and `second` (m x D): n x m."""
    products = first @ second.T
    products /= first.shape[1]
    products += 1.0
    return products * products * products


def squared_discrepancy(first: np.ndarray, second: np.ndarray) -> float:
    """The unbiased estimate of the squared MMD between the rows of two sets (n x D, m x D).

    Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, lemma 6: pairs of a point with itself
    are left out within each set and kept between the sets.
    """
    n, m = len(first), len(second)
    first = np.asarray(first, dtype=np.float64)
    second = np.asarray(second, dtype=np.float64)
    within_first = _off_diagonal_sum(first) / (n * (n - 1))
    within_second = _off_diagonal_sum(second) / (m * (m - 1))
    between = float(polynomial_kernel(first, second).sum()) / (n * m)
    return within_first + within_second - 2.0 * between


def kernel_distance(
    first: np.ndarray,
    second: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> KernelDistance:
    """The kernel distance between the rows of two feature sets (n x D, m x D).

    Subsets are drawn without replacement by NumPy's legacy `RandomState`, whose stream is frozen
    for good, in the order and with the default seed of torch-fidelity: the same features in the
    same order give the same number there. A set smaller than `subset_size` caps it.

    Raises:
        ValueError: a set has fewer than two rows, or the feature sizes differ.
    """
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"feature sizes differ: {first.shape[1]} and {second.shape[1]}")
    size = min(subset_size, len(first), len(second))
    if size < 2:
        raise ValueError(f"the kernel distance needs at least 2 samples a side, got {size}")
    random = np.random.RandomState(seed)
    estimates = np.empty(subsets)
    for index in range(subsets):
        rows_first = random.choice(len(first), size, replace=False)
        rows_second = random.choice(len(second), size, replace=False)
        estimates[index] = squared_discrepancy(first[rows_first], second[rows_second])
    return KernelDistance(float(estimates.mean()), float(estimates.std()), subsets, size)


def _off_diagonal_sum(rows: np.ndarray) -> float:
    kernel = polynomial_kernel(rows, rows)
    return float(kernel.sum() - np.trace(kernel))
