"""The reals of an evaluation, measured once for any number of generators."""

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

_MINIMUM = 12  # images a side: halves of it still have the five neighbors that density needs


@dataclass(frozen=True)
class Reference:
    """What scores are taken against: features of the reals and what follows from them alone.

    `unseen`: features of images that no generator was trained on, or None. `radii`: distances from
    each real to its 1st, 3rd and 5th nearest other real, 3 x N. `floor`: two random halves of the
    reals against each other, `floor_count` images each: what a perfect generator would score at
    that count.
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
    """Measure the reals; `holdout` are images like them that the generators never saw.

    Features of dataset images are cached. `seed` decides the halves of the floor.
    `progress(stage, done, total)` is called throughout.

    Raises:
        CatganError: fewer than 12 reals, or images that cannot be read.
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
    """Pass if there are enough images to score; `CatganError` for fewer than 12."""
    if images.count < _MINIMUM:
        counted = "1 image is" if images.count == 1 else f"{images.count} images are"
        raise CatganError(
            f"{images.name}: {counted} too few to score; give at least {_MINIMUM}, better 5,000"
        )
