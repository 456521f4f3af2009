"""Does each metric move when it should? Known damage to real photos, scored; prints Markdown.

    python benchmarks/evaluation_sensitivity.py cats/ --count 500

Of the photos of a prepared dataset, `count` are the reals and the others stand in for a generator,
damaged in known ways, three strengths each. Every row but the first two should be worse than
"other real photos" in the columns that the damage concerns, and worse with its strength.
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
    """Gaussian blur; sigma in pixels."""
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    """Independent Gaussian noise on each channel; sigma in levels of 255."""
    random = np.random.default_rng(int(image.sum()))
    noise = random.standard_normal(image.shape) * sigma
    return np.rint(image + noise).clip(0, 255).astype(np.uint8)


def compressed(image: np.ndarray, quality: float) -> np.ndarray:
    """Through JPEG at `quality`, colors subsampled as usual."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer).convert("RGB"))


DAMAGE: tuple[tuple[str, Callable[[np.ndarray, float], np.ndarray], tuple[float, ...]], ...] = (
    ("blur, sigma {:g} px", blurred, (1, 2, 4)),
    ("noise, sigma {:g} of 255", noisy, (8, 16, 32)),
    ("JPEG, quality {:g}", compressed, (50, 20, 5)),
)


def clusters_of(features: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The k-means cluster (Lloyd, 30 rounds) of each row, 0 the largest."""
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
    """One line of the table."""
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
    others = images[order[count : 3 * count]]  # a pool, so that half of it can be left out
    pool = extractor.extract(others)
    names = extractor.identity.frechet_name, extractor.identity.kernel_name
    print(f"\n{extractor_name}, {count:,} reals and {count:,} others\n")
    print(
        f"| generated images | {names[0]} | {names[1]} | precision | recall | density | coverage |"
    )
    print("|---|---|---|---|---|---|---|")
    print(row("the reals themselves", reals, reals))
    print(row("other real photos", reals, pool[:count]), flush=True)
    for template, damage, strengths in DAMAGE:
        for strength in strengths:
            damaged = np.stack([damage(image, strength) for image in others[:count]])
            print(row(template.format(strength), reals, extractor.extract(damaged)), flush=True)
    member = clusters_of(pool, random)
    for dropped in (2, 3, 4):
        kept = np.flatnonzero(member >= dropped)[:count]
        name = f"{dropped} of {CLUSTERS} clusters left out ({len(kept):,} images)"
        print(row(name, reals, pool[kept]))
    for share in (0.5, 0.75, 0.9):
        unique = round(count * (1 - share))
        repeated = pool[np.arange(count) % unique]
        print(row(f"{share:.0%} are repeats", reals, repeated), flush=True)


def main() -> None:
    """Read the dataset and print a table for each extractor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--count", type=int, default=1500, help="reals; three times as many needed")
    parser.add_argument("--extractor", nargs="+", default=["lite2", "raw-64"])
    arguments = parser.parse_args()
    dataset = Dataset.open(arguments.dataset)
    if len(dataset) < 3 * arguments.count:
        parser.error(f"{arguments.dataset} has {len(dataset)} images, not {3 * arguments.count}")
    for name in arguments.extractor:
        table(np.asarray(dataset.images), arguments.count, name)


if __name__ == "__main__":
    main()
