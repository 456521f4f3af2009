"""What the paths mean that an evaluation is given, and where its result is kept.

A path is a run, a dataset, or a folder or zip of images; docs/evaluation.md describes each.
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
    Checkpoint,
    ImageSet,
    all_have_shape,
    dataset_images,
    file_images,
    generated_images,
)
from catgan.evaluation.reference import measure_reference, require_enough
from catgan.evaluation.results.records import (
    RECORD,
    place_for,
    require_writable,
    write_evaluation,
)
from catgan.files import file_name
from catgan.runs.data import OnProgress, changed_data, data_of
from catgan.runs.device import choose_device
from catgan.runs.directory import RunDirectory, is_run
from catgan.runs.sampler import restored_sampler

DEFAULT_SAMPLES = 5_000


@dataclass(frozen=True)
class RealImages:
    """The real images, the held-out ones of them if any, and notes on how they were prepared.

    `dataset` is None for images that are used as they are.
    """

    images: ImageSet
    holdout: ImageSet | None
    dataset: Dataset | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ScoredImages:
    """An evaluation, the images it compares, and the directory that its record belongs in."""

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
    """Score the images at `path` against those at `against`; nothing is written yet.

    `against` is the training data of the run at `path` unless given. `samples`, `checkpoint` and
    `device_name` are for a run. The record belongs in `out`, else beside the run or in the current
    directory, under the names of extractor and images. `note` is told of damaged checkpoints that
    were passed over.

    Raises:
        CatganError: an option does not apply, images, extractor or checkpoint cannot be used, there
            are too few images, or the record could not be written.
    """
    if not is_run(path) and (
        samples is not None or checkpoint != "latest" or device_name != "auto"
    ):
        raise CatganError(f"{path} is not a run: leave out --samples, --checkpoint and --device")
    if record := record_at(path):
        raise CatganError(f"{record} is an evaluation, and no images: name it to catgan compare")
    home = path if is_run(path) else Path()
    require_output(out or home / "evaluation")
    generated, latents = images_to_score(path, samples, checkpoint, device_name, note)
    require_enough(generated)
    reals = real_images(against, {path: generated}, on_progress)
    network = load_extractor(
        extractor, resize=resize, inception_path=inception, input_size=input_size
    )
    state = generated.checkpoint
    own = f"{state.images:09d}" if state else file_name(generated.name)
    wanted = out or home / "evaluation" / file_name(network.identity.name) / own
    require_output(wanted)
    reference = measure_reference(
        reals.images, network, holdout=reals.holdout, progress=on_progress
    )
    notes = (*reals.notes, *notes_on_run(path, reals))
    result = evaluate(generated, reference, latents=latents, notes=notes, progress=on_progress)
    return ScoredImages(result, generated, reals.images, out or place_for(result, wanted))


def images_to_score(
    path: Path,
    samples: int | None,
    checkpoint: str,
    device_name: str,
    note: Callable[[str], None],
) -> tuple[ImageSet, Latents | None]:
    """Return the images at `path` and, of a run, access to its latents.

    Of a run they are generated from the seeds 0 to `samples` - 1 (default `DEFAULT_SAMPLES`).

    Raises:
        CatganError: `path` is none of these, or cannot be read.
    """
    if is_dataset(path):
        dataset = Dataset.open(path)
        dataset.verify()
        return dataset_images(dataset), None
    if path.suffix.lower() == ".onnx":
        raise CatganError(
            f"{path} is an exported generator, and no images: score its run, or images that "
            "catgan sample draws with it"
        )
    if not is_run(path):
        return file_images(path), None

    # "latest" and "best" are resolved once: they may move while the run is still training.
    store = RunDirectory.open(path).checkpoints
    loaded = store.load(checkpoint, note, ["ema"])
    state = Checkpoint(
        loaded.images,
        tuple(name for name in ("latest", "best") if store.pointer(name) == loaded.path.name),
    )
    sampler, _ = restored_sampler(loaded, choose_device(device_name))
    name = label(Path(os.path.realpath(path)).name)
    count = DEFAULT_SAMPLES if samples is None else samples
    generated = generated_images(name, sampler, count, checkpoint=state)
    return generated, Latents(sampler.synthesize, sampler.config.latent_size)


def real_images(
    against: Path | None, scored: Mapping[Path, ImageSet], on_progress: OnProgress
) -> RealImages:
    """Return the real images that the `scored` ones (by their paths) are compared with.

    Photos are prepared as for training, at the largest resolution of the runs that are scored, or
    else at the size of the images. Without a run they are used as they are if all have that size
    already, or nothing can be prepared at it.

    Raises:
        CatganError: they are not named and not known, or cannot be read.
    """
    path = against or _run_with_the_data(list(scored))
    runs = [each for each in scored if is_run(each)]
    are_photos = not is_run(path) and not is_dataset(path)
    shapes = [scored[each].shape for each in runs or scored] if are_photos else []
    size = max((max(shape) for shape in shapes), default=0)
    if are_photos and not runs:
        fit = bool(shapes) and {*shapes} <= {(side, side) for side in RESOLUTIONS}
        if not fit or (len({*shapes}) == 1 and all_have_shape(path, shapes[0], on_progress)):
            return RealImages(file_images(path), None, None, ())
    try:
        dataset = data_of(path, size, on_progress)
    except CatganError as error:
        if not are_photos or not path.exists():
            raise
        raise CatganError(
            f"{error} (Prepared at {size} px, the size of what is scored; a dataset of any "
            "size can be named instead.)"
        ) from error
    held_out = len(dataset.indices("holdout"))
    notes = []
    if are_photos:
        left_out = len(dataset.rejected) + len(dataset.duplicates)
        notes.append(
            f"{dataset.name} was prepared at {size} px, as for training: {len(dataset):,} images, "
            f"{held_out:,} of them held out; {left_out:,} files left out."
        )
    holdout = dataset_images(dataset, "holdout") if held_out else None
    return RealImages(dataset_images(dataset), holdout, dataset, tuple(notes))


def _run_with_the_data(scored: Sequence[Path]) -> Path:
    """Return the run among `scored` whose data are the reals where none are named."""
    runs = [path for path in scored if is_run(path)]
    if not runs:
        raise CatganError(
            f"{scored[0]} is not a run, which would know its data: name the real images with "
            "--against"
        )
    first, *others = (RunDirectory.open(path).facts()["dataset"] for path in runs)
    for path, facts in zip(runs[1:], others, strict=True):
        if any(facts.get(key) != first.get(key) for key in ("identity", "split")):
            raise CatganError(
                f"{runs[0]} and {path} were trained on different data: name the real images with "
                "--against"
            )
    return runs[0]


def notes_on_run(path: Path, reals: RealImages) -> list[str]:
    """Return a note for a run that was trained on other images than the reals; else nothing."""
    changed = reals.dataset and changed_data(path, reals.dataset)
    return [f"{changed}; what it memorized may not be among these."] if changed else []


def record_at(path: Path) -> Path | None:
    """Return the record of an evaluation that `path` names, itself or by its directory."""
    if is_run(path) or is_dataset(path):
        return None
    if path.is_dir():
        return path / RECORD if (path / RECORD).is_file() else None
    return path if path.suffix.lower() == ".json" and path.is_file() else None


def require_output(directory: Path) -> None:
    """Raise `CatganError` unless `directory` can be written, or made; nothing is left behind."""
    try:
        require_writable(directory)
    except OSError as error:
        raise cannot_write(directory, error) from None
