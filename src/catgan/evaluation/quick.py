"""A light score for use while a generator trains: comparable within one run, and only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.features import Progress, cached_features, extract_features
from catgan.evaluation.fingerprint import ExtractorIdentity, Fingerprint
from catgan.evaluation.image_sets import ImageSet, generated_images
from catgan.evaluation.metrics.frechet import Gaussian, frechet_distance, gaussian_of
from catgan.evaluation.metrics.kernel import squared_discrepancy

Metric = Literal["frechet", "kernel"]


@dataclass(frozen=True)
class RealsStatistics:
    """What `quick_score` needs to know of the reals; made once, before training."""

    reals: ImageSet
    extractor: Extractor
    vectors: np.ndarray
    gaussian: Gaussian | None  # where the score is the Frechet distance; else it is the kernel one
    sha256: str

    @property
    def score_name(self) -> str:
        """The `name` of scores against these."""
        metric: Metric = "kernel" if self.gaussian is None else "frechet"
        return _name(self.extractor.identity, metric, self.reals.split)


@dataclass(frozen=True)
class QuickScore:
    """A distance to the reals, and what it was taken of.

    The Frechet distance is biased by its small count. The kernel distance is not, however few the
    reals are, and can be slightly negative.
    """

    value: float
    metric: Metric
    fingerprint: Fingerprint

    @property
    def name(self) -> str:
        """What it is called, "FD-lite2" or "held-out KD-lite2"."""
        return _name(self.fingerprint.extractor, self.metric, self.fingerprint.split)


def _name(identity: ExtractorIdentity, metric: Metric, split: str) -> str:
    name = identity.frechet_name if metric == "frechet" else identity.kernel_name
    return f"held-out {name}" if split == "holdout" else name


def reals_statistics(
    reals: ImageSet,
    extractor: Extractor,
    *,
    metric: Metric = "frechet",
    progress: Progress | None = None,
) -> RealsStatistics:
    """Features of the reals, from the cache where they are known, and what `metric` needs."""
    features = cached_features(reals, extractor, progress=progress)
    gaussian = gaussian_of(features.vectors) if metric == "frechet" else None
    return RealsStatistics(reals, extractor, features.vectors, gaussian, features.sha256)


def quick_score(
    sample: Callable[[np.ndarray], np.ndarray], statistics: RealsStatistics, *, count: int = 1000
) -> QuickScore:
    """Score the images of seeds 0 to `count` - 1 against the reals.

    The same seeds every time, so that a change of the score is a change of the generator.
    """
    reals = statistics.reals
    made = extract_features(generated_images("quick", sample, count), statistics.extractor).vectors
    if statistics.gaussian is None:
        value = squared_discrepancy(made, statistics.vectors)
    else:
        value = frechet_distance(statistics.gaussian, gaussian_of(made))
    return QuickScore(
        value,
        "kernel" if statistics.gaussian is None else "frechet",
        Fingerprint(
            extractor=statistics.extractor.identity,
            generated_count=count,
            reals_count=reals.count,
            dataset=reals.dataset,
            split=reals.split,
            reals_sha256=statistics.sha256,
        ),
    )
