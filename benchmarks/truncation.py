"""What does truncation trade? Quality and variety over psi, as a table, numbers and a curve.

    python benchmarks/truncation.py [cats.onnx] --against DATASET [--count 2000]
        [--numbers truncation.json] [--curve truncation.svg]

For each psi, `--count` cats of the same seeds are scored against the dataset's training images.
Quality: the Frechet distance, and precision (how many cats look real). Variety: recall (how much of
the real ones they cover), and spread, the distance of two cats' features as a share of that of two
real ones, in the root of the mean square. The floor is one half of the real ones against the other.

Two ways to truncate are possible with an artifact, and are compared:

    style  its own input: what the generator makes of z, from which all its gains follow, is pulled
           toward its mean
    z      the numbers of z are drawn nearer to their mean, before the artifact gets them: from a
           normal distribution that is cut off where its deviation is psi (Brock et al., ICLR 2019).
           To scale z alone would change nothing in a generator that takes z to a sphere.

At psi = 1 both are the generator as it was trained.
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
    """The scores of one psi under one extractor; `way` is "floor" for the real ones."""

    extractor: str
    way: str
    psi: float
    count: int
    frechet: float
    precision: float
    recall: float
    spread: float


def cut_off(z: np.ndarray, deviation: float) -> np.ndarray:
    """Standard normal numbers as ones of a normal distribution cut off where it has `deviation`.

    Each keeps its rank, so a seed's numbers stay as near to what they were as they can.
    """
    if deviation == 1:
        return z

    def excess(limit: float) -> float:
        density = np.exp(-(limit**2) / 2) / np.sqrt(2 * np.pi)
        return 1 - 2 * limit * density / (2 * ndtr(limit) - 1) - deviation**2

    low, high = ndtr(np.array([-1, 1]) * brentq(excess, 1e-2, 10))
    return ndtri(low + ndtr(z.astype(np.float64)) * (high - low)).astype(np.float32)


def by_style(cats: Generator, seeds: range, psi: float) -> np.ndarray:
    """Cats truncated by the artifact."""
    return cats.sample(seeds, psi)


def by_z(cats: Generator, seeds: range, psi: float) -> np.ndarray:
    """Cats of truncated z."""
    return cats.synthesize(cut_off(cats.latents(seeds), psi))


WAYS: dict[str, Callable[[Generator, range, float], np.ndarray]] = {"style": by_style, "z": by_z}


def deviation(features: np.ndarray) -> float:
    """The root of the mean square of the features' distances from their mean."""
    return float(np.sqrt(features.astype(np.float64).var(0).sum()))


def score(images: np.ndarray, reference: Reference, way: str, psi: float) -> Row:
    """One row of the table."""
    made = extract_features(array_images("cats", images), reference.extractor).vectors
    scores, _ = score_features(
        made, reference.features.vectors, gaussian=reference.gaussian, radii=reference.radii[1:]
    )
    return Row(
        reference.extractor.identity.name,
        way,
        psi,
        len(images),
        scores.frechet,
        scores.precision,
        scores.recall,
        deviation(made) / deviation(reference.features.vectors),
    )


def floor(reference: Reference) -> Row:
    """What a perfect generator would score at half as many images as there are real ones."""
    scores, name = reference.floor, reference.extractor.identity.name
    return Row(
        name, "floor", 1.0, reference.floor_count, scores.frechet, scores.precision, scores.recall,
        1.0,
    )  # fmt: skip


def save_curve(path: Path, rows: list[Row]) -> None:
    """For each extractor, the Frechet distance over the variety that is left, a point a psi."""
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
        panel.set_ylabel(f"FD-{name} (less is better)")
        panel.legend(frameon=False, title="truncated")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    """Measure, print the table, write the numbers and the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path, nargs="?")
    parser.add_argument("--against", type=Path, required=True, metavar="DATASET")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--psi", type=float, nargs="+", default=PSIS)
    parser.add_argument("--extractor", nargs="+", default=EXTRACTORS)
    parser.add_argument("--numbers", type=Path)
    parser.add_argument("--curve", type=Path)
    given = parser.parse_args()
    cats, reals = catgan.load(given.artifact), dataset_images(Dataset.open(given.against))
    references = [measure_reference(reals, load_extractor(name)) for name in given.extractor]
    card = cats.card
    print(f"{card.name}, {card.images:,} images seen; {given.count:,} cats against {reals.name}")
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
    for psi in sorted(given.psi):
        for way, draw in WAYS.items():
            if psi == 1 and way != "style":  # the same cats
                for row in [each for each in rows if (each.way, each.psi) == ("style", 1)]:
                    report(Row(**{**asdict(row), "way": way}))
                continue
            images = draw(cats, range(given.count), psi)
            for reference in references:
                report(score(images, reference, way, psi))
    if given.numbers:
        facts = {
            "generator": card.name, "images": card.images, "reals": reals.name,
            "model_sha256": card.document["model_sha256"], "reals_count": reals.count,
            "rows": [asdict(row) for row in rows],
        }  # fmt: skip
        given.numbers.write_text(json.dumps(facts, indent=1) + "\n")
        print(given.numbers)
    if given.curve:
        save_curve(given.curve, rows)
        print(given.curve)


if __name__ == "__main__":
    main()
