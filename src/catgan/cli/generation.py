"""Generate images: `catgan sample`, `morph`, `edit`, `info` and `web`."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from catgan.cli.console import Output, ProgressBar
from catgan.errors import CatganError, shell_words
from catgan.extras import require_training_extra
from catgan.memory import kept_memory

if TYPE_CHECKING:
    import numpy as np

    from catgan.generation.generator import Generator, OnProgress
    from catgan.generation.latents_file import SavedLatents

MAX_GRID_IMAGES = 4_096
DEFAULT_RUN_SEEDS, DEFAULT_FILE_SEEDS = "0-63", "0-7"
DEFAULT_MORPH_SEEDS = "0-3"
DEFAULT_EDIT_SEEDS, DEFAULT_OVERVIEW_SEED = "0-3", "0"
OVERVIEW_AMOUNTS = (-3, -2, -1, 0, 1, 2, 3)  # standard deviations
MAX_MOVE = 10.0  # standard deviations
MAX_NEW_OBJECTS = 20_000  # between two collections of garbage
FILES_CHUNK = 16  # images generated between two writes of single files

Source = Annotated[
    Path | None,
    typer.Argument(help="An exported .onnx file, or a run.", show_default="bundled generator"),
]
File = Annotated[
    Path | None,
    typer.Argument(help="An exported .onnx file.", show_default="bundled generator"),
]
Exported = Annotated[
    Path | None,
    typer.Argument(
        help="An exported .onnx, .keras or .tflite file.", show_default="bundled generator"
    ),
]
LatentsFile = Annotated[
    Path | None,
    typer.Option("--latents", help="A file of latents (.safetensors), in place of --seeds."),
]
Truncation = Annotated[
    float,
    typer.Option(help="Truncation psi, 0 to 1: less variety, higher quality; 0 is the mean image."),
]
Size = Annotated[
    int | None,
    typer.Option(help="Enlarge to this many pixels with a Lanczos filter, which adds no detail."),
]
CheckpointName = Annotated[
    str | None,
    typer.Option(
        help="Checkpoint of a run: latest, best, or a number of images seen.",
        show_default="latest",
    ),
]
Device = Annotated[
    str | None, typer.Option(help="Device for a run: auto, cpu, cuda or mps.", show_default="auto")
]


class Sampler(Protocol):
    """The interface that a run's sampler and an artifact's generator share."""

    @property
    def resolution(self) -> int:
        """The side of the images in pixels."""

    @property
    def latent_size(self) -> int:
        """The length of a latent vector."""

    @property
    def sha256(self) -> str:
        """The checksum by which a file of latents knows its generator."""

    def latents(self, seeds: Sequence[int]) -> np.ndarray:
        """Return the latents of seeds, float32 (N, latent_size)."""

    def synthesize(
        self, z: np.ndarray, truncation: float = 1.0, on_progress: OnProgress | None = None
    ) -> np.ndarray:
        """Return one uint8 image for each row of `z`."""


@dataclass(frozen=True)
class _Selection:
    """What to generate: seeds, or the rows of a file of latents, by their numbers."""

    numbers: list[int]
    saved: SavedLatents | None

    @property
    def kind(self) -> str:
        return "seed" if self.saved is None else "latent"

    def latents(self, sampler: Sampler, numbers: list[int]) -> np.ndarray:
        """Return the latents of some of the numbers, float32 (N, latent_size)."""
        if self.saved is None:
            return sampler.latents(numbers)
        return self.saved.of_generator(sampler.sha256, sampler.latent_size)[numbers]

    def file_name(self, number: int) -> str:
        return f"{self.kind}{number:06d}.png"


def _select(seeds: str | None, latents: Path | None, default_seeds: str) -> _Selection:
    """Return what `--seeds` or `--latents` select; `CatganError` for both."""
    from catgan.generation.latents_file import read_latents
    from catgan.generation.seeds import parse_seeds

    if latents is None:
        return _Selection(parse_seeds(default_seeds if seeds is None else seeds), None)
    if seeds is not None:
        raise CatganError("--seeds and --latents both select images: leave one of them out")
    saved = read_latents(latents)
    return _Selection(list(range(len(saved.latents))), saved)


@contextmanager
def _fast_allocation() -> Iterator[None]:
    """Spend less time on memory inside the block, whose process ends soon after it.

    A session copies the weights several times. Imports make many objects that stay, and looking for
    garbage among them, after each 700 to 2,000 new ones by default, takes some 10 ms.
    """
    thresholds = gc.get_threshold()
    if gc.isenabled():
        gc.set_threshold(MAX_NEW_OBJECTS)
    try:
        with kept_memory():
            yield
    finally:
        gc.set_threshold(*thresholds)


@_fast_allocation()
def sample(
    source: Source = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds: 7, 0-63 or 1,5,9-12. A seed always gives the same image.",
            show_default=f"{DEFAULT_RUN_SEEDS} of a run, else {DEFAULT_FILE_SEEDS}",
        ),
    ] = None,
    latents: LatentsFile = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="An image file (.png, .webp, .jpg) for a grid, or a directory for one file per "
            "image.",
        ),
    ] = Path("cats.png"),
    grid: Annotated[
        str | None, typer.Option(metavar="COLUMNSxROWS", help="Shape of the grid.")
    ] = None,
    truncation: Truncation = 1.0,
    size: Size = None,
    show: Annotated[
        bool, typer.Option("--show", help="Also show the grid in the terminal.")
    ] = False,
    checkpoint: CheckpointName = None,
    device: Device = None,
) -> None:
    """Generate images from seeds, with the bundled generator, an exported one or a run's."""
    from catgan.generation.grid import (
        SUFFIXES,
        check_grid,
        check_writable,
        enlarge,
        make_grid,
        parse_grid,
        save_image,
    )

    output = Output()
    is_run = source is not None and source.is_dir()
    selection = _select(seeds, latents, DEFAULT_RUN_SEEDS if is_run else DEFAULT_FILE_SEEDS)
    numbers = selection.numbers
    single_files = not out.suffix or out.is_dir()
    columns = parse_grid(grid, len(numbers)) if grid is not None else None
    if single_files and out.exists() and not out.is_dir():
        raise CatganError(
            f"{out}: is neither a directory nor an image file ({', '.join(SUFFIXES)}): choose "
            "another path with -o"
        )
    if single_files and grid is not None:
        raise CatganError(
            f"--grid makes one image, but {out} is a directory: use -o {shell_words(f'{out}.png')}"
        )
    if single_files and show:
        raise CatganError(
            f"--show needs one image, but {out} is a directory: leave out --show, or use -o "
            f"{shell_words(f'{out}.png')}"
        )
    if not single_files and len(numbers) > MAX_GRID_IMAGES:
        raise CatganError(
            f"{len(numbers):,} images are too many for one grid: expected at most "
            f"{MAX_GRID_IMAGES:,}; name a directory with -o for one file per image"
        )
    sampler = _open(output, source, checkpoint, device)
    pixels, enlargement = _output_size(sampler, size)
    if single_files:
        check_writable(out / selection.file_name(max(numbers)), out)  # the longest name
    else:
        check_grid(out, len(numbers), columns, pixels)
    with ProgressBar(output) as progress:
        if single_files:
            numbers = list(dict.fromkeys(numbers))  # a repeated seed is one file
            for start in range(0, len(numbers), FILES_CHUNK):
                chunk = numbers[start : start + FILES_CHUNK]
                images = sampler.synthesize(selection.latents(sampler, chunk), truncation)
                for number, image in zip(chunk, images, strict=True):
                    save_image(enlarge(image, pixels), out / selection.file_name(number))
                progress("generating", start + len(chunk), len(numbers))
        else:
            images = sampler.synthesize(
                selection.latents(sampler, numbers),
                truncation,
                lambda done: progress("generating", done, len(numbers)),
            )
    count = f"{len(numbers):,} images" if len(numbers) > 1 else "1 image"
    if single_files:
        output.print_line(f"{count}, one file each{enlargement}  {out}")
    else:
        save_image(make_grid(images, columns, size=pixels), out)
        output.print_line(f"{count}{enlargement}  {out}")
        if show:
            _show(output, make_grid(images, columns))


@_fast_allocation()
def morph(
    source: Source = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds to pass through, two or more: 3,9,27.", show_default=DEFAULT_MORPH_SEEDS
        ),
    ] = None,
    latents: LatentsFile = None,
    frames: Annotated[
        int, typer.Option(help="Frames of the whole loop, at least one per seed.")
    ] = 60,
    fps: Annotated[int, typer.Option("--fps", help="Frames per second.")] = 20,
    out: Annotated[Path, typer.Option("--out", "-o", help="A .gif, .webp or .mp4 file.")] = Path(
        "morph.gif"
    ),
    truncation: Truncation = 1.0,
    size: Size = None,
    checkpoint: CheckpointName = None,
    device: Device = None,
) -> None:
    """Interpolate from each seed to the next and back to the first, as a looped animation."""
    from catgan.generation.animation import check_animation, save_animation
    from catgan.generation.interpolation import check_frames, loop_latents

    output = Output()
    selection = _select(seeds, latents, DEFAULT_MORPH_SEEDS)
    numbers = selection.numbers
    check_frames(len(numbers), frames)
    sampler = _open(output, source, checkpoint, device)
    pixels, enlargement = _output_size(sampler, size)
    check_animation(out, fps, frames, sampler.resolution, pixels)
    z = loop_latents(selection.latents(sampler, numbers), frames)
    with ProgressBar(output) as progress:
        images = sampler.synthesize(
            z, truncation, lambda done: progress("generating", done, len(z))
        )
    save_animation(images, out, fps, pixels)
    output.print_line(
        f"{len(numbers)} {selection.kind}s, {frames} frames at {fps} a second{enlargement}  {out}"
    )


@_fast_allocation()
def edit(
    source: File = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds: 7, 0-63 or 1,5,9-12.",
            show_default=f"{DEFAULT_EDIT_SEEDS}, without --move {DEFAULT_OVERVIEW_SEED}",
        ),
    ] = None,
    latents: LatentsFile = None,
    moves: Annotated[
        list[str] | None,
        typer.Option(
            "--move",
            metavar="NUMBER=AMOUNT",
            help="Move along a direction, in standard deviations: 0=+2. Repeatable.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="An image file.")] = Path("edited.png"),
    truncation: Truncation = 1.0,
    size: Size = None,
) -> None:
    """Edit images along directions found without labels; without --move, show all directions.

    The overview has one row per direction and seed.
    """
    import numpy as np

    from catgan.generation.grid import check_grid, make_grid, save_image

    output = Output()
    amounts = _parse_moves(moves or [])
    selection = _select(seeds, latents, DEFAULT_EDIT_SEEDS if amounts else DEFAULT_OVERVIEW_SEED)
    numbers = selection.numbers
    generator = _artifact(source)
    directions = generator.card.directions
    if not directions:
        raise CatganError(f"{generator.where}: has no directions: export the run again")
    pixels, enlargement = _output_size(generator, size)
    overview = OVERVIEW_AMOUNTS
    columns = 2 if amounts else len(overview)
    count = columns * len(numbers) * (1 if amounts else len(directions))
    if count > MAX_GRID_IMAGES:
        raise CatganError(
            f"{count:,} images are too many for one grid: expected at most {MAX_GRID_IMAGES:,}; "
            "name fewer --seeds"
        )
    check_grid(out, count, columns, pixels)
    z = selection.latents(generator, numbers)
    if amounts:
        edits = [z, generator.move(z, amounts)]
        summary = "each image before and after"
    else:
        edits = [
            generator.move(z, {number: amount})
            for number in range(len(directions))
            for amount in overview
        ]
        kind = selection.kind
        which = f"{kind} {numbers[0]}" if len(z) == 1 else f"{len(z)} {kind}s"
        summary = (
            f"{which}, one row per direction and {kind}, from {overview[0]} to +{overview[-1]}"
        )
    # (direction x amount, seed, latent) -> (direction, seed, amount, latent): the amounts of one
    # direction and seed side by side in a row of the grid.
    table = np.stack(edits).reshape(-1, columns, *z.shape)
    rows = table.swapaxes(1, 2).reshape(-1, z.shape[1])
    with ProgressBar(output) as progress:
        images = generator.synthesize(
            rows, truncation, lambda done: progress("generating", done, len(rows))
        )
    save_image(make_grid(images, columns, size=pixels), out)
    for number, direction in enumerate(directions):
        if number in amounts or not amounts:
            name = direction.name or "unnamed"
            output.print_line(f"{number:2d}  {name}, {100 * direction.share:.1f} % of the variance")
    output.print_line(f"{summary}{enlargement}  {out}")


def info(source: Exported = None) -> None:
    """Print the card of a generator: data, license, scores, and how close it is to its run."""
    from catgan.generation.foreign import CHECKS, read_card

    if source is not None and source.suffix in CHECKS:
        card, where = read_card(source), str(source)
    else:
        generator = _artifact(source)
        card, where = generator.card, generator.where
    output = Output()
    for title, text in card.lines():
        output.print_line(f"{title:<10} {text}")
    names = [direction.name for direction in card.directions]
    if names:
        numbered = [f"{number} {name}" for number, name in enumerate(names) if name]
        named = ", ".join(numbered) or "none named"
        output.print_line(f"{'directions':<10} {len(names)}; {named}")
    output.print_line(f"{'file':<10} {where}")


def web(
    out: Annotated[Path, typer.Argument(help="Directory to create; copy it to any web host.")],
    source: File = None,
) -> None:
    """Write a static web page that generates images in the browser, without a server."""
    from catgan.web.site import write_site

    output = Output()
    site = write_site(out, _artifact(source))
    output.print_line(f"{site.files} files, {site.bytes / 1e6:.1f} MB  {out}")
    output.print_line(f"next     python -m http.server --directory {shell_words(out)}")


def _open(
    output: Output, source: Path | None, checkpoint: str | None, device: str | None
) -> Sampler:
    """Return a run's sampler for a directory, else an artifact's generator."""
    if source is None or not source.is_dir():
        if checkpoint is not None or device is not None:
            raise CatganError(
                "--checkpoint and --device need a run, not a file: name a run, or leave them out"
            )
        return _artifact(source)
    require_training_extra()
    from catgan.runs.device import choose_device
    from catgan.runs.sampler import load_sampler

    return load_sampler(
        source,
        choose_device("auto" if device is None else device),
        output.print_line,
        "latest" if checkpoint is None else checkpoint,
    )


def _artifact(source: Path | None) -> Generator:
    from catgan.generation.generator import load_generator

    if source is not None and source.is_dir():
        if not (source / "config.toml").exists():
            raise CatganError(f"{source}: is a directory, not a run: name an exported .onnx file")
        raise CatganError(
            f"{source}: is a run: export it with catgan export {shell_words(source)}, then name "
            "the .onnx file"
        )
    return load_generator(source)


def _output_size(sampler: Sampler, size: int | None) -> tuple[int, str]:
    """Return the side of the written images, and a note if they are enlarged."""
    from catgan.generation.grid import check_size

    side = sampler.resolution
    if size in (None, side):
        return side, ""
    check_size(side, size)
    return size, f", {side} px enlarged to {size} px (Lanczos)"


def _show(output: Output, image: np.ndarray) -> None:
    from catgan.generation.blocks import half_blocks

    console = output.console
    if not console.no_color and console.color_system in ("truecolor", "256"):
        console.print(half_blocks(image, console.width), soft_wrap=True)
    else:
        output.print_line("--show: the output is not a color terminal, so nothing is shown")


def _parse_moves(texts: Sequence[str]) -> dict[int, float]:
    moves: dict[int, float] = {}
    for text in texts:
        match = re.fullmatch(r"\s*(\d{1,3})\s*=\s*([+-]?\d{1,3}(?:\.\d{1,6})?)\s*", text, re.ASCII)
        if not match or abs(float(match[2])) > MAX_MOVE:
            raise CatganError(
                f"--move {text!r}: expected NUMBER=AMOUNT with an amount from -{MAX_MOVE:g} to "
                f"{MAX_MOVE:g}, for example 0=+2"
            )
        if int(match[1]) in moves:
            raise CatganError(f"--move names direction {int(match[1])} twice: add the two amounts")
        moves[int(match[1])] = float(match[2])
    return moves
