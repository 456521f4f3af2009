"""A LiteRT (TensorFlow Lite) file (.tflite), for phones.

By way of Keras and TensorFlow's own converter. The weights are stored as float16, which the kernels
widen or compute with, as the phone can. The card becomes metadata of the model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from catgan.errors import CatganError
from catgan.exporters.exporter import SingleFileExporter, Source, require_file_place
from catgan.exporters.keras_exporter import KerasExporter
from catgan.generation.artifact import CHECKSUM, KEY
from catgan.generation.card import Card, parse_card
from catgan.generation.generator import INPUTS, OUTPUT
from catgan.generation.tflite import TFLITE, check_tflite, digest_without_card, find_card

_ALIGNMENT = 16  # of a buffer, in the schema


class LitertExporter(SingleFileExporter):
    """`--format litert`."""

    default_name = "generator.tflite"
    precisions: tuple[str, ...] = ("float16", "float32")
    modules: tuple[str, ...] = ("keras", "tensorflow", "ai_edge_litert")
    extra = "litert"
    holds_artifact = False

    def require_place(self, out: Path) -> None:
        """Raise `CatganError` or OSError for a place that cannot be written or is another's."""
        require_file_place(out, TFLITE)

    def build(self, source: Source, precision: str) -> bytes:
        """Return the file as TensorFlow's converter writes it, without the card."""
        keras = KerasExporter()
        with tempfile.TemporaryDirectory() as place:
            model, converted = Path(place, keras.default_name), Path(place, self.default_name)
            model.write_bytes(keras.build(source, keras.precisions[0]))
            _convert(model, converted, precision)
            return converted.read_bytes()

    def seal(self, model: bytes, document: Mapping[str, Any]) -> bytes:
        """Return the file with the card."""
        text = json.dumps({**document, CHECKSUM: "0" * 64}, ensure_ascii=False, allow_nan=False)
        data = _with_metadata(model, KEY, text.encode())
        start, end = find_card(data)
        known = {**document, CHECKSUM: digest_without_card(data, start, end)}
        text = json.dumps(known, ensure_ascii=False, allow_nan=False)
        return data[:start] + text.encode() + data[end:]

    def open(self, data: bytes, out: Path) -> OpenedLitert:
        """Open the file by the runtime of phones."""
        return OpenedLitert(data, parse_card(check_tflite(data, str(out)), str(out)))


class OpenedLitert:
    """A .tflite file in LiteRT. Only for bytes that were made here: see SECURITY.md."""

    def __init__(self, data: bytes, card: Card) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.card = card
        self._interpreter = Interpreter(model_content=data, num_threads=1)
        self._draw = self._interpreter.get_signature_runner()

    def synthesize(self, z: np.ndarray, truncation: float) -> np.ndarray:
        """One image for each row of `z`, in 8 bits."""
        column = np.full((1, 1), truncation, np.float32)
        rows = [
            self._draw(**dict(zip(INPUTS, (row[None], column), strict=True)))[OUTPUT] for row in z
        ]
        images = np.concatenate(rows)
        if not np.isfinite(images).all():
            raise CatganError(
                "LiteRT draws images that are not finite: use --precision float32, or report this "
                "as a bug"
            )
        return np.rint(255 * images).clip(0, 255).astype(np.uint8)


def _convert(model: Path, converted: Path, precision: str) -> None:
    """Run the converter; `CatganError` with the last line it wrote where it fails."""
    with tempfile.TemporaryDirectory() as home:
        settings = {
            "KERAS_BACKEND": "tensorflow",
            "KERAS_HOME": home,
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), home),  # it leaves files of generated code
            "CUDA_VISIBLE_DEVICES": "-1",  # TensorFlow takes all of a GPU's memory, and needs none
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        program = (sys.executable, "-m", "catgan.exporters.litert_conversion")
        done = subprocess.run(  # noqa: S603
            [*program, str(model), str(converted), precision],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            errors="replace",
        )
    if done.returncode or not converted.is_file():
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        reason = "".join(each for each in last if each.isprintable())[:300]
        raise CatganError(
            f"TensorFlow cannot convert this generator ({reason}): use --format keras, or report "
            "this as a bug"
        )


def _with_metadata(model: bytes, name: str, value: bytes) -> bytes:
    """Return a .tflite file with one more entry in its metadata."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    class Buffer(schema.BufferT):
        """A buffer at a multiple of 16 bytes, as kernels expect it; the parent packs at any 4."""

        def Pack(self, builder: flatbuffers.Builder) -> int:  # noqa: N802  # the schema's name
            contents = None
            if self.data is not None:
                builder.StartVector(1, len(self.data), _ALIGNMENT)
                builder.head -= len(self.data)
                builder.Bytes[builder.head : builder.head + len(self.data)] = bytes(self.data)
                contents = builder.EndVector()
            schema.BufferStart(builder)
            if contents is not None:
                schema.BufferAddData(builder, contents)
            return int(schema.BufferEnd(builder))

    def buffer(data: Any) -> Buffer:
        made = Buffer()
        made.data = data
        return made

    content = schema.ModelT.InitFromPackedBuf(model, 0)
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, len(content.buffers)
    content.metadata = [*(content.metadata or []), entry]
    content.buffers = [*(buffer(each.data) for each in content.buffers), buffer(value)]
    builder = flatbuffers.Builder(2 * len(model) + len(value))
    builder.Finish(content.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
