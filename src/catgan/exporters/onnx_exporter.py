"""Export to an artifact (.onnx), with the weights (.safetensors) and a README.md beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from catgan.errors import CatganError, quoted, shell_words
from catgan.evaluation.results.records import require_writable
from catgan.exporters.exporter import Source
from catgan.exporters.graph import VARIANTS, float32_model
from catgan.exporters.readme import described_file, readme
from catgan.files import make_directory, require_replaceable, write_durably
from catgan.generation.artifact import check_artifact, seal
from catgan.generation.card import Card, parse_card
from catgan.generation.generator import Generator
from catgan.networks.build import pixel_range

README = "README.md"
CARD_KEY = "catgan"  # in the safetensors metadata


class OnnxExporter:
    """The exporter for `--format onnx`."""

    default_name = "generator.onnx"
    precisions: tuple[str, ...] = ("float16", "float32", "int8")
    modules: tuple[str, ...] = ()
    extra = "train"
    holds_artifact = True

    def check_destination(self, out: Path) -> None:
        """Raise `CatganError` or OSError if `out` cannot be written or is not an export.

        The same holds for the files beside it.
        """
        if out.suffix != ".onnx":
            raise CatganError(f"{out}: expected a file name that ends in .onnx")
        if not out.name.isprintable():  # its README names it
            raise CatganError(f"{quoted(out.name)}: expected a file name of printable characters")
        own_directory = out.with_suffix("") / out.name
        remedy = f"export into its own directory with --out {shell_words(own_directory)}"
        card, weights = out.with_name(README), out.with_suffix(".safetensors")
        for path in (out, card, weights):  # all before the first is written
            require_replaceable(path)
        if card.exists():
            described = described_file(card.read_text("utf-8", errors="replace"))
            if described is None:
                raise CatganError(f"{card}: exists and is not a catgan card: {remedy}")
            if described != out.name and out.with_name(described).exists():
                raise CatganError(f"{card}: is the card of {described} beside it: {remedy}")
        if weights.exists() and not _is_export(weights):
            raise CatganError(f"{weights}: exists and is not an export: {remedy}")
        require_writable(out.parent)

    def build(self, source: Source, precision: str) -> bytes:
        """Return the ONNX model, without the card."""
        network = source.config.network
        model = float32_model(
            source.generator, network.latent_size, source.mean, pixel_range(network)
        )
        return bytes(VARIANTS[precision](model).SerializeToString())

    def seal(self, model: bytes, document: Mapping[str, Any]) -> bytes:
        """Return the artifact."""
        return seal(model, document)

    def open(self, data: bytes, out: Path) -> Generator:
        """Open the artifact in the light runtime."""
        where = str(out)
        return Generator(data, parse_card(check_artifact(data, where), where), where)

    def write(
        self, out: Path, data: bytes, card: Card, weights: Mapping[str, Tensor]
    ) -> dict[str, Path]:
        """Write the three files, the artifact last."""
        state = safetensors.torch.save(
            {name: value.detach().contiguous() for name, value in weights.items()},
            metadata={CARD_KEY: json.dumps(card.document)},
        )
        weights_path = out.with_suffix(".safetensors")
        make_directory(out.parent)
        write_durably(weights_path, state)
        write_durably(out.with_name(README), readme(card, out.name).encode())
        write_durably(out, data)
        return {"artifact": out, "weights": weights_path, "card": out.with_name(README)}

    def next_command(self, out: Path) -> tuple[str, ...]:
        """Return the command that samples from it."""
        return ("catgan", "sample", str(out), "--seeds", "0-15", "-o", "cats.png")


def _is_export(weights: Path) -> bool:
    """Return whether a safetensors file has a card in its metadata."""
    try:
        with safetensors.safe_open(weights, "pt") as file:
            return CARD_KEY in (file.metadata() or {})
    except safetensors.SafetensorError:
        return False
