"""Evaluations by path: what a path means as images, as reals or as an earlier evaluation.

A path is a run, a dataset, or a folder or zip of images; docs/guides/evaluate.md describes each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from catgan.data.dataset.dataset import RESOLUTIONS, Dataset, is_dataset
from catgan.data.reading.sources import label
from catgan.errors import CatganError, cannot_write
from catgan.evaluation.evaluate import Evaluation, Latents, evaluate
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.image_sets import (
    ImageSet,
    ScoredCheckpoint,
    all_have_shape,
    dataset_images,
    file_images,
    generated_images,
)
from catgan.evaluation.reference import measure_reference, require_enough
from catgan.evaluation.results.comparison import Contender
from catgan.evaluation.results.read import read_evaluation
from catgan.evaluation.results.records import (
    RECORD,
    evaluation_directory,
    free_directory,
    require_writable,
    write_evaluation,
)
from catgan.runs.data import OnProgress, changed_data, data_of
from catgan.runs.device import choose_device
from catgan.runs.directory import RunDirectory, is_run
from catgan.runs.sampler import restored_sampler

DEFAULT_SAMPLES = 5_000


@dataclass(frozen=True)
class RealImages:
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


@dataclass(frozen=True)
class ScoredImages:
    """An evaluation, the images it compares, and the directory to write it to."""

    evaluation: Evaluation
    generated: ImageSet
    reals: ImageSet
    directory: Path

    def write(self) -> Path:
        """Write evaluation.json and evaluation.html to the directory; return the page's path.

        Raises:
            CatganError: they cannot be written.
        """
        try:
            return write_evaluation(self.directory, self.evaluation, self.generated, self.reals)
        except OSError as error:
            raise cannot_write(self.directory, error) from None


def evaluate_path(
    path: Path,
    *,
    against: Path | None = None,
    samples: int | None = None,
    extractor: str | None = None,
    resize: str | None = None,
    inception: Path | None = None,
    input_size: int | None = None,
    checkpoint: str = "latest",
    device_name: str = "auto",
    out: Path | None = None,
    note: Callable[[str], None],
    on_progress: OnProgress,
) -> ScoredImages:
    """Return the evaluation of the images at `path` against those at `against`, without writing it.

    `against` defaults to the training data of the run at `path`. `samples`, `checkpoint` and
    `device_name` are only for a run. The evaluation belongs in `out`, or by default in the run or
    the current directory, in a subdirectory named by the extractor and the images. `note` gets a
    line for each corrupt checkpoint that is skipped.

    Raises:
        CatganError: an option does not apply; images, extractor or checkpoint cannot be used; there
            are too few images; or the evaluation could not be written.
    """
    if not is_run(path) and (
        samples is not None or checkpoint != "latest" or device_name != "auto"
    ):
        raise CatganError(f"{path} is not a run: leave out --samples, --checkpoint and --device")
    if record := record_at(path):
        raise CatganError(
            f"{record} is an evaluation, expected images: pass it to catgan compare instead"
        )
    home = path if is_run(path) else Path()
    require_output(out or home / "evaluation")
    generated, latents = images_to_score(path, samples, checkpoint, device_name, note)
    require_enough(generated)
    reals = real_images(against, {path: generated}, on_progress)
    network = load_extractor(
        extractor, resize=resize, inception_path=inception, input_size=input_size
    )
    wanted = out or evaluation_directory(home, generated, network.identity)
    require_output(wanted)
    reference = measure_reference(
        reals.images, network, holdout=reals.holdout, progress=on_progress
    )
    notes = reals.notes_for(path)
    result = evaluate(generated, reference, latents=latents, notes=notes, progress=on_progress)
    return ScoredImages(result, generated, reals.images, out or free_directory(result, wanted))


def contender_at(
    path: Path,
    samples: int | None,
    checkpoint: str,
    device_name: str,
    note: Callable[[str], None],
) -> Contender:
    """Return the evaluation that `path` names, or else its images: see `images_to_score`."""
    if record := record_at(path):
        return Contender(record, read_evaluation(record))
    return Contender(path, images_to_score(path, samples, checkpoint, device_name, note)[0])


def record_at(path: Path) -> Path | None:
    """Return the evaluation.json that `path` is or holds, or None."""
    if is_run(path) or is_dataset(path):
        return None
    if path.is_dir():
        return path / RECORD if (path / RECORD).is_file() else None
    return path if path.suffix.lower() == ".json" and path.is_file() else None


def images_to_score(
    path: Path,
    samples: int | None,
    checkpoint: str,
    device_name: str,
    note: Callable[[str], None],
) -> tuple[ImageSet, Latents | None]:
    """Return the images at `path`, and access to the latents if it is a run.

    A run generates `samples` images (default `DEFAULT_SAMPLES`, seeds from 0) from `checkpoint`:
    "latest", "best" or a number of images seen. `note` gets a line for each corrupt checkpoint that
    is skipped.

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

    # "latest" and "best" are resolved once: they may move while the run is still training.
    store = RunDirectory.open(path).checkpoints
    loaded = store.load(checkpoint, note, ["ema"])
    pointers = tuple(name for name in ("latest", "best") if store.pointer(name) == loaded.path.name)
    sampler, _ = restored_sampler(loaded, choose_device(device_name))
    name = label(Path(os.path.realpath(path)).name)
    count = DEFAULT_SAMPLES if samples is None else samples
    generated = generated_images(
        name, sampler, count, checkpoint=ScoredCheckpoint(loaded.images, pointers)
    )
    return generated, Latents(sampler.synthesize, sampler.config.latent_size)


def real_images(
    against: Path | None, scored: Mapping[Path, ImageSet], on_progress: OnProgress
) -> RealImages:
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
            return RealImages(file_images(path), None, None, ())
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
    return RealImages(dataset_images(dataset), holdout, dataset, tuple(notes))


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


def require_output(directory: Path) -> None:
    """Raise `CatganError` unless `directory` can be written or created; nothing is left behind."""
    try:
        require_writable(directory)
    except OSError as error:
        raise cannot_write(directory, error) from None
