"""Fixed synthetic features and pictures, the same on every machine, for oracles and tests."""

from __future__ import annotations

import numpy as np

# name: (generated samples, real samples, features, shift, scale of the generated set, seed)
CASES: dict[str, tuple[int, int, int, float, float, int]] = {
    "near": (600, 500, 48, 0.05, 1.0, 1),
    "far": (400, 700, 64, 0.6, 1.3, 2),
    "wide": (300, 300, 192, 0.1, 0.8, 3),
}


def features(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(generated M x D, reals N x D), float64, correlated and non-negative like pooled features."""
    generated, reals, size, shift, scale, seed = CASES[name]
    random = np.random.RandomState(seed)  # its stream is frozen by NumPy's compatibility policy
    mixing = random.standard_normal((size, size)) / np.sqrt(size)
    first = random.standard_normal((generated, size)) * scale + shift
    second = random.standard_normal((reals, size))
    return np.abs(first @ mixing + 0.5), np.abs(second @ mixing + 0.5)


def picture(size: int) -> np.ndarray:
    """A smooth colour pattern, size x size x 3, float64 in [0, 1]."""
    rows, columns = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size), indexing="ij")
    waves = [
        np.sin(7 * rows + 3 * columns),
        np.cos(11 * columns - 5 * rows * rows),
        np.sin(9 * rows * columns + 2),
    ]
    return np.stack(waves, axis=2) * 0.5 + 0.5
