"""One evaluation, from paths to a record: what `catgan evaluate` and `catgan.evaluate` call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catgan.errors import CatganError, cannot_write
from catgan.evaluation.evaluate import Evaluation, evaluate
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.image_sets import ImageSet
from catgan.evaluation.reference import measure_reference, require_enough
from catgan.evaluation.results.records import (
    evaluation_directory,
    free_directory,
    require_writable,
    write_evaluation,
)
from catgan.runs.data import OnProgress
from catgan.runs.device import choose_device
from catgan.runs.directory import is_run
from catgan.runs.scoring import find_record, open_images, open_reals

DEFAULT_SAMPLES = 5_000


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
    """Score the images at `path` against those at `against`; write nothing yet.

    `against` is the training data of the run at `path` unless given. `samples`, `checkpoint` and
    `device_name` are for a run. The record belongs in `out`, else beside the run or in the current
    directory, under the names of extractor and images. `note` gets a line for each corrupt
    checkpoint that is skipped.

    Raises:
        CatganError: an option does not apply, images, extractor or checkpoint cannot be used, there
            are too few images, or the record could not be written.
    """
    if not is_run(path) and (
        samples is not None or checkpoint != "latest" or device_name != "auto"
    ):
        raise CatganError(f"{path} is not a run: leave out --samples, --checkpoint and --device")
    if record := find_record(path):
        raise CatganError(
            f"{record} is an evaluation, expected images: pass it to catgan compare instead"
        )
    home = path if is_run(path) else Path()
    require_output(out or home / "evaluation")
    count = DEFAULT_SAMPLES if samples is None else samples
    generated, latents = open_images(path, count, checkpoint, choose_device(device_name), note)
    require_enough(generated)
    reals = open_reals(against, {path: generated}, on_progress)
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


def require_output(directory: Path) -> None:
    """Raise `CatganError` unless `directory` can be written, or made; nothing is left behind."""
    try:
        require_writable(directory)
    except OSError as error:
        raise cannot_write(directory, error) from None
