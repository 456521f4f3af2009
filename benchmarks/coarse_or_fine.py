"""Is it the coarse or the fine part of its images that sets a generator apart from photos?

    python benchmarks/coarse_or_fine.py [cats.onnx] --against DATASET

Images are taken apart by a Gaussian blur, and the fine part of each cat is put on the coarse part
of a photo, and the other way round. 1,000 of each kind are scored by the Frechet distance in the
features of `raw-64`. Contrast is the mean over images of the deviation of their bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

import catgan
from catgan.data.dataset.dataset import Dataset
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.image_sets import dataset_images
from catgan.evaluation.quick import quick_score, reals_statistics

COUNT = 1_000
SIGMA = 4.0  # px


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path, nargs="?")
    parser.add_argument("--against", type=Path, required=True)
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.against)
    reals = reals_statistics(dataset_images(dataset), load_extractor("raw-64"))
    cats = catgan.load(arguments.artifact) if arguments.artifact else catgan.load()
    photos = dataset.images[dataset.indices("train")[:COUNT]].astype(np.float32)
    procedural = cats.sample(range(COUNT)).astype(np.float32)
    coarse = {
        name: gaussian_filter(images, (0, SIGMA, SIGMA, 0))
        for name, images in (("photos", photos), ("cats", procedural))
    }
    print("contrast   photos {:.1f}, cats {:.1f}".format(*map(contrast, (photos, procedural))))
    for name, images in (
        ("photos", photos),
        ("cats", procedural),
        ("coarse of photos, fine of cats", coarse["photos"] + procedural - coarse["cats"]),
        ("coarse of cats, fine of photos", coarse["cats"] + photos - coarse["photos"]),
    ):
        pixels = images.round().clip(0, 255).astype(np.uint8)
        score = quick_score(lambda seeds, x=pixels: x[list(seeds)], reals, count=COUNT)
        print(f"{name:32s} FD-raw-64 {score.value:.3f}")


def contrast(images: np.ndarray) -> float:
    """Mean over images of the deviation of their bytes."""
    return float(images.std((1, 2, 3)).mean())


if __name__ == "__main__":
    main()
