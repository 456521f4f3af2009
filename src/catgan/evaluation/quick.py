"""A light score for use while a generator trains: comparable within one run, and only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from catgan.evaluation.extractor import Extractor
from catgan.evaluation.features import Progress, cached_features, extract_features
from catgan.evaluation.fingerprint import Fingerprint
from catgan.evaluation.frechet import Gaussian, frechet_distance, gaussian_of
from catgan.evaluation.image_sets import ImageSet, generated_images


@dataclass(frozen=True)
class RealsStatistics:
    """What `quick_score` needs to know of the reals; made once, before training."""

    reals: ImageSet
    extractor: Extractor
    vectors: np.ndarray
    gaussian: Gaussian
    sha256: str


@dataclass(frozen=True)
class QuickScore:
    """Frechet distance, biased by its small count, and what it was taken of."""

    frechet: float
    fingerprint: Fingerprint

    @property
    def name(self) -> str:
        """What it is called, "FD-lite2"."""
        return self.fingerprint.extractor.frechet_name


def reals_statistics(
    reals: ImageSet, extractor: Extractor, *, progress: Progress | None = None
) -> RealsStatistics:
    """Features and Gaussian of the reals, from the cache where they are known."""
    features = cached_features(reals, extractor, progress=progress)
    return RealsStatistics(
        reals, extractor, features.vectors, gaussian_of(features.vectors), features.sha256
    )


def quick_score(
    sample: Callable[[np.ndarray], np.ndarray], statistics: RealsStatistics, *, count: int = 1000
) -> QuickScore:
    """Score the images of seeds 0 to `count` - 1 against the reals.

    The same seeds every time, so that a change of the score is a change of the generator.
    """
    reals = statistics.reals
    made = extract_features(generated_images("quick", sample, count), statistics.extractor)
    return QuickScore(
        frechet_distance(statistics.gaussian, gaussian_of(made.vectors)),
        Fingerprint(
            extractor=statistics.extractor.identity,
            generated_count=count,
            reals_count=reals.count,
            dataset=reals.dataset,
            split=reals.split,
            reals_sha256=statistics.sha256,
        ),
    )
