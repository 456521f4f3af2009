"""The kernel distance: squared maximum mean discrepancy with a cubic polynomial kernel.

Binkowski et al., "Demystifying MMD GANs", ICLR 2018. It is called KID if the features are those of
the 2015 Inception network. Unlike the Frechet distance it is unbiased at any sample count. Computed
in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation over `subsets` random subsets of `subset_size` from each side.

    The mean is an unbiased estimate of the squared MMD, so it can be slightly negative for equal
    distributions. The standard deviation is that of a single subset's estimate, not of the mean;
    its divisor is the number of subsets, as in torch-fidelity.
    """

    mean: float
    standard_deviation: float
    subsets: int
    subset_size: int


def polynomial_kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (x . y / D + 1)^3 for rows x of `first` (n x D), y of `second` (m x D), as n x m."""
    products = first @ second.T
    products /= first.shape[1]
    products += 1.0
    return products * products * products


def squared_mmd(first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased estimate of the squared MMD between two feature sets (n x D, m x D).

    Gretton et al., "A Kernel Two-Sample Test", JMLR 2012, lemma 6. Within each set, pairs of a
    point with itself are left out.
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
    """Return the kernel distance between two feature sets (n x D, m x D).

    Subsets are sampled without replacement by NumPy's legacy `RandomState`, whose stream never
    changes, in the order and with the default seed of torch-fidelity. So the same features in the
    same order give the same number as torch-fidelity. The smaller set limits `subset_size`.

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
        estimates[index] = squared_mmd(first[rows_first], second[rows_second])
    return KernelDistance(float(estimates.mean()), float(estimates.std()), subsets, size)


def _off_diagonal_sum(rows: np.ndarray) -> float:
    kernel = polynomial_kernel(rows, rows)
    return float(kernel.sum() - np.trace(kernel))
