"""Small image sets for the tests of this directory."""

from __future__ import annotations

import numpy as np

from catgan.evaluation.evaluate import Evaluation, Latents, evaluate
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.features import Progress
from catgan.evaluation.image_sets import ImageSet
from catgan.evaluation.reference import measure_reference


def evaluated(
    generated: ImageSet,
    reals: ImageSet,
    extractor: Extractor,
    holdout: ImageSet | None = None,
    latents: Latents | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Return an evaluation: the reference and the scores in one call."""
    reference = measure_reference(reals, extractor, holdout=holdout, progress=progress)
    return evaluate(generated, reference, latents=latents, progress=progress)


def photos(count: int, seed: int) -> np.ndarray:
    """Return different patches of color, uint8 count x 8 x 8 x 3."""
    random = np.random.default_rng(seed)
    base = random.normal(128, 40, (count, 2, 2, 3)).repeat(4, axis=1).repeat(4, axis=2)
    return np.rint(base + random.normal(0, 4, base.shape)).clip(0, 255).astype(np.uint8)


def as_dataset(name: str, images: np.ndarray, split: str) -> ImageSet:
    """Return an image set like that of `dataset_images`, without files."""
    return ImageSet(
        name,
        len(images),
        lambda numbers: images[numbers],
        lambda number: f"image {number}",
        dataset="d" * 64,
        split=split,
        selection=f"{split} {len(images)}".encode(),
    )
