"""The command that trains: `catgan train`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catgan.cli.console import Output, ProgressBar
from catgan.errors import CatganError, shell_words
from catgan.extras import require_training_extra

if TYPE_CHECKING:
    from catgan.training.loop import Outcome
    from catgan.training.start import Plan


def _check_minutes(value: float | None) -> float | None:
    if value is not None and math.isnan(value):  # a comparison with NaN never ends the run
        raise CatganError("invalid --minutes nan: expected a number, such as --minutes 30")
    return value


def train(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="A dataset, or a folder or zip of photos (prepared once, then cached). "
            "Default: cats from the bundled generator."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="The recipe to train; `catgan recipes` lists them.",
            show_default="projected-128, or transfer with --from",
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="bundled|FILE.onnx|RUN[@CHECKPOINT]",
            help="Start from existing weights: the bundled generator, an exported file, or a run.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Directory of the run.", show_default="runs/..."),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume the run in this directory.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a setting; repeatable."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0,
            callback=_check_minutes,
            help="Stop after this many minutes; --resume continues.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard events.")
    ] = False,
) -> None:
    """Train a generator of cat faces. Stop at any time; --resume continues the run."""
    require_training_extra()
    from catgan.training import distributed
    from catgan.training.display import choose_display
    from catgan.training.start import describe_plan, make_plan
    from catgan.training.tensorboard import require_tensorboard

    if tensorboard:
        require_tensorboard()
    with distributed.process_group() as world:
        output = Output(quiet=not world.is_main_process)
        with ProgressBar(output) as progress:
            plan = make_plan(
                source,
                recipe,
                settings or [],
                out=out,
                resume=resume,
                start_from=start_from,
                device_name=device,
                on_progress=progress,
            )
        for line in (describe_plan(plan), *plan.notes):
            output.print_line(line)
        outcome = plan.train(
            choose_display(output.console),
            minutes=math.inf if minutes is None else minutes,
            tensorboard=tensorboard,
        )
    _print_outcome(output, plan, outcome)
    if not outcome.finished:
        output.print_line(f"next     catgan train --resume {shell_words(plan.run.path)}")
    elif world.is_main_process and not outcome.signal:
        _print_end(output, plan)
    if outcome.signal:
        raise typer.Exit(128 + outcome.signal)


def _print_outcome(output: Output, plan: Plan, outcome: Outcome) -> None:
    """Print how the run ended, and where its samples and report are."""
    total, reason = plan.config.training.images, ""
    if outcome.finished and outcome.images < total:
        patience = plan.config.training.early_stopping_images
        reason = (
            f": the score on held-out photos has not improved for {patience:,} images; to train "
            f"on: catgan train --resume {shell_words(plan.run.path)} "
            f"--set training.early_stopping_images={4 * patience}"
        )
    output.print_line(
        f"{'finished' if outcome.finished else 'stopped'} after {outcome.images:,} images of "
        f"{total:,}{reason}"
    )
    output.print_line(f"cats     {plan.run.grid_path(outcome.images)}")
    output.print_line(f"report   {plan.run.report}")


def _print_end(output: Output, plan: Plan) -> None:
    """Print the best checkpoint and the next command.

    Runs on few photos or from existing weights are first checked for memorization.
    """
    from catgan.training import memorization

    run, which = plan.run, ""
    few_photos = plan.config.training.early_stopping_images > 0
    best = run.checkpoints.pointer("best")
    if few_photos and best:
        output.print_line(f"best     after {int(best):,} images, by the score on held-out photos")
        which = " --checkpoint best"
    if few_photos or run.lineage():
        if memorization.can_be_checked(plan.dataset):
            with ProgressBar(output) as progress:
                evaluation, page = memorization.check_memorization(
                    run, plan.dataset, plan.device, progress
                )
            output.print_line(f"copying  {memorization.describe_memorization(evaluation)}")
            output.print_line(f"pairs    {page}")
        else:
            output.print_line(
                f"copying  not checked: needs {memorization.MIN_IMAGES} training images and "
                f"{memorization.MIN_HELD_OUT} held-out ones"
            )
    output.print_line(
        f"next     catgan sample {shell_words(run.path)}{which} --seeds 0-63 -o cats.png"
    )
