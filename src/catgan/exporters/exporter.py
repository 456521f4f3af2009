"""The interface of an export format. A new format implements `Exporter`."""

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
    """A generator to export.

    Attributes:
        generator: on the CPU, in evaluation mode, with contiguous weights.
        config: the configuration it was trained with.
        mean: (1, latent_size), the style that truncation pulls toward.
        reference: maps latents and a truncation to the images that an export must reproduce,
            uint8 (N, resolution, resolution, 3).
        reference_name: what `reference` runs, for messages.
        document: maps a precision and a parity to the card as JSON.
    """

    generator: BaseGenerator
    config: Config
    mean: Tensor
    reference: Callable[[np.ndarray, float], np.ndarray]
    reference_name: str
    document: Callable[[str, Parity], dict[str, Any]]


class Opened(Protocol):
    """A finished file, reopened as its users open it."""

    card: Card

    def synthesize(self, z: np.ndarray, truncation: float) -> np.ndarray:
        """Return one uint8 image for each row of `z`."""


class Exporter(Protocol):
    """One format: generator -> model -> file with the card -> reopened for the parity check."""

    default_name: str  # of the file or directory
    precisions: tuple[str, ...]  # how weights can be stored; the first is the default
    modules: tuple[str, ...]  # required in addition to those of the train extra
    extra: str  # the extra of the package that installs them
    holds_artifact: bool  # whether the finished file is the artifact itself

    def check_destination(self, out: Path) -> None:
        """Raise `CatganError` or OSError if `out` cannot be written or is not an export."""

    def build(self, source: Source, precision: str) -> bytes:
        """Return the model, without the card."""

    def seal(self, model: bytes, document: Mapping[str, Any]) -> bytes:
        """Return the finished file: the model with the card in it."""

    def open(self, data: bytes, out: Path) -> Opened:
        """Open the bytes of a finished file; errors name it `out`."""

    def write(
        self, out: Path, data: bytes, card: Card, weights: Mapping[str, Tensor]
    ) -> dict[str, Path]:
        """Write a finished file and the files beside it; return all paths by role.

        Raises OSError.
        """

    def next_command(self, out: Path) -> tuple[str, ...]:
        """Return the arguments of a command that uses the export."""


class SingleFileExporter:
    """Base of the formats that write one file and nothing beside it."""

    def write(
        self, out: Path, data: bytes, card: Card, weights: Mapping[str, Tensor]
    ) -> dict[str, Path]:
        """Write the file."""
        make_directory(out.parent)
        write_durably(out, data)
        return {"model": out}

    def next_command(self, out: Path) -> tuple[str, ...]:
        """Return the command that shows the card."""
        return ("catgan", "info", str(out))


def check_file_destination(out: Path, suffix: str) -> None:
    """Check that an export with the file suffix `suffix` can be written to `out`.

    Raises:
        CatganError: the suffix is another, or the existing file is not an export of catgan.
        OSError: the path cannot be written.
    """
    if out.suffix != suffix:
        raise CatganError(f"{out}: expected a file name that ends in {suffix}")
    require_replaceable(out)
    if out.exists():
        try:
            read_card(out)
        except CatganError:
            raise CatganError(
                f"{out}: exists and is not an export: choose another path with --out"
            ) from None
    require_writable(out.parent)
