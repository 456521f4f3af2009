"""Read the model card in a LiteRT (TensorFlow Lite) file (.tflite).

The file is a FlatBuffer of TensorFlow's `schema.fbs`. There a model has metadata entries, each a
name and the index of a buffer; the card is the buffer of the entry `catgan`. Reading it loads no
framework and runs nothing of the model. `docs/formats.md` describes the format.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from catgan.errors import CatganError
from catgan.generation.artifact import CHECKSUM, KEY, MAX_ARTIFACT_BYTES, parse_json_object

TFLITE = ".tflite"

_IDENTIFIER = b"TFL3"
_MAX_METADATA = 64  # a converter writes three or four
# Offsets in a FlatBuffers vtable: 4 + 2 * the field's number in the schema.
_MODEL_BUFFERS, _MODEL_METADATA = 12, 16
_METADATA_NAME, _METADATA_BUFFER = 4, 6
_BUFFER_DATA = 4


def check_tflite(data: bytes, where: str) -> dict[str, Any]:
    """Return the card in the bytes of a .tflite file; errors name the file `where`.

    Raises:
        CatganError: the bytes are not a .tflite file, are damaged, or have no catgan card.
    """
    try:
        if len(data) > MAX_ARTIFACT_BYTES:
            raise ValueError(f"it is larger than {MAX_ARTIFACT_BYTES // 2**20} MiB")
        start, end = find_card(data)
        card = parse_json_object(data[start:end])
    except ValueError as error:
        raise CatganError(
            f"{where}: is damaged, or not a .tflite file that `catgan export` wrote ({error}): "
            "name another file, or export again"
        ) from None
    if digest_without_card(data, start, end) != card.get(CHECKSUM):
        raise CatganError(
            f"{where}: is damaged (its checksum does not match): download or export it again"
        )
    return card


def find_card(data: bytes) -> tuple[int, int]:
    """Return the start and the end of the card in a .tflite file; ValueError if it has none."""
    if data[4:8] != _IDENTIFIER:
        raise ValueError("it is not a TensorFlow Lite model")
    try:
        span = _find_buffer(data, KEY.encode())
    except (struct.error, TypeError, OverflowError):  # an offset outside the file
        raise ValueError("its tables are incomplete") from None
    if span is None:
        raise ValueError("it has no catgan card")
    start, end = span
    if not 0 < start <= end <= len(data):
        raise ValueError("its card is incomplete")
    return span


def digest_without_card(data: bytes, start: int, end: int) -> str:
    """Return the sha256 of all bytes except the card's, in hexadecimal."""
    digest = hashlib.sha256(memoryview(data)[:start])
    digest.update(memoryview(data)[end:])
    return digest.hexdigest()


def _find_buffer(data: bytes, name: bytes) -> tuple[int, int] | None:
    """Return the span of the metadata `name`; struct.error for an offset outside the file."""
    from flatbuffers import number_types
    from flatbuffers.table import Table

    def field(table: Table, vtable_offset: int) -> int:
        offset: int = table.Offset(vtable_offset)
        if not offset:
            raise ValueError("part of its tables is missing")
        return offset

    def element(table: Table, vtable_offset: int, index: int) -> Table:
        """Return table number `index` of a vector of tables."""
        vector = field(table, vtable_offset)
        if index >= table.VectorLen(vector):
            raise ValueError("part of its tables is missing")
        return Table(data, table.Indirect(table.Vector(vector) + 4 * index))

    model = Table(data, Table(data, 0).Indirect(0))
    count = model.VectorLen(field(model, _MODEL_METADATA))
    for index in range(min(count, _MAX_METADATA)):
        metadata = element(model, _MODEL_METADATA, index)
        if metadata.String(metadata.Pos + field(metadata, _METADATA_NAME)) != name:
            continue
        buffer_index = metadata.Offset(_METADATA_BUFFER)  # a missing field means buffer 0
        if buffer_index:
            buffer_index = metadata.Get(number_types.Uint32Flags, metadata.Pos + buffer_index)
        buffer = element(model, _MODEL_BUFFERS, buffer_index)
        contents = field(buffer, _BUFFER_DATA)
        start = buffer.Vector(contents)
        return start, start + buffer.VectorLen(contents)
    return None
