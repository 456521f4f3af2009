"""The reals of an evaluation, measured once for all generators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from catgan.errors import CatganError
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.features import Features, Progress, cached_features
from catgan.evaluation.image_sets import ImageSet
from catgan.evaluation.metrics.frechet import Gaussian, gaussian_of
from catgan.evaluation.metrics.manifold import neighbor_radii
from catgan.evaluation.scores import Scores, score_features

_MIN_IMAGES = 12  # in each set; half of them still have the five neighbors that density needs


@dataclass(frozen=True)
class Reference:
    """Features of the reals, and everything that is computed from them alone.

    `unseen`: features of images that no generator was trained on, or None. `radii` (3 x N):
    distances from each real to its 1st, 3rd and 5th nearest other real. `floor`: the scores of one
    random half of the reals against the other, `floor_count` images each; a perfect generator would
    score this at that count.
    """

    images: ImageSet
    extractor: Extractor
    features: Features
    unseen: Features | None
    gaussian: Gaussian
    radii: np.ndarray
    floor: Scores
    floor_count: int


def measure_reference(
    reals: ImageSet,
    extractor: Extractor,
    *,
    holdout: ImageSet | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Reference:
    """Return the reference of `reals`; `holdout` are similar images that no generator has seen.

    Features of dataset images are cached. `seed` decides the halves of the floor.
    `progress(stage, done, total)` is called throughout.

    Raises:
        CatganError: there are fewer than 12 reals, or an image cannot be read.
    """
    require_enough(reals)
    features = cached_features(reals, extractor, progress=progress)
    unseen = cached_features(holdout, extractor, progress=progress) if holdout else None
    stage = f"statistics of {reals.name}, steps"
    if progress is not None:
        progress(stage, 0, 2)
    vectors = features.vectors
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(vectors))
    half = len(vectors) // 2
    floor, _ = score_features(vectors[order[:half]], vectors[order[half : 2 * half]])
    if progress is not None:
        progress(stage, 1, 2)
    gaussian, radii = gaussian_of(vectors), neighbor_radii(vectors, (1, 3, 5))
    if progress is not None:
        progress(stage, 2, 2)
    return Reference(reals, extractor, features, unseen, gaussian, radii, floor, half)


def require_enough(images: ImageSet) -> None:
    """Raise `CatganError` for fewer than 12 images."""
    if images.count < _MIN_IMAGES:
        counted = "1 image is" if images.count == 1 else f"{images.count} images are"
        raise CatganError(
            f"{images.name}: {counted} too few to score; use at least {_MIN_IMAGES}, better 5,000"
        )
