"""The verbs that draw: `catgan sample`, `morph`, `edit`, `info` and `web`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from catgan.cli.console import ProgressBar, make_console, print_line
from catgan.errors import CatganError, shell_words
from catgan.extras import require_training_extra

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console

    from catgan.generation.generator import Generator, OnProgress

MAX_GRID_IMAGES = 4_096
SEEDS_OF_A_RUN, SEEDS_OF_A_FILE = "0-63", "0-7"
SEEDS_TO_MOVE, SEED_OF_AN_OVERVIEW = "0-3", "0"
STEPS_OF_AN_OVERVIEW = (-3, -2, -1, 0, 1, 2, 3)
MAX_MOVE = 10.0

Source = Annotated[
    Path | None,
    typer.Argument(help="An exported .onnx file, or a run. Without one: the package's generator."),
]
File = Annotated[
    Path | None, typer.Argument(help="An exported .onnx file. Without one: the package's own.")
]
Exported = Annotated[
    Path | None,
    typer.Argument(
        help="An exported .onnx, .keras or .tflite file. Without one: the package's own."
    ),
]
Truncation = Annotated[
    float,
    typer.Option(help="From 0 to 1: less is less variety, nearer to the average cat."),
]
Size = Annotated[
    int | None,
    typer.Option(help="Enlarge to so many pixels by Lanczos' filter, which adds no detail."),
]
CheckpointName = Annotated[
    str | None,
    typer.Option(help="Of a run: latest, best, or a number of images seen.", show_default="latest"),
]
Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda or mps, for a run.", show_default="auto")
]


class Drawer(Protocol):
    """What a run's sampler and an artifact's generator have in common."""

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""

    def latents(self, seeds: Sequence[int]) -> np.ndarray:
        """The seeds' noise."""

    def synthesize(
        self, z: np.ndarray, truncation: float = 1.0, on_progress: OnProgress | None = None
    ) -> np.ndarray:
        """One image for each row of `z`."""


def sample(
    source: Source = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Which cats: 7, 0-63 or 1,5,9-12. A seed is always the same cat.",
            show_default=f"{SEEDS_OF_A_RUN} of a run, else {SEEDS_OF_A_FILE}",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="An image file (.png, .webp, .jpg) for a sheet, or a directory for a file a cat.",
        ),
    ] = Path("cats.png"),
    grid: Annotated[
        str | None, typer.Option(metavar="COLUMNSxROWS", help="Shape of the sheet.")
    ] = None,
    truncation: Truncation = 1.0,
    size: Size = None,
    show: Annotated[
        bool, typer.Option("--show", help="Show the sheet in the terminal, too.")
    ] = False,
    checkpoint: CheckpointName = None,
    device: Device = None,
) -> None:
    """Draw cats: with the package's generator, an exported one, or a run's."""
    from catgan.generation.grid import (
        SUFFIXES,
        check_grid,
        check_place,
        enlarge,
        make_grid,
        parse_grid,
        save_image,
    )
    from catgan.generation.seeds import parse_seeds

    console = make_console()
    is_run = source is not None and source.is_dir()
    if seeds is None:
        seeds = SEEDS_OF_A_RUN if is_run else SEEDS_OF_A_FILE
    numbers = parse_seeds(seeds)
    one_file_a_cat = not out.suffix or out.is_dir()
    columns = parse_grid(grid, len(numbers)) if grid is not None else None
    if one_file_a_cat and out.exists() and not out.is_dir():
        raise CatganError(
            f"{out}: is neither a directory nor an image file ({', '.join(SUFFIXES)}): choose "
            "another place with -o"
        )
    if one_file_a_cat and grid is not None:
        raise CatganError(
            f"--grid makes one sheet, {out} is a directory: write -o {shell_words(f'{out}.png')}"
        )
    if one_file_a_cat and show:
        raise CatganError(
            f"--show is for a sheet, {out} is a directory: leave out --show, or write -o "
            f"{shell_words(f'{out}.png')}"
        )
    if not one_file_a_cat and len(numbers) > MAX_GRID_IMAGES:
        raise CatganError(
            f"{len(numbers):,} cats are too many for one sheet of at most {MAX_GRID_IMAGES:,}: "
            "name a directory with -o for a file each"
        )
    drawer = _open(console, source, checkpoint, device)
    pixels, how = _enlarged(drawer, size)
    if one_file_a_cat:
        check_place(out / f"seed{max(numbers):06d}.png", out)  # of the longest name
    else:
        check_grid(out, len(numbers), columns, pixels)
    with ProgressBar(console) as progress:
        if one_file_a_cat:
            numbers = list(dict.fromkeys(numbers))  # a seed that is named twice is one file
            for start in range(0, len(numbers), 16):
                part = numbers[start : start + 16]
                images = drawer.synthesize(drawer.latents(part), truncation)
                for number, image in zip(part, images, strict=True):
                    save_image(enlarge(image, pixels), out / f"seed{number:06d}.png")
                progress("drawing", start + len(part), len(numbers))
        else:
            images = drawer.synthesize(
                drawer.latents(numbers),
                truncation,
                lambda done: progress("drawing", done, len(numbers)),
            )
    procedural = f"{len(numbers):,} cats" if len(numbers) > 1 else "1 cat"
    if one_file_a_cat:
        print_line(console, f"{procedural}, one file each{how}  {out}")
    else:
        save_image(make_grid(images, columns, size=pixels), out)
        print_line(console, f"{procedural}{how}  {out}")
        if show:
            _show(console, make_grid(images, columns))


def morph(
    source: Source = None,
    seeds: Annotated[str, typer.Option(help="The cats on the way, two or more: 3,9,27.")] = "0-3",
    frames: Annotated[
        int, typer.Option(help="Frames of the whole loop, at least one a seed.")
    ] = 60,
    rate: Annotated[int, typer.Option("--fps", help="Frames a second.")] = 20,
    out: Annotated[Path, typer.Option("--out", "-o", help="A .gif, .webp or .mp4 file.")] = Path(
        "morph.gif"
    ),
    truncation: Truncation = 1.0,
    size: Size = None,
    checkpoint: CheckpointName = None,
    device: Device = None,
) -> None:
    """Turn one cat into the next, and the last into the first, as a looped animation."""
    from catgan.generation.animation import check_animation, save_animation
    from catgan.generation.interpolation import check_frames, loop_latents
    from catgan.generation.seeds import parse_seeds

    console = make_console()
    numbers = parse_seeds(seeds)
    check_frames(len(numbers), frames)
    drawer = _open(console, source, checkpoint, device)
    pixels, how = _enlarged(drawer, size)
    check_animation(out, rate, frames, drawer.resolution, pixels)
    z = loop_latents(drawer.latents(numbers), frames)
    with ProgressBar(console) as progress:
        images = drawer.synthesize(z, truncation, lambda done: progress("drawing", done, len(z)))
    save_animation(images, out, rate, pixels)
    print_line(console, f"{len(numbers)} cats, {frames} frames at {rate} a second{how}  {out}")


def edit(
    source: File = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Which cats: 7, 0-63 or 1,5,9-12.",
            show_default=f"{SEEDS_TO_MOVE}, without --move {SEED_OF_AN_OVERVIEW}",
        ),
    ] = None,
    moves: Annotated[
        list[str] | None,
        typer.Option(
            "--move",
            metavar="NUMBER=AMOUNT",
            help="How far along which direction, in standard deviations: 0=+2. Repeatable.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="An image file.")] = Path("edited.png"),
    truncation: Truncation = 1.0,
    size: Size = None,
) -> None:
    """Change cats along directions found without labels; without --move, show what each does.

    The overview has a row for each direction and, within it, each of the --seeds.
    """
    import numpy as np

    from catgan.generation.grid import check_grid, make_grid, save_image
    from catgan.generation.seeds import parse_seeds

    console = make_console()
    amounts = _parse_moves(moves or [])
    if seeds is None:
        seeds = SEEDS_TO_MOVE if amounts else SEED_OF_AN_OVERVIEW
    numbers = parse_seeds(seeds)
    generator = _artifact(source)
    directions = generator.card.directions
    if not directions:
        raise CatganError(f"{generator.where}: has no directions: export the run again")
    pixels, how = _enlarged(generator, size)
    steps = STEPS_OF_AN_OVERVIEW
    columns = 2 if amounts else len(steps)
    count = columns * len(numbers) * (1 if amounts else len(directions))
    if count > MAX_GRID_IMAGES:
        raise CatganError(
            f"{count:,} images are too many for one sheet of at most {MAX_GRID_IMAGES:,}: "
            "name fewer --seeds"
        )
    check_grid(out, count, columns, pixels)
    z = generator.latents(numbers)
    if amounts:
        changes = [z, generator.move(z, amounts)]
        what = "each cat as it is, then changed"
    else:
        changes = [
            generator.move(z, {number: step}) for number in range(len(directions)) for step in steps
        ]
        each = f"seed {numbers[0]}" if len(z) == 1 else f"{len(z)} seeds"
        what = f"{each}, a row a direction and seed, from {steps[0]} to +{steps[-1]}"
    # (change, seed, number) -> rows of the sheet: a direction's steps of one cat side by side
    table = np.stack(changes).reshape(-1, columns, *z.shape)
    rows = table.swapaxes(1, 2).reshape(-1, z.shape[1])
    with ProgressBar(console) as progress:
        images = generator.synthesize(
            rows, truncation, lambda done: progress("drawing", done, len(rows))
        )
    save_image(make_grid(images, columns, size=pixels), out)
    for number, direction in enumerate(directions):
        if number in amounts or not amounts:
            name = direction.name or "not named yet"
            print_line(
                console, f"{number:2d}  {name}, {100 * direction.share:.1f} % of the variance"
            )
    print_line(console, f"{what}{how}  {out}")


def info(source: Exported = None) -> None:
    """Say what a generator is: data, license, scores, how true it is to its run."""
    from catgan.generation.foreign import CHECKS, read_card

    if source is not None and source.suffix in CHECKS:
        card, where = read_card(source), str(source)
    else:
        generator = _artifact(source)
        card, where = generator.card, generator.where
    console = make_console()
    for title, text in card.lines():
        print_line(console, f"{title:<10} {text}")
    names = [direction.name for direction in card.directions]
    if names:
        named = [f"{number} {name}" for number, name in enumerate(names) if name]
        print_line(console, f"{'directions':<10} {len(names)}; {', '.join(named) or 'none named'}")
    print_line(console, f"{'file':<10} {where}")


def web(
    out: Annotated[Path, typer.Argument(help="The directory to make; copy it to any web host.")],
    source: File = None,
) -> None:
    """Make a web page that draws cats in the browser, with nothing behind it."""
    from catgan.web.site import write_site

    console = make_console()
    site = write_site(out, _artifact(source))
    print_line(console, f"{site.files} files, {site.bytes / 1e6:.1f} MB  {out}")
    print_line(console, f"next     python -m http.server --directory {shell_words(out)}")


def _open(
    console: Console, source: Path | None, checkpoint: str | None, device: str | None
) -> Drawer:
    """A run's sampler for a directory, else an artifact's generator."""
    if source is None or not source.is_dir():
        if checkpoint is not None or device is not None:
            raise CatganError("--checkpoint and --device are for a run: leave them out")
        return _artifact(source)
    require_training_extra()
    from catgan.runs.device import choose_device
    from catgan.runs.sampler import load_sampler

    return load_sampler(
        source,
        choose_device("auto" if device is None else device),
        lambda text: print_line(console, text),
        "latest" if checkpoint is None else checkpoint,
    )


def _artifact(source: Path | None) -> Generator:
    from catgan.generation.generator import load_generator

    if source is not None and source.is_dir():
        if not (source / "config.toml").exists():
            raise CatganError(f"{source} is a directory, and no run: name an exported .onnx file")
        raise CatganError(
            f"{source} is a run: export it first, catgan export {shell_words(source)}, and name "
            "the .onnx file"
        )
    return load_generator(source)


def _enlarged(drawer: Drawer, size: int | None) -> tuple[int, str]:
    """The side of what is written, and the words for it if it is not the generator's own."""
    from catgan.generation.grid import check_size

    side = drawer.resolution
    if size in (None, side):
        return side, ""
    check_size(side, size)
    return size, f", {side} px enlarged to {size} px by Lanczos' filter"


def _show(console: Console, image: np.ndarray) -> None:
    from catgan.generation.blocks import half_blocks

    if not console.no_color and console.color_system in ("truecolor", "256"):
        console.print(half_blocks(image, console.width), soft_wrap=True)
    else:
        print_line(console, "nothing shown: the output is no terminal with colors")


def _parse_moves(texts: Sequence[str]) -> dict[int, float]:
    moves: dict[int, float] = {}
    for text in texts:
        match = re.fullmatch(r"\s*(\d{1,3})\s*=\s*([+-]?\d{1,3}(?:\.\d{1,6})?)\s*", text, re.ASCII)
        if not match or abs(float(match[2])) > MAX_MOVE:
            raise CatganError(
                f"--move {text!r} is not of the form NUMBER=AMOUNT, with an amount from "
                f"-{MAX_MOVE:g} to {MAX_MOVE:g}: write, say, 0=+2"
            )
        if int(match[1]) in moves:
            raise CatganError(f"--move names direction {int(match[1])} twice: add the two amounts")
        moves[int(match[1])] = float(match[2])
    return moves
