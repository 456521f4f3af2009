"""Export a generator: `catgan export`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from catgan.cli.console import Output, ProgressBar
from catgan.cli.generation import CheckpointName
from catgan.errors import CatganError, shell_words
from catgan.extras import require_training_extra

# On any backend, Keras imports TensorFlow to save a model, if it is installed. These settings keep
# TensorFlow from printing four lines about the processor; it computes nothing in this process.
QUIET_TENSORFLOW = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FILE.onnx|bundled",
            help="A run; or an exported file, or the bundled generator, to convert to another "
            "format.",
        ),
    ],
    format: Annotated[  # noqa: A002  # as the option
        str,
        typer.Option(
            "--format",
            help="File format: onnx (catgan, ONNX Runtime), keras, litert (phones) or triton.",
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="The file, or for triton the directory. An .onnx file gets a .safetensors file "
            "and a README.md beside it.",
            show_default="RUN/export/generator.onnx",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="How weights are stored: float16, float32 or int8.",
            show_default="float16, for keras float32",
        ),
    ] = None,
    checkpoint: CheckpointName = None,
    name: Annotated[
        str | None, typer.Option(help="Name on the card.", show_default="DATA by RECIPE")
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="License of the photos, if the run does not know it.")
    ] = None,
    credit: Annotated[
        str | None, typer.Option(help="Credit for the photos, if the run does not know it.")
    ] = None,
    directions: Annotated[
        list[str] | None,
        typer.Option(
            "--direction",
            metavar="NUMBER=NAME",
            help="Name a direction of `catgan edit` after what it changes. Repeatable.",
        ),
    ] = None,
) -> None:
    """Export a generator to a format that needs no torch, after comparing its images."""
    require_training_extra("onnx", "onnxscript")
    from catgan.exporters.document import UNKNOWN
    from catgan.exporters.export import export as export_generator
    from catgan.exporters.export import find_exporter

    os.environ.update(QUIET_TENSORFLOW)
    output = Output()
    with ProgressBar(output) as progress:
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
            note=output.print_line,
            on_progress=progress,
        )
    output.print_line(f"{done.precision}, {done.bytes / 1e6:.1f} MB; {done.parity.line()}")
    for what, file in done.files.items():
        output.print_line(f"{what:<8} {file}")
    if done.license.startswith(UNKNOWN):
        output.print_line("license  unknown: export again with --license and --credit")
    next_command = find_exporter(format).next_command(done.path)
    output.print_line(f"next     {shell_words(*next_command)}")


def parse_names(texts: Sequence[str]) -> dict[int, str]:
    """Return the names of directions, written NUMBER=NAME, by number.

    Raises:
        CatganError: a text is malformed, or a direction is named twice.
    """
    names: dict[int, str] = {}
    for text in texts:
        match = re.fullmatch(r"\s*(\d{1,3})\s*=\s*(\S.{0,79})", text)
        if not match:
            raise CatganError(
                f"--direction {text!r}: expected NUMBER=NAME, for example '0=lighter coat'"
            )
        if int(match[1]) in names:
            raise CatganError(
                f"--direction names direction {int(match[1])} twice: give it one name"
            )
        names[int(match[1])] = match[2].strip()
    return names
