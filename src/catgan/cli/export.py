"""The verb that ships: `catgan export`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from catgan.cli.console import ProgressBar, make_console, print_line
from catgan.cli.generation import CheckpointName
from catgan.errors import CatganError, shell_words
from catgan.extras import require_training_extra

# Keras imports TensorFlow, where it is installed, to save a model on any backend. Without these it
# writes four lines about the processor; nothing is computed with it in this process.
QUIET_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE.onnx|bundled",
            help="A run's directory; or an exported file or the package's generator, for another "
            "format.",
        ),
    ],
    format: Annotated[  # noqa: A002  # the option's name
        str,
        typer.Option(
            "--format",
            help="What for: onnx (catgan, ONNX Runtime), keras, litert (phones) or triton.",
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The file, or for triton the directory. Beside an .onnx file go safetensors and "
            "README.md.",
            show_default="RUN/export/generator.onnx",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="How weights are stored: float16, float32 or int8.",
            show_default="float16, in keras float32",
        ),
    ] = None,
    checkpoint: CheckpointName = None,
    name: Annotated[
        str | None, typer.Option(help="What to call it.", show_default="DATA by RECIPE")
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="The photos' license, where the run does not know it.")
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
    """Write a generator in a form that needs no torch, once it draws as torch does."""
    require_training_extra("onnx", "onnxscript")
    from catgan.exporters.document import UNKNOWN
    from catgan.exporters.export import export as export_generator
    from catgan.exporters.export import find_exporter

    os.environ.update(QUIET_TENSORFLOW)
    console = make_console()
    with ProgressBar(console) as progress:
        done = export_generator(
            source,
            out,
            format=format,
            precision=precision,
            checkpoint=checkpoint,
            name=name,
            license=license,
            credit=credit,
            direction_names=parse_names(directions or []),
            note=lambda text: print_line(console, text),
            on_progress=progress,
        )
    print_line(console, f"{done.precision}, {done.bytes / 1e6:.1f} MB; {done.parity.line()}")
    for what, file in done.files.items():
        print_line(console, f"{what:<8} {file}")
    if done.license.startswith(UNKNOWN):
        print_line(console, "license  unknown: export again with --license and --credit to say it")
    next_command = find_exporter(format).next_command(done.path)
    print_line(console, f"next     {shell_words(*next_command)}")


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
