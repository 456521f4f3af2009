"""At the end of a run: check whether samples lie nearer to training photos than to others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from catgan.data.dataset.dataset import Dataset
from catgan.errors import CatganError
from catgan.evaluation.evaluate import Evaluation, evaluate
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.image_sets import dataset_images
from catgan.evaluation.reference import measure_reference
from catgan.evaluation.results.records import evaluation_directory, free_directory, write_evaluation
from catgan.runs.directory import RunDirectory
from catgan.runs.evaluation import images_to_score

SAMPLES = 1_000
MIN_IMAGES = 12  # to train on
MIN_HELD_OUT = 5  # a distance to fewer is meaningless

OnProgress = Callable[[str, int, int], None]


def can_be_checked(dataset: Dataset) -> bool:
    """Return whether a dataset has enough training and held-out images for `check_memorization`."""
    counts = [len(dataset.indices(split)) for split in ("train", "holdout")]
    return counts[0] >= MIN_IMAGES and counts[1] >= MIN_HELD_OUT


def check_memorization(
    run: RunDirectory, dataset: Dataset, device: torch.device, on_progress: OnProgress
) -> tuple[Evaluation, Path]:
    """Evaluate a run's best checkpoint on its data; return the evaluation and its page.

    The page shows the most similar pairs. It lies where `catgan evaluate` puts it.

    Raises:
        CatganError: there is no intact checkpoint, or the page cannot be written.
    """
    checkpoint = "best" if run.checkpoints.pointer("best") else "latest"
    generated, _ = images_to_score(run.path, SAMPLES, checkpoint, str(device), _ignore_note)
    extractor = load_extractor("lite2")
    reals = dataset_images(dataset)
    reference = measure_reference(
        reals, extractor, holdout=dataset_images(dataset, "holdout"), progress=on_progress
    )
    result = evaluate(generated, reference, progress=on_progress)
    directory = free_directory(
        result, evaluation_directory(run.path, generated, extractor.identity)
    )
    try:
        return result, write_evaluation(directory, result, generated, reals)
    except OSError as error:
        raise CatganError(
            f"{directory}: cannot be written ({error.strerror or error}): make room, then "
            "catgan evaluate"
        ) from None


def describe_memorization(result: Evaluation) -> str:
    """Return one sentence on whether samples lie nearer to training photos than to others."""
    memorization = result.memorization
    count = "1 exact copy" if result.copies == 1 else f"{result.copies:,} exact copies"
    copies = f"{count} among {result.fingerprint.generated_count:,} samples"
    if memorization is None:
        return copies
    nearer = (
        f"{abs(memorization.gap):.1%} {'nearer to' if memorization.gap > 0 else 'farther from'}"
    )
    sentence = f"samples lie {nearer} training photos than held-out ones"
    if memorization.gap_in_stds is not None:
        sentence += f" ({abs(memorization.gap_in_stds):.1f} standard deviations)"
    return f"{sentence}; {copies}"


def _ignore_note(text: str) -> None:
    """Ignore notes on damaged checkpoints that were skipped: the run has printed them already."""
