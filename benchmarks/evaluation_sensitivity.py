"""Measure how each metric responds to known distortions of real photos; print Markdown.

    python benchmarks/evaluation_sensitivity.py cats/ --count 500

Of the photos of a prepared dataset, `count` are the real images. Others stand in for generated
images, distorted in known ways at three strengths each. Every row after the first two should be
worse than "other real photos" in the columns that measure its distortion, and worse at higher
strength.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from catgan.data.dataset.dataset import Dataset
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.metrics.frechet import frechet_distance, gaussian_of
from catgan.evaluation.metrics.kernel import kernel_distance
from catgan.evaluation.metrics.manifold import manifold_scores

CLUSTERS = 8


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return `image` after a Gaussian blur; `sigma` in pixels."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return `image` with Gaussian noise on each channel; `sigma` in steps of 255."""
    random = np.random.default_rng(int(image.sum()))
    noise = random.standard_normal(image.shape) * sigma
    return np.rint(image + noise).clip(0, 255).astype(np.uint8)


def compressed(image: np.ndarray, quality: float) -> np.ndarray:
    """Return `image` after JPEG compression at `quality`, with chroma subsampling."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer).convert("RGB"))


DISTORTIONS: tuple[
    tuple[str, Callable[[np.ndarray, float], np.ndarray], tuple[float, ...]], ...
] = (
    ("blur, sigma {:g} px", blurred, (1, 2, 4)),
    ("noise, sigma {:g} of 255", noisy, (8, 16, 32)),
    ("JPEG, quality {:g}", compressed, (50, 20, 5)),
)


def clusters_of(features: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the k-means cluster (Lloyd, 30 iterations) of each row; 0 is the largest."""
    rows = features.astype(np.float64)
    centers = rows[random.choice(len(rows), CLUSTERS, replace=False)]
    for _ in range(30):
        squared = (centers**2).sum(axis=1) - 2 * rows @ centers.T
        member = squared.argmin(axis=1)
        centers = np.stack(
            [rows[member == k].mean(axis=0) if (member == k).any() else centers[k]
             for k in range(CLUSTERS)]
        )  # fmt: skip
    rank = np.argsort(np.argsort(-np.bincount(member, minlength=CLUSTERS), kind="stable"))
    return rank[member]


def row(name: str, reals: np.ndarray, generated: np.ndarray) -> str:
    """Return one row of the table."""
    kernel = kernel_distance(generated, reals, subsets=20, subset_size=min(400, len(generated)))
    manifold = manifold_scores(reals, generated)
    distance = frechet_distance(gaussian_of(reals), gaussian_of(generated))
    return (
        f"| {name} | {distance:.4g} | {kernel.mean:.3g} | {manifold.precision:.3f} | "
        f"{manifold.recall:.3f} | {manifold.density:.3f} | {manifold.coverage:.3f} |"
    )


def table(images: np.ndarray, count: int, extractor_name: str) -> None:
    """Print the table of one extractor."""
    extractor = load_extractor(extractor_name)
    random = np.random.default_rng(0)
    order = random.permutation(len(images))
    reals = extractor.extract(images[np.sort(order[:count])])
    others = images[order[count : 3 * count]]  # twice as many, so that clusters can be dropped
    pool = extractor.extract(others)
    names = extractor.identity.frechet_name, extractor.identity.kernel_name
    print(f"\n{extractor_name}, {count:,} reals and {count:,} others\n")
    print(
        f"| generated images | {names[0]} | {names[1]} | precision | recall | density | coverage |"
    )
    print("|---|---|---|---|---|---|---|")
    print(row("the reals themselves", reals, reals))
    print(row("other real photos", reals, pool[:count]), flush=True)
    for template, distort, strengths in DISTORTIONS:
        for strength in strengths:
            distorted = np.stack([distort(image, strength) for image in others[:count]])
            print(row(template.format(strength), reals, extractor.extract(distorted)), flush=True)
    member = clusters_of(pool, random)
    for dropped in (2, 3, 4):
        kept = np.flatnonzero(member >= dropped)[:count]
        name = f"{dropped} of {CLUSTERS} clusters left out ({len(kept):,} images)"
        print(row(name, reals, pool[kept]))
    for fraction in (0.5, 0.75, 0.9):
        unique = round(count * (1 - fraction))
        repeated = pool[np.arange(count) % unique]
        print(row(f"{fraction:.0%} are repeats", reals, repeated), flush=True)


def main() -> None:
    """Read the dataset and print a table for each extractor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument(
        "--count", type=int, default=1500, help="real images; needs 3 times as many"
    )
    parser.add_argument("--extractor", nargs="+", default=["lite2", "raw-64"])
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.dataset)
    if len(dataset) < 3 * arguments.count:
        parser.error(
            f"{arguments.dataset} has {len(dataset)} images: expected at least "
            f"{3 * arguments.count}; use a smaller --count"
        )
    for name in arguments.extractor:
        table(np.asarray(dataset.images), arguments.count, name)


if __name__ == "__main__":
    main()
