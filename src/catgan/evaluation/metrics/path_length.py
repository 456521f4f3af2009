"""Perceptual path length: how fast images change along a path between two latents.

Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks", CVPR
2019, section 4.1, with distances in an extractor's feature space instead of LPIPS. Computed in
float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PathLength:
    """Mean and standard deviation of the squared feature speed along `paths` latent paths.

    Units: squared feature units per squared path length, a whole path having length 1. As in the
    paper's code, both leave out paths below the 1st and above the 99th percentile.
    """

    mean: float
    standard_deviation: float
    paths: int
    epsilon: float


def spherical_interpolation(first: np.ndarray, second: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return the points at `t` (n, 0 to 1) on the great circles from `first` to `second` (n x L).

    Directions are interpolated spherically (Shoemake 1985), lengths linearly. Between opposite
    directions the great circle is undefined, and the interpolation is linear.
    """
    first_length = np.linalg.norm(first, axis=1, keepdims=True)
    second_length = np.linalg.norm(second, axis=1, keepdims=True)
    t = np.asarray(t, dtype=np.float64)[:, None]
    length = (1 - t) * first_length + t * second_length
    start, end = first / first_length, second / second_length
    angle = np.arccos(np.clip((start * end).sum(axis=1, keepdims=True), -1.0, 1.0))
    sine = np.sin(angle)
    degenerate = sine < 1e-9
    divisor = np.where(degenerate, 1.0, sine)
    from_start = np.where(degenerate, 1 - t, np.sin((1 - t) * angle) / divisor)
    from_end = np.where(degenerate, t, np.sin(t * angle) / divisor)
    return length * (from_start * start + from_end * end)


def path_length(
    features_of: Callable[[np.ndarray], np.ndarray],
    latent_size: int,
    *,
    paths: int = 1000,
    epsilon: float = 1e-2,
    seed: int = 0,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> PathLength:
    """Return the perceptual path length of a generator.

    `features_of` maps latents (n x L, float64, normally distributed) to the features (n x D) of the
    generated images. The paper's epsilon is 1e-4, but 8-bit images do not change over so short a
    step, so the default is 1e-2; results for different epsilon are not comparable.
    `progress(done, total)` is called after each batch of paths.
    """
    random = np.random.Generator(np.random.Philox(seed))
    speeds = []
    for start in range(0, paths, batch):
        n = min(batch, paths - start)
        ends = random.standard_normal((2, n, latent_size))
        t = random.random(n) * (1 - epsilon)
        before = features_of(spherical_interpolation(ends[0], ends[1], t))
        after = features_of(spherical_interpolation(ends[0], ends[1], t + epsilon))
        step = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
        speeds.append((step * step).sum(axis=1) / epsilon**2)
        if progress is not None:
            progress(start + n, paths)
    speed = np.concatenate(speeds)
    low, high = np.percentile(speed, [1, 99])
    kept = speed[(speed >= low) & (speed <= high)]
    return PathLength(float(kept.mean()), float(kept.std()), paths, epsilon)
