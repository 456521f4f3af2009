"""A Keras 3 file (.keras), which TensorFlow, JAX and PyTorch users load with `load_model`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from catgan.errors import CatganError
from catgan.exporters.exporter import SingleFileExporter, Source, require_file_place
from catgan.exporters.keras_model import keras_model
from catgan.exporters.keras_runtime import load_keras
from catgan.generation.archive import KERAS, check_keras, seal_keras
from catgan.generation.card import Card, parse_card


class KerasExporter(SingleFileExporter):
    """`--format keras`."""

    default_name = "generator.keras"
    precisions: tuple[str, ...] = ("float32",)
    modules: tuple[str, ...] = ("keras",)
    extra = "keras"
    holds_artifact = False

    def require_place(self, out: Path) -> None:
        """Raise `CatganError` or OSError for a place that cannot be written or is another's."""
        load_keras()  # one that is too old is told before the work
        require_file_place(out, KERAS)

    def build(self, source: Source, precision: str) -> bytes:
        """Return the file as Keras writes it, without the card."""
        model = keras_model(source.generator, source.config.network, source.mean)
        with tempfile.TemporaryDirectory() as place:
            path = Path(place, self.default_name)
            model.save(path)
            return path.read_bytes()

    def seal(self, model: bytes, document: Mapping[str, Any]) -> bytes:
        """Return the file with the card."""
        return seal_keras(model, document)

    def open(self, data: bytes, out: Path) -> OpenedKeras:
        """Load the file as its users do."""
        card = parse_card(check_keras(data, str(out)), str(out))
        return OpenedKeras(data, card)


class OpenedKeras:
    """A .keras file in Keras. Only for bytes that were made here: see SECURITY.md."""

    def __init__(self, data: bytes, card: Card) -> None:
        self.card = card
        with tempfile.TemporaryDirectory() as place:
            path = Path(place, KerasExporter.default_name)
            path.write_bytes(data)
            self._model = load_keras().models.load_model(path, compile=False, safe_mode=True)

    def synthesize(self, z: np.ndarray, truncation: float) -> np.ndarray:
        """One image for each row of `z`, in 8 bits."""
        column = np.full((len(z), 1), truncation, np.float32)
        images = self._model.predict_on_batch({"z": z, "truncation": column})
        if not np.isfinite(images).all():
            raise CatganError("Keras draws images that are not finite: report this as a bug")
        return np.rint(255 * images).clip(0, 255).astype(np.uint8)
