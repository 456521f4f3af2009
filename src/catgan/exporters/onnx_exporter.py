"""The artifact: one .onnx file, its weights as safetensors and its card as README.md beside it."""

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
from catgan.exporters.readme import describes, readme
from catgan.files import make_directory, require_replaceable, write_durably
from catgan.generation.artifact import check_artifact, seal
from catgan.generation.card import Card, parse_card
from catgan.generation.generator import Generator
from catgan.networks.build import pixel_range

README = "README.md"
CARD_KEY = "catgan"  # of the safetensors' metadata


class OnnxExporter:
    """`--format onnx`."""

    default_name = "generator.onnx"
    precisions: tuple[str, ...] = ("float16", "float32", "int8")
    modules: tuple[str, ...] = ()
    extra = "train"
    holds_artifact = True

    def require_place(self, out: Path) -> None:
        """Raise `CatganError` or OSError for a place that cannot be written or is another's."""
        if out.suffix != ".onnx":
            raise CatganError(f"{out}: an artifact is an .onnx file; give it such a name")
        if not out.name.isprintable():  # its README names it
            raise CatganError(f"{quoted(out.name)}: give it a name of letters that can be shown")
        own = out.with_suffix("") / out.name
        apart = f"export into a directory of its own, with --out {shell_words(own)}"
        card, weights = out.with_name(README), out.with_suffix(".safetensors")
        for path in (out, card, weights):  # writing the artifact comes last
            require_replaceable(path)
        if card.exists():
            described = describes(card.read_text("utf-8", errors="replace"))
            if described is None:
                raise CatganError(f"{card} is there already, and no card of catgan's: {apart}")
            if described != out.name and out.with_name(described).exists():
                raise CatganError(f"{card} is the card of {described} beside it: {apart}")
        if weights.exists() and not _is_ours(weights):
            raise CatganError(f"{weights} is there already, and no export's: {apart}")
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
        """Open the artifact by the light runtime."""
        where = str(out)
        return Generator(data, parse_card(check_artifact(data, where), where), where)

    def write(
        self, out: Path, data: bytes, card: Card, weights: Mapping[str, Tensor]
    ) -> dict[str, Path]:
        """Write the three files."""
        state = safetensors.torch.save(
            {name: value.detach().contiguous() for name, value in weights.items()},
            metadata={CARD_KEY: json.dumps(card.document)},
        )
        beside = out.with_suffix(".safetensors")
        make_directory(out.parent)
        write_durably(beside, state)
        write_durably(out.with_name(README), readme(card, out.name).encode())
        write_durably(out, data)
        return {"artifact": out, "weights": beside, "card": out.with_name(README)}

    def next_command(self, out: Path) -> tuple[str, ...]:
        """Draw with it."""
        return ("catgan", "sample", str(out), "--seeds", "0-15", "-o", "cats.png")


def _is_ours(weights: Path) -> bool:
    """Whether a safetensors file is an export's: it has the card in its metadata."""
    try:
        with safetensors.safe_open(weights, "pt") as file:
            return CARD_KEY in (file.metadata() or {})
    except safetensors.SafetensorError:
        return False
