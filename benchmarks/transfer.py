"""Compare training on few photos from existing weights and from scratch, on unseen photos.

    python benchmarks/transfer.py whole-photos.zip work/ --counts 50 100 200 --seeds 0 1 2
    python benchmarks/transfer.py whole-photos.zip work/ --scratch-minutes 60 --seeds 0

The faces that `catgan prepare --faces` finds are split by their photo's checksum, so the split is
always the same: about 22 faces are held out in the runs, for early stopping; about 200 are the
training images (or the first 50 or 100 of them); all others are for scoring. The faces of one photo
stay together. Existing runs are not repeated, even if they are unfinished. All scores are of 1,000
samples against the scoring photos; distances are kernel distances.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from catgan.data.dataset.dataset import Dataset
from catgan.data.dataset.writer import DatasetWriter
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.features import Features, extract_features
from catgan.evaluation.image_sets import array_images
from catgan.evaluation.metrics.kernel import squared_mmd
from catgan.evaluation.metrics.nearest_neighbors import nearest
from catgan.evaluation.scores import score_features
from catgan.generation.generator import load_generator
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import load_sampler
from catgan.training.guard import diversity, downsample

TRAINING, STOPPING = 200, 22  # at most so many faces
SAMPLES = 1000
RESAMPLES = 200  # of the photos, for the standard deviation of the memorization gap
COLUMNS = (
    "run | photos | seed | images | minutes | KD-lite2 x 1000 | KD-raw-64 x 1000 | precision | "
    "recall | coverage | diversity | copies | memorization gap"
)


def main() -> None:
    """Train the missing runs, then print the table."""
    arguments = _arguments()
    torch.set_flush_denormal(True)
    work: Path = arguments.work
    faces = work / "faces"
    if not faces.exists():
        _catgan("prepare", arguments.photos, faces, "--faces", "--size", "128")
    split = _split(Dataset.open(faces))
    for count in arguments.counts:
        _write_dataset(split, count, work / f"photos-{count}")
    runs = list(_train(arguments))
    scorer = Scorer(split)
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    print(f"\n{len(split.unseen)} scoring photos, {threads} threads")
    print(f"| {COLUMNS} |\n|{'---|' * len(COLUMNS.split('|'))}")
    bundled = load_generator()
    print(scorer.row("bundled, unchanged | | | | ", bundled.sample, split.trained))
    for name, count, seed, path in runs:
        run = RunDirectory.open(path)
        best = run.checkpoints.pointer("best") or run.checkpoints.pointer("latest")
        checkpoints = run.checkpoints.names() if arguments.every_checkpoint else [str(best)]
        for checkpoint in checkpoints:
            sampler = load_sampler(path, torch.device("cpu"), print, checkpoint)
            images = int(checkpoint)
            label = f"{name} | {count} | {seed} | {images:,} | {_minutes(run, images):.0f}"
            print(scorer.row(label, sampler, split.trained[:count]), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("photos", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[TRAINING])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, help="time limit of a run with --from")
    parser.add_argument("--scratch-minutes", type=float, help="also train from scratch, this long")
    parser.add_argument("--set", action="append", default=[], help="a setting of runs with --from")
    parser.add_argument("--every-checkpoint", action="store_true", help="score all checkpoints")
    parser.add_argument("--name", default="transfer", help="name of these runs")
    return parser.parse_args()


@dataclass(frozen=True)
class Split:
    """Indices of faces in the dataset `faces`, by purpose."""

    faces: Dataset
    stopping: list[int]
    training: list[int]
    scoring: list[int]

    @property
    def trained(self) -> np.ndarray:
        """The images for training."""
        return np.asarray(self.faces.images[self.training])

    @property
    def unseen(self) -> np.ndarray:
        """The images for scoring."""
        return np.asarray(self.faces.images[self.scoring])


def _split(faces: Dataset) -> Split:
    """Split the photos in the order of their checksums; the faces of a photo stay together."""
    photos: dict[str, list[int]] = {}
    for number, record in enumerate(faces.records):
        photos.setdefault(record.sha256, []).append(number)
    remaining = [photos[checksum] for checksum in sorted(photos)]
    stopping, remaining = _take(remaining, STOPPING)
    training, remaining = _take(remaining, TRAINING)
    return Split(faces, stopping, training, [number for photo in remaining for number in photo])


def _take(photos: list[list[int]], max_count: int) -> tuple[list[int], list[list[int]]]:
    """Return the faces of the first photos, at most `max_count`, and the remaining photos."""
    faces: list[int] = []
    for used, photo in enumerate(photos):
        if len(faces) + len(photo) > max_count:
            return faces, photos[used:]
        faces += photo
    return faces, []


def _write_dataset(split: Split, count: int, path: Path) -> None:
    """Write the first `count` training faces, with a tenth as many held out for stopping."""
    if path.exists():
        return
    faces = split.faces
    held_out = split.stopping[: max(count // 9, 5)]
    # The writer holds out the lowest checksums, so the limit lies between the two groups.
    last_stopping, first_training = (
        int(faces.records[number].sha256[:16], 16)
        for number in (split.stopping[-1], split.training[0])
    )
    limit = (last_stopping + first_training) / 2 / 2**64
    with DatasetWriter(path, faces.resolution, name=path.name, holdout_fraction=limit) as writer:
        for number in (*held_out, *split.training[:count]):
            record = faces.records[number]
            writer.append(
                np.asarray(faces.images[number]),
                source=record.source,
                sha256=record.sha256,
                crop=record.crop,
            )
    written = Dataset.open(path)
    expected = [len(held_out), min(count, len(split.training))]
    sizes = [len(written.indices(part)) for part in ("holdout", "train")]
    if sizes != expected:
        raise RuntimeError(f"{path}: expected {expected} held-out and training faces, got {sizes}")


def _train(arguments: argparse.Namespace) -> Iterator[tuple[str, int, int, Path]]:
    """Train missing runs; yield the name, number of photos, seed and directory of every run."""
    settings = [option for each in arguments.set for option in ("--set", each)]
    minutes = ["--minutes", str(arguments.minutes)] if arguments.minutes else []
    kinds = [(arguments.name, ["--from", "bundled", *minutes, *settings])]
    if arguments.scratch_minutes:
        scratch = ["--set", "output.checkpoint_images=8192", "--set", "training.images=10000000"]
        kinds.append(("scratch", ["--minutes", str(arguments.scratch_minutes), *scratch]))
    for seed in arguments.seeds:
        for count in arguments.counts:
            for name, options in kinds:
                run = arguments.work / f"{name}-{count}-{seed}"
                if not run.exists():
                    data = arguments.work / f"photos-{count}"
                    _catgan("train", data, "--out", run, *options, "--set", f"training.seed={seed}")
                yield name, count, seed, run


def _catgan(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "catgan", *map(str, arguments)], check=True)


def _minutes(run: RunDirectory, images: int) -> float:
    """Return the minutes of training up to `images` images, without scores and checkpoints."""
    rows = [row for row in run.rows() if "machine" in row and row["images"] <= images]
    previous = [0, *(row["images"] for row in rows)]
    return sum(
        (row["images"] - before) / row["machine"]["images_per_second"] / 60
        for row, before in zip(rows, previous, strict=False)
    )


class Scorer:
    """Scores generators against the scoring photos, which no run has seen."""

    def __init__(self, split: Split) -> None:
        self.split = split
        self.lite2, self.raw = load_extractor("lite2"), load_extractor("raw-64")
        self.unseen = [self._features(each, split.unseen) for each in (self.lite2, self.raw)]
        self.diversity = _diversity(split.unseen)

    def row(
        self, label: str, sample: Callable[[np.ndarray], np.ndarray], trained: np.ndarray
    ) -> str:
        """Return a row of the table for the images that `sample` generates from seeds."""
        images = sample(np.arange(SAMPLES))
        lite2, raw = (self._features(each, images) for each in (self.lite2, self.raw))
        scores, _ = score_features(lite2.vectors, self.unseen[0].vectors)
        trained_features = self._features(self.lite2, trained)
        trained_digests = {digest.tobytes() for digest in trained_features.digests}
        copies = sum(digest.tobytes() in trained_digests for digest in lite2.digests)
        gap, gap_std = _memorization_gap(
            lite2.vectors, trained_features.vectors, self.unseen[0].vectors
        )
        distances = [
            squared_mmd(generated.vectors, unseen.vectors) * 1000
            for generated, unseen in zip((lite2, raw), self.unseen, strict=True)
        ]
        return (
            f"| {label} | {distances[0]:.1f} | {distances[1]:.2f} | {scores.precision:.3f} | "
            f"{scores.recall:.3f} | {scores.coverage:.3f} | "
            f"{_diversity(images) / self.diversity:.2f} | {copies} | {gap:+.3f} ± {gap_std:.3f} |"
        )

    def _features(self, extractor: Extractor, images: np.ndarray) -> Features:
        return extract_features(array_images("images", images), extractor)


def _diversity(images: np.ndarray) -> float:
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
    return float(diversity(downsample(pixels)))


def _memorization_gap(
    samples: np.ndarray, trained: np.ndarray, unseen: np.ndarray
) -> tuple[float, float]:
    """Return the relative gap between nearest distances to unseen and to training photos.

    The gap is (unseen - training) / unseen, with mean distances from samples to their nearest
    photo. Returns its mean and standard deviation over random subsets of equal size of both kinds,
    half the size of the smaller kind.
    """
    size = min(len(trained), len(unseen)) // 2
    random = np.random.default_rng(0)
    gaps = []
    for _ in range(RESAMPLES):
        to_trained, to_unseen = (
            nearest(samples, photos[random.choice(len(photos), size, replace=False)])[1].mean()
            for photos in (trained, unseen)
        )
        gaps.append((to_unseen - to_trained) / to_unseen)
    return float(np.mean(gaps)), float(np.std(gaps))


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes")
