"""Measure the trade of quality against variety by truncation; write a table, JSON and a plot.

    python benchmarks/truncation.py [cats.onnx] --against DATASET [--count 2000]
        [--numbers truncation.json] [--curve truncation.svg]

For each psi, `--count` cats of the same seeds are scored against the dataset's training images.
Quality: the Frechet distance, and precision (the fraction of cats that look real). Variety: recall
(the fraction of real images that the cats cover), and spread (the standard deviation of the cats'
features relative to that of the real images'). The floor is one half of the real images against the
other.

Two kinds of truncation are compared:

    style  the artifact's own input: the style, which the generator computes from z, moves toward
           its mean
    z      each number of z comes from a truncated normal distribution whose standard deviation is
           psi (Brock et al., ICLR 2019). Scaling z would have no effect in a generator that
           normalizes z.

At psi = 1 both are the generator as trained.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

import catgan
from catgan.data.dataset.dataset import Dataset
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.features import extract_features
from catgan.evaluation.image_sets import array_images, dataset_images
from catgan.evaluation.reference import Reference, measure_reference
from catgan.evaluation.scores import score_features
from catgan.generation.generator import Generator

PSIS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
EXTRACTORS = ("raw-64", "lite2")
COLUMNS = ("frechet", "precision", "recall", "spread")


@dataclass(frozen=True)
class Row:
    """The scores of one psi and extractor; `way` is the kind of truncation, or "floor"."""

    extractor: str
    way: str
    psi: float
    count: int
    frechet: float
    precision: float
    recall: float
    spread: float


def truncated_normal(z: np.ndarray, std: float) -> np.ndarray:
    """Map standard normal numbers to a truncated normal distribution of standard deviation `std`.

    The map preserves order, so that each number changes as little as possible.
    """
    if std == 1:
        return z

    def excess_variance(limit: float) -> float:
        density = np.exp(-(limit**2) / 2) / np.sqrt(2 * np.pi)
        return 1 - 2 * limit * density / (2 * ndtr(limit) - 1) - std**2

    low, high = ndtr(np.array([-1, 1]) * brentq(excess_variance, 1e-2, 10))
    return ndtri(low + ndtr(z.astype(np.float64)) * (high - low)).astype(np.float32)


def by_style(cats: Generator, seeds: range, psi: float) -> np.ndarray:
    """Return cats with the artifact's truncation."""
    return cats.sample(seeds, psi)


def by_z(cats: Generator, seeds: range, psi: float) -> np.ndarray:
    """Return cats of truncated z."""
    return cats.synthesize(truncated_normal(cats.latents(seeds), psi))


WAYS: dict[str, Callable[[Generator, range, float], np.ndarray]] = {"style": by_style, "z": by_z}


def total_std(features: np.ndarray) -> float:
    """Return the root mean square distance of the features from their mean."""
    return float(np.sqrt(features.astype(np.float64).var(0).sum()))


def score(images: np.ndarray, reference: Reference, way: str, psi: float) -> Row:
    """Return one row of the table."""
    features = extract_features(array_images("cats", images), reference.extractor).vectors
    reals = reference.features.vectors
    scores, _ = score_features(
        features, reals, gaussian=reference.gaussian, radii=reference.radii[1:]
    )
    return Row(
        reference.extractor.identity.name,
        way,
        psi,
        len(images),
        scores.frechet,
        scores.precision,
        scores.recall,
        total_std(features) / total_std(reals),
    )


def floor(reference: Reference) -> Row:
    """Return the scores of one half of the real images against the other."""
    scores, name = reference.floor, reference.extractor.identity.name
    return Row(
        name, "floor", 1.0, reference.floor_count, scores.frechet, scores.precision, scores.recall,
        1.0,
    )  # fmt: skip


def save_curve(path: Path, rows: list[Row]) -> None:
    """Plot the Frechet distance over recall for each extractor, one point per psi."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row.extractor for row in rows))
    figure, axes = pyplot.subplots(1, len(names), figsize=(4.5 * len(names), 3.5), squeeze=False)
    for panel, name in zip(axes[0], names, strict=True):
        for way in WAYS:
            points = [row for row in rows if (row.extractor, row.way) == (name, way)]
            panel.plot([p.recall for p in points], [p.frechet for p in points], "o-", label=way)
            for each in points:
                panel.annotate(
                    f"{each.psi:g}", (each.recall, each.frechet), fontsize=7,
                    xytext=(4, 4), textcoords="offset points",
                )  # fmt: skip
        panel.set_xlabel("recall (variety)")
        panel.set_ylabel(f"FD-{name} (lower is better)")
        panel.legend(frameon=False, title="truncation")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    """Measure, print the table, write the JSON and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path, nargs="?")
    parser.add_argument("--against", type=Path, required=True, metavar="DATASET")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--psi", type=float, nargs="+", default=PSIS)
    parser.add_argument("--extractor", nargs="+", default=EXTRACTORS)
    parser.add_argument("--numbers", type=Path)
    parser.add_argument("--curve", type=Path)
    arguments = parser.parse_args()
    cats, reals = catgan.load(arguments.artifact), dataset_images(Dataset.open(arguments.against))
    references = [measure_reference(reals, load_extractor(name)) for name in arguments.extractor]
    card = cats.card
    print(
        f"{card.name}, {card.images:,} images seen; {arguments.count:,} cats against {reals.name}"
    )
    titles = " ".join(f"{name:>10s}" for name in COLUMNS)
    print(f"{'extractor':10s} {'way':>6s} {'psi':>5s} {titles}")

    rows: list[Row] = []

    def report(row: Row) -> None:
        rows.append(row)
        print(
            f"{row.extractor:10s} {row.way:>6s} {row.psi:5.2f} {row.frechet:10.2f} "
            f"{row.precision:10.3f} {row.recall:10.3f} {row.spread:10.3f}",
            flush=True,
        )

    for reference in references:
        report(floor(reference))
    for psi in sorted(arguments.psi):
        for way, generate in WAYS.items():
            if psi == 1 and way != "style":  # the same cats
                for row in [each for each in rows if (each.way, each.psi) == ("style", 1)]:
                    report(Row(**{**asdict(row), "way": way}))
                continue
            images = generate(cats, range(arguments.count), psi)
            for reference in references:
                report(score(images, reference, way, psi))
    if arguments.numbers:
        document = {
            "generator": card.name, "images": card.images, "reals": reals.name,
            "model_sha256": card.document["model_sha256"], "reals_count": reals.count,
            "rows": [asdict(row) for row in rows],
        }  # fmt: skip
        arguments.numbers.write_text(json.dumps(document, indent=1) + "\n")
        print(arguments.numbers)
    if arguments.curve:
        save_curve(arguments.curve, rows)
        print(arguments.curve)


if __name__ == "__main__":
    main()
