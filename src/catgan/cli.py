"""The `catgan` command: parse, call one function, print. Heavy imports happen inside the verbs."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import catgan
from catgan.errors import CatganError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

DEFAULT_RECIPE = "lsgan-64"

app = typer.Typer(
    name="catgan",
    help="A folder of cat photos in, a measured generator of cat faces out.",
    epilog="First steps: catgan train (learns from cats drawn by the package itself), "
    "or catgan train photos.zip",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Exit codes: 0 done; 2 something the user can mend; 3 training diverged; 128 + n stopped by
# signal n, everything saved.


def main() -> None:
    """Run the command; a `CatganError` ends in one line, never in a traceback."""
    try:
        app()
    except CatganError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:  # `catgan ... | head`
        sys.stderr.close()
        sys.exit(141)


def _fail(text: str, code: int) -> None:
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(("catgan: error: ", "bold red"), " ".join(text.split()))
    Console(stderr=True).print(line, soft_wrap=True)
    sys.exit(code)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"catgan {catgan.__version__}")
        raise typer.Exit


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


@app.command()
def prepare(
    source: Annotated[Path, typer.Argument(help="A folder or a zip of photos.")],
    destination: Annotated[Path, typer.Argument(help="The dataset directory to make.")],
    size: Annotated[
        int, typer.Option(help="Side of the square images in pixels: 32, 64, 128 or 256.")
    ] = 128,
    holdout: Annotated[
        float, typer.Option(help="Fraction kept out of training, to notice memorisation.")
    ] = 0.1,
    licence: Annotated[
        str, typer.Option(help="The photos' licence, kept with the data.")
    ] = "unknown",
    credit: Annotated[str, typer.Option(help="Whom to credit, kept with the data.")] = "unknown",
) -> None:
    """Turn photos into a dataset: checked, cropped square, resized, split."""
    from catgan.data import prepare as preparing

    console = _console()
    with _ImageProgress(console, "preparing") as progress:
        report = preparing.prepare(
            source,
            destination,
            size,
            holdout_fraction=holdout,
            licence=licence,
            credit=credit,
            on_progress=progress,
        )
    for name, reason in report.refused:
        _print(console, f"refused    {name}: {reason}")
    for name, kept in report.duplicates:
        _print(console, f"duplicate  {name}: the same file as {kept}")
    _print(
        console,
        f"{report.kept:,} images at {size} px ({report.train:,} to train on, {report.holdout:,} "
        f"held out), {len(report.refused)} refused, {len(report.duplicates)} duplicates, "
        f"{report.seconds:.1f} s",
    )
    _print(console, f"dataset  {report.path}")
    _print(console, f"next     catgan train {report.path}")


@app.command()
def train(
    source: Annotated[
        Path | None,
        typer.Argument(
            help="A dataset, or a folder or zip of photos (prepared once, then cached). "
            "Without one: cats drawn by the package."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="What to train: see `catgan recipes`.", show_default=DEFAULT_RECIPE),
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
        float | None, typer.Option(min=0, help="Stop after so many minutes; resume goes on.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events, too.")
    ] = False,
) -> None:
    """Train a generator of cats; safe to stop at any moment, and to resume."""
    _require_training_extra()
    if resume and (recipe or out):
        raise CatganError("--resume goes on with a run as it is: leave out --recipe and --out")
    from catgan.training import start
    from catgan.training.display import choose_display
    from catgan.training.loop import train as train_run

    console = _console()
    with _ImageProgress(console, "preparing") as progress:
        if resume:
            plan = start.resume_run(resume, source, settings or [], device, progress)
        else:
            plan = start.new_run(
                source, recipe or DEFAULT_RECIPE, settings or [], out, device, progress
            )
    run = plan.run.path
    for line in (start.first_line(plan), *plan.notes):
        _print(console, line)
    outcome = train_run(
        plan.config,
        plan.dataset,
        plan.run,
        choose_display(console),
        device=plan.device,
        resume=plan.resume,
        minutes=math.inf if minutes is None else minutes,
        tensorboard=tensorboard,
    )
    _print(
        console,
        f"{'finished' if outcome.finished else 'stopped'} after {outcome.images:,} images of "
        f"{plan.config.training.images:,}",
    )
    _print(console, f"cats     {plan.run.sheet_path(outcome.images)}")
    _print(console, f"report   {plan.run.report}")
    if outcome.finished:
        _print(console, f"next     catgan sample {run} --seeds 0-63 -o cats.png")
    else:
        _print(console, f"next     catgan train --resume {run}")
    if outcome.signal:
        raise typer.Exit(128 + outcome.signal)


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    seeds: Annotated[
        str, typer.Option(help="Which cats: 7, 0-63 or 1,5,9-12. A seed is always the same cat.")
    ] = "0-63",
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="An image file for a sheet, or a directory for one file a cat."
        ),
    ] = Path("cats.png"),
    grid: Annotated[
        str | None, typer.Option(metavar="COLUMNSxROWS", help="Shape of the sheet.")
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="latest, best, or a number of images seen.")
    ] = "latest",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Draw cats with a trained generator."""
    _require_training_extra()
    from catgan.generation.seeds import parse_seeds
    from catgan.generation.sheet import check_suffix, parse_grid, save_image, sheet
    from catgan.training.device import choose_device
    from catgan.training.sampling import load_sampler

    console = _console()
    numbers = parse_seeds(seeds)
    one_file_a_cat = not out.suffix
    columns = parse_grid(grid, len(numbers)) if grid else None
    if one_file_a_cat and grid:
        raise CatganError(f"--grid makes one sheet, {out} is a directory: write -o {out}.png")
    if not one_file_a_cat:
        check_suffix(out)
    sampler = load_sampler(
        run, choose_device(device), lambda text: _print(console, text), checkpoint
    )
    with _ImageProgress(console, "drawing") as progress:
        images = sampler(numbers, on_progress=lambda done: progress(done, len(numbers)))
    if one_file_a_cat:
        for number, image in zip(numbers, images, strict=True):
            save_image(image, out / f"seed{number:06d}.png")
        _print(console, f"{len(numbers)} cats, one file each  {out}")
    else:
        save_image(sheet(images, columns), out)
        _print(console, f"{len(numbers)} cats  {out}")


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe's settings.")] = None,
) -> None:
    """List the recipes, or print one as TOML."""
    from catgan.config import load_recipe, recipe_names, recipe_text

    if name:
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
    _console().print(table)


# -- what the verbs share --------------------------------------------------------------------------


def _console() -> Console:
    from rich.console import Console

    return Console()


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _require_training_extra() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("torch", "safetensors", "psutil", "jinja2") if not find_spec(name)]
    if missing:
        raise CatganError(
            f"this needs {', '.join(missing)}, not installed: pip install 'catgan[train]'"
        )


class _ImageProgress:
    """A bar over images that appears with the first one; silent where nobody watches."""

    def __init__(self, console: Console, label: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        self.progress = Progress(
            label,
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> _ImageProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def __call__(self, done: int, total: int, kept: int = 0, refused: int = 0) -> None:
        if self.task is None:
            self.task = self.progress.add_task("", total=total)
            self.progress.start()
        self.progress.update(self.task, completed=done, total=total)
