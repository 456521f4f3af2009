"""Train, evaluate, export and sample generators of cat faces: the whole public API.

    import catgan

    images = catgan.load().sample(seeds=[7])  # uint8, (1, 128, 128, 3); needs no torch
    run = catgan.train("lsgan-64", "photos/", out="runs/cats")
    catgan.evaluate(run.path).scores.frechet
    catgan.export(run.path, "cats.onnx")
    catgan.load("cats.onnx").grid(range(64))

Every function raises `catgan.errors.CatganError`, in one line, for what its caller can mend. `load`
needs the core installation alone; the others need the extra `train`. Nothing heavy is imported
before a function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from catgan.config import Config
    from catgan.evaluation.evaluate import Evaluation
    from catgan.exporters.export import Exported
    from catgan.generation.generator import Generator
    from catgan.training.run import TrainingResult

    PathLike = str | os.PathLike[str]

__all__ = ["__version__", "evaluate", "export", "load", "train"]
__version__ = "0.1.0"


def load(path: PathLike | None = None) -> Generator:
    """Open the generator in an exported .onnx file; without `path`, the bundled one.

    >>> catgan.load().sample(seeds=[7], truncation=0.8)  # uint8, (1, resolution, resolution, 3)

    The same seed gives the same image always. Needs neither torch nor a network.

    Raises:
        CatganError: the file is missing, damaged or not an export, or no generator is bundled.
    """
    from catgan.generation.generator import load_generator

    return load_generator(path)


def train(
    recipe: str | Config | None = None,
    data: PathLike | None = None,
    *,
    out: PathLike | None = None,
    settings: Sequence[str] = (),
    start_from: PathLike | None = None,
    resume: PathLike | None = None,
    minutes: float | None = None,
    device: str = "auto",
    on_progress: Callable[[dict[str, Any]], object] | None = None,
) -> TrainingResult:
    """Train a generator, as `catgan train` does; return where the run is and how it ended.

    >>> catgan.train("lsgan-64", "photos/", out="runs/cats", on_progress=print)

    A first Ctrl-C (in the main thread) ends the run after the step, with everything saved; the
    result then has its `signal`. Notes for a person go to the logger `catgan`, as INFO, and into
    the result.

    Args:
        recipe: the name of a recipe, or a complete `catgan.config.Config`. Default: projected-128,
            or transfer with `start_from`.
        data: a dataset, or a folder or zip of photos, prepared once and then cached. Default: cats
            of the bundled generator; with `resume`, what the run was trained on.
        out: the run's new directory. Default: runs/DATA-RECIPE.
        settings: changes to the recipe, as "section.key=value"; the last one counts.
        start_from: existing weights to begin with: "bundled", an exported .onnx file, or RUN or
            RUN@CHECKPOINT.
        resume: the directory of a run to continue, in place of `recipe`, `out` and `start_from`.
        minutes: stop after so much wall time; the run can be resumed.
        device: auto, cpu, cuda or mps.
        on_progress: called with every row of the run's log, a dict with `images` (seen so far) and
            either the losses and accuracies, or `score` and `scored_by`. What it raises ends the
            run, which can be resumed from its last checkpoint.

    Raises:
        CatganError: the arguments contradict themselves, or data, weights or device cannot be used.
        catgan.training.guard.TrainingFailedError: training diverged or collapsed.
    """
    from catgan.extras import require_training_extra

    require_training_extra()
    from catgan.training import run

    return run.train(
        recipe,
        data,
        out=out,
        settings=settings,
        start_from=start_from,
        resume=resume,
        minutes=minutes,
        device=device,
        on_progress=on_progress,
    )


def evaluate(
    images: PathLike,
    against: PathLike | None = None,
    *,
    samples: int | None = None,
    extractor: str | None = None,
    resize: str | None = None,
    inception: PathLike | None = None,
    input_size: int | None = None,
    checkpoint: str | int = "latest",
    device: str = "auto",
    out: PathLike | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Score images against real ones, as `catgan evaluate` does; return every number.

    >>> catgan.evaluate("runs/cats", samples=5000).line()

    The record and its page are written to `out`. Without it they are written for a run only, to
    RUN/evaluation/EXTRACTOR/IMAGES, where `export` finds the scores for the card.

    Args:
        images: a run, a dataset, or a folder or zip of images, all of one size.
        against: the real images, of the same kinds. Default: what the run was trained on.
        samples: images to generate from a run, of the seeds from 0 on; at least 12. Default: 5,000.
        extractor: inception, lite2, raw-64, or the path of a .pt or .onnx file. Default: inception
            if it was downloaded before, else lite2.
        resize: clean, pytorch, tensorflow or area. Default: the extractor's own rule.
        inception: the file inception-2015-12-05.pt.
        input_size: side in pixels that an extractor's file takes, where it does not state it.
        checkpoint: of a run: latest, best, or a number of images seen.
        device: auto, cpu, cuda or mps, for a run.
        out: the directory for evaluation.json and evaluation.html.
        on_progress: called with the stage, how much of it is done, and its total.

    Raises:
        CatganError: an option does not apply, images, extractor or checkpoint cannot be used, there
            are fewer than 12 images, or the record cannot be written.
    """
    from catgan.extras import require_training_extra

    require_training_extra()
    from catgan.files import to_path
    from catgan.runs.directory import is_run
    from catgan.runs.evaluation import evaluate_path

    path = to_path("images", images)
    scored = evaluate_path(
        path,
        against=None if against is None else to_path("against", against),
        samples=samples,
        extractor=extractor,
        resize=resize,
        inception=None if inception is None else to_path("inception", inception),
        input_size=input_size,
        checkpoint=str(checkpoint),
        device_name=device,
        out=None if out is None else to_path("out", out),
        note=_log,
        on_progress=on_progress or _ignore,
    )
    if out is not None or is_run(path):
        scored.write()
    return scored.evaluation


def export(
    source: PathLike,
    out: PathLike | None = None,
    *,
    format: str = "onnx",  # noqa: A002  # the name it has on the command line
    precision: str | None = None,
    checkpoint: str | int | None = None,
    name: str | None = None,
    license: str | None = None,
    credit: str | None = None,
    direction_names: Mapping[int, str] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Exported:
    """Write a generator in a form that needs no torch, as `catgan export` does.

    >>> catgan.export("runs/cats", "cats.onnx", checkpoint="best").parity.line()

    Nothing is written unless the finished file, opened again, generates what torch generates. The
    result says what was written, and how closely it agrees.

    Args:
        source: a run; or an exported .onnx file or "bundled", for another format.
        out: the file, or for triton the directory. Default: RUN/export/generator.onnx and alike.
        format: onnx (catgan, ONNX Runtime), keras, litert (phones) or triton.
        precision: how weights are stored: float16, float32 or int8. Default: the format's first.
        checkpoint: of a run: latest (the default), best, or a number of images seen.
        name: what to call the generator. Default: DATA by RECIPE.
        license: of the photos, where the run does not know it.
        credit: whom to credit for the photos, where the run does not know it.
        direction_names: names of directions of a run, by their numbers.
        on_progress: called with the stage, how much of it is done, and its total.

    Raises:
        CatganError: the two generate different images, an option does not apply, or a path cannot
            be used.
    """
    from catgan.extras import require_training_extra

    require_training_extra("onnx", "onnxscript")
    from catgan.exporters import export as exporting
    from catgan.files import to_path

    return exporting.export(
        to_path("source", source),
        None if out is None else to_path("out", out),
        format=format,
        precision=precision,
        checkpoint=None if checkpoint is None else str(checkpoint),
        name=name,
        license=license,
        credit=credit,
        direction_names=direction_names,
        note=_log,
        on_progress=on_progress or _ignore,
    )


def _log(text: str) -> None:
    import logging

    logging.getLogger("catgan").info(text)


def _ignore(*_: object) -> None:
    """Report nothing."""
