"""Measure whether generated images differ from photos in low or in high frequencies.

    python benchmarks/coarse_or_fine.py [cats.onnx] --against DATASET

A Gaussian blur splits each image into a coarse part (the blurred image) and a fine part (the rest).
The benchmark combines the fine part of each generated cat with the coarse part of a photo, and vice
versa, and scores 1,000 of each kind by the Frechet distance in the features of `raw-64`. Contrast
is the mean over images of the standard deviation of their pixels.
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
    generated = cats.sample(range(COUNT)).astype(np.float32)
    coarse = {
        name: gaussian_filter(images, (0, SIGMA, SIGMA, 0))
        for name, images in (("photos", photos), ("cats", generated))
    }
    print("contrast   photos {:.1f}, cats {:.1f}".format(*map(contrast, (photos, generated))))
    for name, images in (
        ("photos", photos),
        ("cats", generated),
        ("coarse of photos, fine of cats", coarse["photos"] + generated - coarse["cats"]),
        ("coarse of cats, fine of photos", coarse["cats"] + photos - coarse["photos"]),
    ):
        pixels = images.round().clip(0, 255).astype(np.uint8)
        score = quick_score(lambda seeds, x=pixels: x[list(seeds)], reals, count=COUNT)
        print(f"{name:32s} FD-raw-64 {score.value:.3f}")


def contrast(images: np.ndarray) -> float:
    """Return the mean over images of the standard deviation of their pixels."""
    return float(images.std((1, 2, 3)).mean())


if __name__ == "__main__":
    main()
