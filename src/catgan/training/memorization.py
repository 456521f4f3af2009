"""At the end of a run: is what it draws nearer to its training photos than to others?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from catgan.data.dataset.dataset import Dataset
from catgan.errors import CatganError
from catgan.evaluation.evaluate import Evaluation, evaluate
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.image_sets import ScoredCheckpoint, dataset_images, generated_images
from catgan.evaluation.reference import measure_reference
from catgan.evaluation.results.records import free_directory, write_evaluation
from catgan.files import file_name
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import restored_sampler

SAMPLES = 1_000
MIN_IMAGES = 12  # to train on, and
MIN_HELD_OUT = 5  # held out; of fewer a distance says nothing

OnProgress = Callable[[str, int, int], None]


def can_be_checked(dataset: Dataset) -> bool:
    """Return whether a dataset has enough training and held-out images for `check_memorization`."""
    counts = [len(dataset.indices(split)) for split in ("train", "holdout")]
    return counts[0] >= MIN_IMAGES and counts[1] >= MIN_HELD_OUT


def check_memorization(
    run: RunDirectory, dataset: Dataset, device: torch.device, on_progress: OnProgress
) -> tuple[Evaluation, Path]:
    """Evaluate a run's best checkpoint on its data; return the evaluation and its page.

    The page, which shows the pairs that are most alike, lies where `catgan evaluate` puts it.

    Raises:
        CatganError: there is no sound checkpoint, or the page cannot be written.
    """
    store = run.checkpoints
    loaded = store.load("best" if store.pointer("best") else "latest", _quietly, ["ema"])
    pointers = tuple(w for w in ("latest", "best") if store.pointer(w) == loaded.path.name)
    sampler, _ = restored_sampler(loaded, device)
    made = generated_images(
        run.path.resolve().name,
        sampler,
        SAMPLES,
        checkpoint=ScoredCheckpoint(loaded.images, pointers),
    )
    extractor = load_extractor("lite2")
    reals = dataset_images(dataset)
    reference = measure_reference(
        reals, extractor, holdout=dataset_images(dataset, "holdout"), progress=on_progress
    )
    result = evaluate(made, reference, progress=on_progress)
    home = run.path / "evaluation" / file_name(extractor.identity.name)
    place = free_directory(result, home / f"{loaded.images:09d}")
    try:
        return result, write_evaluation(place, result, made, reals)
    except OSError as error:
        raise CatganError(
            f"{place}: cannot be written ({error.strerror or error}): make room, then "
            "catgan evaluate"
        ) from None


def describe_memorization(result: Evaluation) -> str:
    """Return in one sentence whether samples are nearer to training photos than to others."""
    found = result.memorization
    counted = "1 exact copy" if result.copies == 1 else f"{result.copies:,} exact copies"
    copies = f"{counted} among {result.fingerprint.generated_count:,} samples"
    if found is None:
        return copies
    nearer = f"{abs(found.gap):.1%} {'nearer to' if found.gap > 0 else 'farther from'}"
    said = f"samples lie {nearer} training photos than held-out ones"
    if found.gap_in_spreads is not None:
        said += f" ({abs(found.gap_in_spreads):.1f} standard deviations)"
    return f"{said}; {copies}"


def _quietly(text: str) -> None:
    """A damaged checkpoint was passed over, of which the run has told already."""
