"""What does truncation trade? Quality and variety over psi, as a table and a curve.

    python benchmarks/truncation.py cats.onnx DATASET [--samples 2000] [--extractor lite2]
        [--curve truncation.svg]

For each psi, `--samples` cats of the same seeds are scored against the dataset's training images:
Frechet distance, precision (how many cats look real), recall (how much of the real ones they
cover). The way that truncates is the artefact's own: toward the mean of the style.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import catgan
from catgan.data.dataset import Dataset
from catgan.evaluation.evaluate import Evaluation
from catgan.evaluation.evaluate import evaluate as score
from catgan.evaluation.extractors import load_extractor
from catgan.evaluation.image_sets import dataset_images, generated_images
from catgan.evaluation.reference import measure_reference

PSIS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def save_curve(path: Path, rows: list[tuple[float, Evaluation]]) -> None:
    """Precision and recall over psi."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5))
    for name in ("precision", "recall"):
        axes.plot([psi for psi, _ in rows], [getattr(e.scores, name) for _, e in rows], label=name)
    axes.set_xlabel("truncation")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    """Measure, print the table, draw the curve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artefact", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--extractor")
    parser.add_argument("--curve", type=Path)
    parser.add_argument("--psi", type=float, nargs="+", default=PSIS)
    given = parser.parse_args()
    cats, network = catgan.load(given.artefact), load_extractor(given.extractor)
    reference = measure_reference(dataset_images(Dataset.open(given.dataset)), network)
    distance = network.identity.frechet_name
    print(f"{'psi':>5s} {distance:>12s} {'precision':>10s} {'recall':>10s}")
    rows = []
    for psi in given.psi:
        images = generated_images(
            f"psi {psi}", lambda seeds, psi=psi: cats.sample(seeds, psi), given.samples
        )
        result = score(images, reference)
        rows.append((psi, result))
        scores = result.scores
        print(
            f"{psi:5.2f} {scores.frechet:12.2f} {scores.precision:10.3f} {scores.recall:10.3f}",
            flush=True,
        )
    if given.curve:
        save_curve(given.curve, rows)
        print(given.curve)


if __name__ == "__main__":
    main()
