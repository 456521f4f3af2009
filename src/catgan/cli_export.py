"""The verb that ships: `catgan export`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from catgan.cli_generation import CheckpointName
from catgan.errors import CatganError, shell_words
from catgan.terminal import ProgressBar, make_console, print_line, require_training_extra


def export(
    run: Annotated[Path, typer.Argument(help="The run's directory.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The .onnx file; safetensors and README.md go beside it.",
            show_default="RUN/export/generator.onnx",
        ),
    ] = None,
    precision: Annotated[
        str, typer.Option(help="How weights are stored: float16, float32 or int8.")
    ] = "float16",
    checkpoint: CheckpointName = None,
    name: Annotated[
        str | None, typer.Option(help="What to call it.", show_default="DATA by RECIPE")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="The photos' licence, where the run does not know it.")
    ] = None,
    credit: Annotated[
        str | None, typer.Option(help="Whom to credit for them, where the run does not know it.")
    ] = None,
    directions: Annotated[
        list[str] | None,
        typer.Option(
            "--direction",
            metavar="NUMBER=NAME",
            help="Name a direction of `catgan edit` by what you saw it change. Repeatable.",
        ),
    ] = None,
) -> None:
    """Write a run's generator as one file that needs no torch, once it draws as torch does."""
    require_training_extra("onnx", "onnxscript")
    from catgan.export.document import UNKNOWN
    from catgan.export.export import export_run

    console = make_console()
    with ProgressBar(console) as progress:
        done = export_run(
            run,
            run / "export" / "generator.onnx" if out is None else out,
            precision=precision,
            checkpoint="latest" if checkpoint is None else checkpoint,
            name=name,
            licence=licence,
            credit=credit,
            direction_names=parse_names(directions or []),
            note=lambda text: print_line(console, text),
            on_progress=progress,
        )
    print_line(console, f"{precision}, {done.bytes / 1e6:.1f} MB; {done.parity.line()}")
    print_line(console, f"artefact {done.path}")
    print_line(console, f"weights  {done.weights}")
    print_line(console, f"card     {done.readme}")
    if done.licence.startswith(UNKNOWN):
        print_line(console, "licence  unknown: export again with --licence and --credit to say it")
    print_line(console, f"next     catgan sample {shell_words(done.path)} --seeds 0-15 -o cats.png")


def parse_names(texts: Sequence[str]) -> dict[int, str]:
    """The names of directions, written NUMBER=NAME; `CatganError` for other texts."""
    names: dict[int, str] = {}
    for text in texts:
        match = re.fullmatch(r"\s*(\d{1,3})\s*=\s*(\S.{0,79})", text)
        if not match:
            raise CatganError(
                f"--direction {text!r} is not of the form NUMBER=NAME: write, say, '0=lighter coat'"
            )
        if int(match[1]) in names:
            raise CatganError(
                f"--direction names direction {int(match[1])} twice: give it one name"
            )
        names[int(match[1])] = match[2].strip()
    return names
