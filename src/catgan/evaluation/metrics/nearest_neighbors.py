"""Memorization: nearest-neighbor distances from samples to training and to held-out images.

A generator that memorizes makes samples that are nearer to its training images than to similar
images that it never saw. Nearest-neighbor distances shrink as the searched set grows, so the
training set is split into subsets of the holdout's size, and the holdout is compared with them.
Without memorization it is no farther away than they are (after the data-copying test of Meehan,
Chaudhuri and Dasgupta, AISTATS 2020). Computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catgan.evaluation.metrics.manifold import distance_tiles


@dataclass(frozen=True)
class Memorization:
    """Distances from samples to training and to held-out images, in feature units.

    `train_distance`, `train_std`: the mean distance from a sample to its nearest neighbor in a
    subset of `subset_size` training images; mean and standard deviation over `subsets` subsets.
    `holdout_distance`: the same for the first `subset_size` held-out images.
    `gap`: (holdout - train distance) / holdout distance; about 0 without memorization, else more.
    `gap_in_stds`: the same difference in units of `train_std`; None with a single subset.
    `close_fraction`: fraction of samples that are nearer to a training image than 99 % of the
    training images are to each other; about 0.01 for a generator as diverse as the data, more if it
    copies.
    """

    train_distance: float
    train_std: float
    holdout_distance: float
    gap: float
    gap_in_stds: float | None
    subsets: int
    subset_size: int
    close_fraction: float


@dataclass(frozen=True)
class ClosestPairs:
    """Samples and their nearest training images, closest pair first.

    `samples`, `trained`: row numbers. `distances`: exact Euclidean distances, ascending.
    """

    samples: np.ndarray
    trained: np.ndarray
    distances: np.ndarray


def nearest(queries: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return row numbers and distances (M each) of the references (N x D) nearest to `queries`."""
    index = np.zeros(len(queries), dtype=np.int64)
    distance = np.full(len(queries), np.inf)
    for rows, columns, distances in distance_tiles(queries, references):
        best = distances.argmin(axis=1)
        found = distances[np.arange(len(distances)), best]
        better = found < distance[rows]
        index[rows] = np.where(better, best + columns.start, index[rows])
        distance[rows] = np.where(better, found, distance[rows])
    return index, distance


def memorization(
    samples: np.ndarray,
    train: np.ndarray,
    holdout: np.ndarray,
    *,
    to_train: np.ndarray,
    within_train: np.ndarray,
    seed: int = 0,
) -> Memorization:
    """Return the memorization of `samples` (M x D) from `train` (N x D) and `holdout` (H x D).

    `to_train` (M): distances from samples to their nearest training image, from `nearest`.
    `within_train` (N): distances from training images to their nearest other one, from
    `neighbor_radii` with k = 1. `seed` decides how training images are split into subsets, each of
    the size of the smaller set.

    Raises:
        ValueError: a set is empty.
    """
    size = min(len(train), len(holdout))
    if not size or not len(samples):
        raise ValueError("expected samples, training images and unseen images, got an empty set")
    subsets = len(train) // size
    shuffled = np.random.Generator(np.random.Philox(seed)).permutation(len(train))
    by_subset = np.array(
        [
            nearest(samples, train[shuffled[subset * size : (subset + 1) * size]])[1].mean()
            for subset in range(subsets)
        ]
    )
    _, to_holdout = nearest(samples, holdout[:size])
    train_distance, std = float(by_subset.mean()), float(by_subset.std())
    holdout_distance = float(to_holdout.mean())
    difference = holdout_distance - train_distance
    return Memorization(
        train_distance=train_distance,
        train_std=std,
        holdout_distance=holdout_distance,
        gap=difference / holdout_distance if holdout_distance else 0.0,
        gap_in_stds=difference / std if subsets > 1 and std > 0 else None,
        subsets=subsets,
        subset_size=size,
        close_fraction=float((to_train < np.quantile(within_train, 0.01)).mean()),
    )


def closest_pairs(
    samples: np.ndarray, train: np.ndarray, found: tuple[np.ndarray, np.ndarray], count: int
) -> ClosestPairs:
    """Return the `count` samples (of M x D) that are nearest to a training image (of N x D).

    `found` is the result of `nearest(samples, train)`.
    """
    index, distance = found
    order = np.argsort(distance, kind="stable")[:count]
    difference = samples[order].astype(np.float64) - train[index[order]].astype(np.float64)
    exact = np.sqrt((difference * difference).sum(axis=1))
    by_exact = np.argsort(exact, kind="stable")
    return ClosestPairs(order[by_exact], index[order][by_exact], exact[by_exact])
