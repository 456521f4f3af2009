"""Memorization: how near samples lie to the images that the generator was trained on.

A generator that copies has samples nearer to its training images than to images of the same kind
that it never saw. Nearest distances shrink with the size of the set searched, so the training set
is cut into pieces of the holdout's size, and the holdout is seen as one more piece: without
memorization it is no farther away than the others (after the idea of the data-copying test of
Meehan, Chaudhuri and Dasgupta, AISTATS 2020). float64, pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catgan.evaluation.metrics.manifold import distance_tiles


@dataclass(frozen=True)
class Memorization:
    """How generated samples lie to training and to unseen images; distances in feature units.

    `train_distance`, `train_spread`: mean over samples of the distance to the nearest image of a
    training piece of `piece_size`; mean and standard deviation over the `pieces` pieces.
    `holdout_distance`: the same for the holdout, cut to `piece_size`.
    `gap`: (holdout - train) / holdout distance; about 0 without memorization, above it with.
    `gap_in_spreads`: the same difference counted in `train_spread`; None with one piece.
    `close_share`: share of samples nearer to a training image than 99 % of the training images are
    to theirs; about 0.01 for a generator as varied as the data, more when it copies.
    """

    train_distance: float
    train_spread: float
    holdout_distance: float
    gap: float
    gap_in_spreads: float | None
    pieces: int
    piece_size: int
    close_share: float


@dataclass(frozen=True)
class ClosestPairs:
    """Samples and their nearest training images, the closest pair first.

    `samples`, `trained`: row numbers. `distances`: exact Euclidean distances, ascending.
    """

    samples: np.ndarray
    trained: np.ndarray
    distances: np.ndarray


def nearest(queries: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row numbers, distances) of the nearest of `references` (N x D) to each query (M x D)."""
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
    """The memorization report of `samples` (M x D) against `train` (N x D) and `holdout` (H x D).

    `to_train` (M): distances from the samples to the nearest training image, as `nearest` gives
    them; `within_train` (N): those from each training image to its nearest other one, as
    `neighbor_radii` gives them for k = 1. Which training images fall into which piece is drawn
    from `seed`. The piece size is that of the smaller set.

    Raises:
        ValueError: a set is empty.
    """
    size = min(len(train), len(holdout))
    if not size or not len(samples):
        raise ValueError("memorization needs samples, training images and unseen images")
    pieces = len(train) // size
    shuffled = np.random.Generator(np.random.Philox(seed)).permutation(len(train))
    by_piece = np.array(
        [
            nearest(samples, train[shuffled[piece * size : (piece + 1) * size]])[1].mean()
            for piece in range(pieces)
        ]
    )
    _, to_holdout = nearest(samples, holdout[:size])
    train_distance, spread = float(by_piece.mean()), float(by_piece.std())
    holdout_distance = float(to_holdout.mean())
    difference = holdout_distance - train_distance
    return Memorization(
        train_distance=train_distance,
        train_spread=spread,
        holdout_distance=holdout_distance,
        gap=difference / holdout_distance if holdout_distance else 0.0,
        gap_in_spreads=difference / spread if pieces > 1 and spread > 0 else None,
        pieces=pieces,
        piece_size=size,
        close_share=float((to_train < np.quantile(within_train, 0.01)).mean()),
    )


def closest_pairs(
    samples: np.ndarray, train: np.ndarray, found: tuple[np.ndarray, np.ndarray], count: int
) -> ClosestPairs:
    """The `count` samples (rows of M x D) nearest to any training image (rows of N x D).

    `found` is what `nearest(samples, train)` gave.
    """
    index, distance = found
    order = np.argsort(distance, kind="stable")[:count]
    difference = samples[order].astype(np.float64) - train[index[order]].astype(np.float64)
    exact = np.sqrt((difference * difference).sum(axis=1))
    again = np.argsort(exact, kind="stable")
    return ClosestPairs(order[again], index[order][again], exact[again])
