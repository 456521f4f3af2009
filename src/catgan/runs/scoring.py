"""What a path means where images are scored: the images, the reals, or an earlier evaluation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from catgan.data.dataset.dataset import RESOLUTIONS, Dataset, is_dataset
from catgan.data.reading.sources import label
from catgan.errors import CatganError
from catgan.evaluation.evaluate import Latents
from catgan.evaluation.image_sets import (
    ImageSet,
    ScoredCheckpoint,
    all_have_shape,
    dataset_images,
    file_images,
    generated_images,
)
from catgan.evaluation.results.comparison import Contender
from catgan.evaluation.results.read import read_evaluation
from catgan.evaluation.results.records import RECORD
from catgan.runs.data import OnProgress, changed_data, data_of
from catgan.runs.directory import RunDirectory, is_run
from catgan.runs.sampler import restored_sampler


@dataclass(frozen=True)
class Reals:
    """The real images of an evaluation.

    `holdout`: images of the same dataset that were held out of training, or None. `dataset` is None
    for images that are scored as they are. `notes` say how they were prepared.
    """

    images: ImageSet
    holdout: ImageSet | None
    dataset: Dataset | None
    notes: tuple[str, ...]

    def notes_for(self, path: Path) -> list[str]:
        """Return `notes`, and a warning if `path` is a run that was trained on other images."""
        changed = self.dataset and changed_data(path, self.dataset)
        warning = [f"{changed}; memorized images may be missing from these."] if changed else []
        return [*self.notes, *warning]


def open_reals(
    against: Path | None, scored: Mapping[Path, ImageSet], on_progress: OnProgress
) -> Reals:
    """Return the real images to score `scored` (image sets by path) against.

    `against` is a dataset, a run (its training data), or photos; None means the training data of
    the scored runs. Photos are prepared as for training, at the largest resolution of the scored
    runs. Without a run, they are taken as they are if all have the size of the scored images, or if
    no dataset can have that size; else they are prepared at that size.

    Raises:
        CatganError: the reals cannot be read or prepared; or `against` is None, and nothing scored
            is a run, or the runs were trained on different data.
    """
    path = against or _run_with_reals(list(scored))
    runs = [each for each in scored if is_run(each)]
    are_photos = not is_run(path) and not is_dataset(path)
    shapes = [scored[each].shape for each in runs or scored] if are_photos else []
    size = max((max(shape) for shape in shapes), default=0)
    if are_photos and not runs:
        can_prepare = bool(shapes) and {*shapes} <= {(side, side) for side in RESOLUTIONS}
        if not can_prepare or (
            len({*shapes}) == 1 and all_have_shape(path, shapes[0], on_progress)
        ):
            return Reals(file_images(path), None, None, ())
    try:
        dataset = data_of(path, size, on_progress)
    except CatganError as error:
        if not are_photos or not path.exists():
            raise
        raise CatganError(
            f"{error} (Prepared at {size} px, the size of the scored images; a dataset may have "
            "any size.)"
        ) from error
    held_out = len(dataset.indices("holdout"))
    notes = []
    if are_photos:
        skipped = len(dataset.rejected) + len(dataset.duplicates)
        notes.append(
            f"{dataset.name} was prepared at {size} px, as for training: {len(dataset):,} images, "
            f"{held_out:,} of them held out; {skipped:,} files left out."
        )
    holdout = dataset_images(dataset, "holdout") if held_out else None
    return Reals(dataset_images(dataset), holdout, dataset, tuple(notes))


def _run_with_reals(scored: Sequence[Path]) -> Path:
    """Return the first run among `scored`, provided that all runs have the same training data."""
    runs = [path for path in scored if is_run(path)]
    if not runs:
        raise CatganError(
            f"{scored[0]} is not a run, so its real images are unknown: name them with --against"
        )
    first, *others = (RunDirectory.open(path).facts()["dataset"] for path in runs)
    for path, facts in zip(runs[1:], others, strict=True):
        if any(facts.get(key) != first.get(key) for key in ("identity", "split")):
            raise CatganError(
                f"{runs[0]} and {path} were trained on different data: name the real images with "
                "--against"
            )
    return runs[0]


def open_contender(
    path: Path, samples: int, checkpoint: str, device: torch.device, note: Callable[[str], None]
) -> Contender:
    """Return the evaluation that `path` names, or else its images: see `open_images`."""
    if record := find_record(path):
        return Contender(record, read_evaluation(record))
    return Contender(path, open_images(path, samples, checkpoint, device, note)[0])


def find_record(path: Path) -> Path | None:
    """Return the evaluation.json that `path` is or holds, or None."""
    if is_run(path) or is_dataset(path):
        return None
    if path.is_dir():
        return path / RECORD if (path / RECORD).is_file() else None
    return path if path.suffix.lower() == ".json" and path.is_file() else None


def open_images(
    path: Path, samples: int, checkpoint: str, device: torch.device, note: Callable[[str], None]
) -> tuple[ImageSet, Latents | None]:
    """Return the images at `path`, and access to the latents if it is a run.

    A run generates `samples` images (seeds from 0) from `checkpoint`: "latest", "best" or a number
    of images seen. `note` gets a line for each corrupt checkpoint that is skipped.

    Raises:
        CatganError: `path` is not a set of images, or cannot be read.
    """
    if is_dataset(path):
        dataset = Dataset.open(path)
        dataset.verify()
        return dataset_images(dataset), None
    if path.suffix.lower() == ".onnx":
        raise CatganError(
            f"{path} is an exported generator, expected a run or images: score its run, or images "
            "that catgan sample writes"
        )
    if not is_run(path):
        return file_images(path), None

    # "latest" and "best" are resolved once: the run may be training meanwhile.
    store = RunDirectory.open(path).checkpoints
    loaded = store.load(checkpoint, note, ["ema"])
    pointers = tuple(name for name in ("latest", "best") if store.pointer(name) == loaded.path.name)
    sampler, _ = restored_sampler(loaded, device)
    name = label(Path(os.path.realpath(path)).name)
    images = generated_images(
        name, sampler, samples, checkpoint=ScoredCheckpoint(loaded.images, pointers)
    )
    return images, Latents(sampler.synthesize, sampler.config.latent_size)
