"""Export to LiteRT (TensorFlow Lite, .tflite), for phones.

The generator is converted to Keras, then by TensorFlow's converter. Weights are stored as float16;
depending on the phone, its kernels compute in float16 or cast to float32. The card is stored in the
model's metadata.
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
from catgan.exporters.exporter import SingleFileExporter, Source, check_file_destination
from catgan.exporters.keras_exporter import KerasExporter
from catgan.generation.artifact import CHECKSUM, KEY
from catgan.generation.card import Card, parse_card
from catgan.generation.generator import INPUTS, OUTPUT
from catgan.generation.tflite import TFLITE, check_tflite, digest_without_card, find_card

_ALIGNMENT = 16  # bytes, of a buffer, as the schema demands


class LitertExporter(SingleFileExporter):
    """The exporter for `--format litert`."""

    default_name = "generator.tflite"
    precisions: tuple[str, ...] = ("float16", "float32")
    modules: tuple[str, ...] = ("keras", "tensorflow", "ai_edge_litert")
    extra = "litert"
    holds_artifact = False

    def check_destination(self, out: Path) -> None:
        """Raise `CatganError` or OSError if `out` cannot be written or is not an export."""
        check_file_destination(out, TFLITE)

    def build(self, source: Source, precision: str) -> bytes:
        """Return the file that TensorFlow's converter writes, without the card."""
        keras = KerasExporter()
        with tempfile.TemporaryDirectory() as directory:
            model = Path(directory, keras.default_name)
            converted = Path(directory, self.default_name)
            model.write_bytes(keras.build(source, keras.precisions[0]))
            _convert(model, converted, precision)
            return converted.read_bytes()

    def seal(self, model: bytes, document: Mapping[str, Any]) -> bytes:
        """Return the file with the card."""
        text = json.dumps({**document, CHECKSUM: "0" * 64}, ensure_ascii=False, allow_nan=False)
        data = _add_metadata(model, KEY, text.encode())
        start, end = find_card(data)
        card = {**document, CHECKSUM: digest_without_card(data, start, end)}
        text = json.dumps(card, ensure_ascii=False, allow_nan=False)
        return data[:start] + text.encode() + data[end:]

    def open(self, data: bytes, out: Path) -> OpenedLitert:
        """Open the file in the LiteRT runtime."""
        return OpenedLitert(data, parse_card(check_tflite(data, str(out)), str(out)))


class OpenedLitert:
    """A .tflite file loaded in LiteRT. Only for files written by this process: see SECURITY.md."""

    def __init__(self, data: bytes, card: Card) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.card = card
        self._interpreter = Interpreter(model_content=data, num_threads=1)
        self._generate = self._interpreter.get_signature_runner()

    def synthesize(self, z: np.ndarray, truncation: float) -> np.ndarray:
        """Return one uint8 image for each row of `z`."""
        column = np.full((1, 1), truncation, np.float32)
        rows = [
            self._generate(**dict(zip(INPUTS, (row[None], column), strict=True)))[OUTPUT]
            for row in z
        ]
        images = np.concatenate(rows)
        if not np.isfinite(images).all():
            raise CatganError(
                "LiteRT generates images that are not finite: use --precision float32, or report "
                "this as a bug"
            )
        return np.rint(255 * images).clip(0, 255).astype(np.uint8)


def _convert(model: Path, converted: Path, precision: str) -> None:
    """Run the converter; raise `CatganError` with its last line of output if it fails."""
    with tempfile.TemporaryDirectory() as home:
        settings = {
            "KERAS_BACKEND": "tensorflow",
            "KERAS_HOME": home,
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), home),  # it leaves generated code behind
            "CUDA_VISIBLE_DEVICES": "-1",  # TensorFlow would reserve all GPU memory for nothing
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


def _add_metadata(model: bytes, name: str, value: bytes) -> bytes:
    """Return the .tflite file `model` with one more metadata entry."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    class Buffer(schema.BufferT):
        """A buffer aligned to 16 bytes, as kernels expect; the base class aligns to 4."""

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

    def make_buffer(data: Any) -> Buffer:
        buffer = Buffer()
        buffer.data = data
        return buffer

    unpacked = schema.ModelT.InitFromPackedBuf(model, 0)
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, len(unpacked.buffers)
    unpacked.metadata = [*(unpacked.metadata or []), entry]
    unpacked.buffers = [
        *(make_buffer(each.data) for each in unpacked.buffers),
        make_buffer(value),
    ]
    builder = flatbuffers.Builder(2 * len(model) + len(value))
    builder.Finish(unpacked.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
