"""What every format of an export has in common: the seam at which another one is added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from catgan.config import Config
from catgan.errors import CatganError
from catgan.evaluation.results.records import require_writable
from catgan.exporters.parity import Parity
from catgan.files import make_directory, require_replaceable, write_durably
from catgan.generation.card import Card
from catgan.generation.foreign import read_card
from catgan.networks.base import BaseGenerator


@dataclass(frozen=True)
class Source:
    """A generator to export, and what is known of it.

    `generator` is on the CPU and in evaluation mode, its weights contiguous. `mean`
    (1, latent_size) is the style that truncation pulls toward. `reference` draws the images that an
    export has to draw, uint8 (N, resolution, resolution, 3), of latents and a truncation, and
    `reference_name` says what it is. `document` gives the card as JSON, for a precision.
    """

    generator: BaseGenerator
    config: Config
    mean: Tensor
    reference: Callable[[np.ndarray, float], np.ndarray]
    reference_name: str
    document: Callable[[str, Parity], dict[str, Any]]


class Opened(Protocol):
    """A finished file, opened again as those who get it do."""

    card: Card

    def synthesize(self, z: np.ndarray, truncation: float) -> np.ndarray:
        """One uint8 image for each row of `z`."""


class Exporter(Protocol):
    """One format: generator -> model -> file with the card -> opened again for the comparison."""

    default_name: str  # of what is written
    precisions: tuple[str, ...]  # how weights can be stored; the first is the default
    modules: tuple[str, ...]  # that it needs beside those of the train extra
    extra: str  # of the package, with which they are installed
    holds_artifact: bool  # whether the finished file is the artifact itself, as in a repository

    def require_place(self, out: Path) -> None:
        """Raise `CatganError` or OSError for a place that cannot be written or is another's."""

    def build(self, source: Source, precision: str) -> bytes:
        """Return the model, without the card."""

    def seal(self, model: bytes, document: Mapping[str, Any]) -> bytes:
        """Return the finished file: the model with the card in it."""

    def open(self, data: bytes, out: Path) -> Opened:
        """Open a finished file that will lie at `out`."""

    def write(
        self, out: Path, data: bytes, card: Card, weights: Mapping[str, Tensor]
    ) -> dict[str, Path]:
        """Write a finished file of these weights, and what belongs beside it: by what each is.

        Raises OSError.
        """

    def next_command(self, out: Path) -> tuple[str, ...]:
        """Return the words of a command that uses what was written."""


class SingleFileExporter:
    """What the formats share whose finished file is all that is written."""

    def write(
        self, out: Path, data: bytes, card: Card, weights: Mapping[str, Tensor]
    ) -> dict[str, Path]:
        """Write the file."""
        make_directory(out.parent)
        write_durably(out, data)
        return {"model": out}

    def next_command(self, out: Path) -> tuple[str, ...]:
        """Show the card."""
        return ("catgan", "info", str(out))


def require_file_place(out: Path, suffix: str) -> None:
    """Pass if an export of a format with the ending `suffix` can be written to `out`.

    Raises:
        CatganError: its name has another ending, or what lies there is no export of catgan's.
        OSError: it cannot be written.
    """
    if out.suffix != suffix:
        raise CatganError(f"{out}: this format is a {suffix} file; give it such a name")
    require_replaceable(out)
    if out.exists():
        try:
            read_card(out)
        except CatganError:
            raise CatganError(
                f"{out} is there already, and no export's: choose another place with --out"
            ) from None
    require_writable(out.parent)
