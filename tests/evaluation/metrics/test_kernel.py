from __future__ import annotations

import numpy as np
import pytest

from catgan.evaluation.metrics.kernel import kernel_distance, polynomial_kernel, squared_mmd


def by_loops(first: np.ndarray, second: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((sum(x * y for x, y in zip(a, b, strict=True)) / len(a) + 1) ** 3)

    n, m = len(first), len(second)
    within_first = sum(kernel(first[i], first[j]) for i in range(n) for j in range(n) if i != j)
    within_second = sum(kernel(second[i], second[j]) for i in range(m) for j in range(m) if i != j)
    between = sum(kernel(a, b) for a in first for b in second)
    return within_first / (n * (n - 1)) + within_second / (m * (m - 1)) - 2 * between / (n * m)


def test_equals_the_definition_in_loops() -> None:
    random = np.random.default_rng(0)
    first = random.standard_normal((13, 7))
    second = random.standard_normal((17, 7)) * 1.5 + 0.3
    assert squared_mmd(first, second) == pytest.approx(by_loops(first, second), rel=1e-10)


def test_polynomial_kernel_value() -> None:
    value = polynomial_kernel(np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]]))
    assert value == pytest.approx(np.array([[(5 / 2 + 1) ** 3]]))


def test_estimate_is_unbiased() -> None:
    random = np.random.default_rng(1)
    values = [
        squared_mmd(random.standard_normal((20, 8)), random.standard_normal((20, 8)))
        for _ in range(600)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    assert np.min(values) < 0  # a biased estimate never is


def test_subset_of_full_size_is_the_full_estimate() -> None:
    random = np.random.default_rng(2)
    first, second = random.standard_normal((50, 6)), random.standard_normal((50, 6)) + 1
    result = kernel_distance(first, second, subsets=3)
    assert result.subset_size == 50
    assert result.mean == pytest.approx(squared_mmd(first, second), rel=1e-12)
    assert result.standard_deviation == pytest.approx(0.0, abs=1e-12)


def test_only_the_seed_decides_the_subsets() -> None:
    random = np.random.default_rng(3)
    first, second = random.standard_normal((90, 5)), random.standard_normal((80, 5)) + 0.5
    again = [kernel_distance(first, second, subsets=5, subset_size=30) for _ in range(2)]
    assert again[0] == again[1]
    other = kernel_distance(first, second, subsets=5, subset_size=30, seed=1)
    assert other.mean != again[0].mean
    assert other.mean == pytest.approx(again[0].mean, abs=4 * again[0].standard_deviation)


def test_float32_features_are_converted_to_float64() -> None:
    random = np.random.default_rng(4)
    first = random.standard_normal((40, 300)).astype(np.float32) + 50
    second = random.standard_normal((40, 300)).astype(np.float32) + 50
    assert kernel_distance(first, second, subsets=2).mean == pytest.approx(
        kernel_distance(first.astype(float), second.astype(float), subsets=2).mean, rel=1e-12
    )


def test_invalid_input() -> None:
    with pytest.raises(ValueError, match="3 and 4"):
        kernel_distance(np.zeros((5, 3)), np.zeros((5, 4)))
    with pytest.raises(ValueError, match="at least 2"):
        kernel_distance(np.zeros((1, 3)), np.zeros((5, 3)))
