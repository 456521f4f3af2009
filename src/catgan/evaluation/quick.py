"""A fast score for checkpoints during training, comparable only within one run."""

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
from catgan.evaluation.metrics.kernel import squared_mmd

Metric = Literal["frechet", "kernel"]


@dataclass(frozen=True)
class RealsStatistics:
    """What `quick_score` needs of the reals; computed once, before training."""

    reals: ImageSet
    extractor: Extractor
    vectors: np.ndarray
    gaussian: Gaussian | None  # None if the score is the kernel distance
    sha256: str

    @property
    def score_name(self) -> str:
        """The `name` of scores against these reals."""
        metric: Metric = "kernel" if self.gaussian is None else "frechet"
        return _score_name(self.extractor.identity, metric, self.reals.split)


@dataclass(frozen=True)
class QuickScore:
    """A distance to the reals, with its fingerprint.

    The Frechet distance is biased at small counts. The kernel distance is unbiased at any count, so
    it can be slightly negative.
    """

    value: float
    metric: Metric
    fingerprint: Fingerprint

    @property
    def name(self) -> str:
        """Its name, such as "FD-lite2" or "held-out KD-lite2"."""
        return _score_name(self.fingerprint.extractor, self.metric, self.fingerprint.split)


def _score_name(identity: ExtractorIdentity, metric: Metric, split: str) -> str:
    name = identity.frechet_name if metric == "frechet" else identity.kernel_name
    return f"held-out {name}" if split == "holdout" else name


def reals_statistics(
    reals: ImageSet,
    extractor: Extractor,
    *,
    metric: Metric = "frechet",
    progress: Progress | None = None,
) -> RealsStatistics:
    """Return what `metric` needs of the reals; features come from the cache if possible."""
    features = cached_features(reals, extractor, progress=progress)
    gaussian = gaussian_of(features.vectors) if metric == "frechet" else None
    return RealsStatistics(reals, extractor, features.vectors, gaussian, features.sha256)


def quick_score(
    sample: Callable[[np.ndarray], np.ndarray], statistics: RealsStatistics, *, count: int = 1000
) -> QuickScore:
    """Return the score of the images of seeds 0 to `count` - 1 against the reals.

    The seeds are always the same, so only a change of the generator changes the score.
    """
    reals = statistics.reals
    generated = generated_images("quick", sample, count)
    vectors = extract_features(generated, statistics.extractor).vectors
    if statistics.gaussian is None:
        value = squared_mmd(vectors, statistics.vectors)
    else:
        value = frechet_distance(statistics.gaussian, gaussian_of(vectors))
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
