"""The `catgan` command: parse, call one function, print. Heavy imports happen inside the verbs."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import catgan
from catgan.cli.console import (
    ProgressBar,
    explain_system_error,
    fail,
    make_console,
    print_line,
)
from catgan.cli.data import download, inspect, prepare
from catgan.cli.evaluation import compare, evaluate
from catgan.cli.export import export
from catgan.cli.generation import edit, info, morph, sample, web
from catgan.cli.serve import serve
from catgan.errors import CatganError, shell_words
from catgan.extras import require_training_extra

if TYPE_CHECKING:
    from rich.console import Console

    from catgan.training.start import Plan

app = typer.Typer(
    name="catgan",
    help="A folder of cat photos in, a measured generator of cat faces out.",
    epilog="First steps: catgan sample (draws cats), then catgan train photos.zip",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Exit codes: 0 done; 1 nobody reads the output any more (`catgan ... | head`), or a bug, with its
# traceback; 2 something the user can mend; 3 training diverged; 128 + n stopped by signal n,
# everything saved.


def main() -> None:
    """Run the command; what a user can cause ends in one line, never in a traceback."""
    for stream in (sys.stdout, sys.stderr):  # a terminal may not know every character of a name
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        _run()
    except SystemExit as end:
        if distributed := sys.modules.get("catgan.training.distributed"):
            distributed.end_process(end.code)
        raise


def _run() -> None:
    try:
        if "" in sys.argv[1:]:  # an unset variable of the shell: Path("") is the current directory
            raise CatganError("an argument is empty: give it a value, or leave it out")
        app()
    except CatganError as error:
        fail(str(error), error.exit_code)
    except OSError as error:
        line = explain_system_error(error)
        if line is None:
            raise
        verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "catgan")
        fail(f"{verb}: {line}", 2)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        fail(
            "the machine's memory does not hold this: for training, take a smaller "
            "training.batch_size, network.channels or network.resolution with --set; for "
            "drawing, a smaller --size or fewer images",
            2,
        )
    except KeyboardInterrupt:
        fail("stopped", 130)


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether torch or Python could not allocate.

    torch's CPU allocator has no class for it, and what torch wraps loses its class.
    """
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in ("can't allocate memory", "out of memory"))
    )


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"catgan {catgan.__version__}")
        raise typer.Exit


def _check_minutes(value: float | None) -> float | None:
    if value is not None and math.isnan(value):  # no clock ever passes it
        raise CatganError("--minutes nan is no time: write, say, --minutes 30")
    return value


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


app.command()(prepare)
app.command()(inspect)
app.command()(download)


@app.command()
def train(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="A dataset, or a folder or zip of photos (prepared once, then cached). "
            "Without one: the package's own cats."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="What to train: see `catgan recipes`.",
            show_default="projected-128, or transfer with --from",
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="bundled|FILE.onnx|RUN[@CHECKPOINT]",
            help="Start from existing weights: the package's generator, an exported one, a run.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The run's directory.", show_default="runs/..."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this directory.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change a setting; repeatable."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0, callback=_check_minutes, help="Stop after so many minutes; resume goes on."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events, too.")
    ] = False,
) -> None:
    """Train a generator of cats; safe to stop at any moment, and to resume."""
    require_training_extra()
    if resume and (recipe or out or start_from):
        raise CatganError(
            "--resume goes on with a run as it is: leave out --recipe, --from and --out"
        )
    from catgan.training import distributed, start
    from catgan.training.display import choose_display
    from catgan.training.loop import train as train_run
    from catgan.training.tensorboard import require_tensorboard

    if tensorboard:
        require_tensorboard()
    with distributed.joined() as world:
        run_to_resume = distributed.run_to_resume(out, resume)
        console = make_console(quiet=not world.is_main_process)
        with ProgressBar(console) as progress:

            def make() -> start.Plan:
                if run_to_resume:
                    return start.resume_run(run_to_resume, source, settings or [], device, progress)
                return start.new_run(
                    source, recipe, settings or [], out, device, progress, start_from
                )

            plan = start.on_all_ranks(make, source, device)
        run = plan.run.path
        for line in (start.first_line(plan), *plan.notes):
            print_line(console, line)
        outcome = train_run(
            plan.config,
            plan.dataset,
            plan.run,
            choose_display(console),
            device=plan.device,
            precision=plan.precision,
            reals=plan.reals,
            starting=plan.starting,
            resume=plan.resume,
            minutes=math.inf if minutes is None else minutes,
            tensorboard=tensorboard,
        )
    why = ""
    if outcome.finished and outcome.images < plan.config.training.images:
        waited = plan.config.training.early_stopping_images
        why = (
            f": samples have come no nearer to held-out photos for {waited:,}; to go on all the "
            f"same: catgan train --resume {shell_words(run)} "
            f"--set training.early_stopping_images={4 * waited}"
        )
    print_line(
        console,
        f"{'finished' if outcome.finished else 'stopped'} after {outcome.images:,} images of "
        f"{plan.config.training.images:,}{why}",
    )
    print_line(console, f"cats     {plan.run.grid_path(outcome.images)}")
    print_line(console, f"report   {plan.run.report}")
    if not outcome.finished:
        print_line(console, f"next     catgan train --resume {shell_words(run)}")
    elif world.is_main_process and not outcome.signal:
        _print_end(console, plan)
    if outcome.signal:
        raise typer.Exit(128 + outcome.signal)


def _print_end(console: Console, plan: Plan) -> None:
    """Say what a finished run leaves: on few photos, or from existing weights, also its copies."""
    from catgan.training import memorization

    run, which = plan.run, ""
    few = plan.config.training.early_stopping_images > 0
    best = run.checkpoints.pointer("best")
    if few and best:
        print_line(console, f"best     after {int(best):,} images, by photos that were held out")
        which = " --checkpoint best"
    if few or run.lineage():
        if memorization.can_be_checked(plan.dataset):
            with ProgressBar(console) as progress:
                found, page = memorization.check_memorization(
                    run, plan.dataset, plan.device, progress
                )
            print_line(console, f"copying  {memorization.describe_memorization(found)}")
            print_line(console, f"pairs    {page}")
        else:
            print_line(
                console,
                f"copying  not checked: needs {memorization.MIN_IMAGES} images to train on and "
                f"{memorization.MIN_HELD_OUT} held out",
            )
    print_line(
        console, f"next     catgan sample {shell_words(run.path)}{which} --seeds 0-63 -o cats.png"
    )


for verb in (sample, morph, edit, info, export, web, serve):
    app.command()(verb)
app.command()(evaluate)
app.command()(compare)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe's settings.")] = None,
) -> None:
    """List the recipes, or print one as TOML."""
    from catgan.config import load_recipe, recipe_names, recipe_text

    if name is not None:
        typer.echo(recipe_text(name), nl=False)
        return
    from rich.table import Table

    table = Table("recipe", "family", "pixels", "images", "batch", box=None, header_style="dim")
    for each in recipe_names():
        config = load_recipe(each)
        table.add_row(
            each,
            config.network.family,
            str(config.network.resolution),
            f"{config.training.images:,}",
            str(config.training.batch_size),
        )
    make_console().print(table)
