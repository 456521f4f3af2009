"""A generator as a LiteRT (TensorFlow Lite) file (.tflite), and the card in it.

The file is a FlatBuffer after TensorFlow's `schema.fbs`. A model has metadata there, each a name
and the number of a buffer; the card is the buffer of the name `catgan`. Here the card is read, and
nothing else: no framework is loaded, and nothing of the model is run.
`docs/reference/formats.md` is the description.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from catgan.errors import CatganError
from catgan.generation.artifact import CHECKSUM, KEY, MAX_ARTIFACT_BYTES, parse_json_table

TFLITE = ".tflite"

_IDENTIFIER = b"TFL3"
_MAX_METADATA = 64  # a converter writes three or four
# Places in a table of tables, as FlatBuffers count them: 4 + 2 * the field's number in the schema.
_MODEL_BUFFERS, _MODEL_METADATA = 12, 16
_METADATA_NAME, _METADATA_BUFFER = 4, 6
_BUFFER_DATA = 4


def check_tflite(data: bytes, where: str) -> dict[str, Any]:
    """Return the card in the bytes of a .tflite file.

    Raises:
        CatganError: they are no such file, damaged, or without a card of catgan's.
    """
    try:
        if len(data) > MAX_ARTIFACT_BYTES:
            raise ValueError(f"it is larger than {MAX_ARTIFACT_BYTES // 2**20} MiB")
        start, end = find_card(data)
        card = parse_json_table(data[start:end])
    except ValueError as error:
        raise CatganError(
            f"{where}: is damaged, or no .tflite file that `catgan export` wrote ({error}): name "
            "one, or export again"
        ) from None
    if digest_without_card(data, start, end) != card.get(CHECKSUM):
        raise CatganError(
            f"{where}: is damaged (it does not have the checksum it was written with): fetch or "
            "export it again"
        )
    return card


def find_card(data: bytes) -> tuple[int, int]:
    """Return where the card starts and ends; ValueError for bytes without one."""
    if data[4:8] != _IDENTIFIER:
        raise ValueError("it is no TensorFlow Lite model")
    try:
        span = _find_buffer(data, KEY.encode())
    except (struct.error, TypeError, OverflowError):  # an offset that leads out of the file
        raise ValueError("its tables are not complete") from None
    if span is None:
        raise ValueError("it has no card of catgan's")
    start, end = span
    if not 0 < start <= end <= len(data):
        raise ValueError("its card is not complete")
    return span


def digest_without_card(data: bytes, start: int, end: int) -> str:
    """Return the sha256 of all bytes but the card's, in hexadecimal."""
    digest = hashlib.sha256(memoryview(data)[:start])
    digest.update(memoryview(data)[end:])
    return digest.hexdigest()


def _find_buffer(data: bytes, name: bytes) -> tuple[int, int] | None:
    """Where the contents of the metadata `name` are; struct.error for an offset out of the file."""
    from flatbuffers import number_types
    from flatbuffers.table import Table

    def field(table: Table, place: int) -> int:
        offset: int = table.Offset(place)
        if not offset:
            raise ValueError("a part of its tables is missing")
        return offset

    def element(table: Table, place: int, index: int) -> Table:
        """The table with the number `index` in a vector of tables."""
        vector = field(table, place)
        if index >= table.VectorLen(vector):
            raise ValueError("a part of its tables is missing")
        return Table(data, table.Indirect(table.Vector(vector) + 4 * index))

    model = Table(data, Table(data, 0).Indirect(0))
    count = model.VectorLen(field(model, _MODEL_METADATA))
    for index in range(min(count, _MAX_METADATA)):
        metadata = element(model, _MODEL_METADATA, index)
        if metadata.String(metadata.Pos + field(metadata, _METADATA_NAME)) != name:
            continue
        number = metadata.Offset(_METADATA_BUFFER)  # without a field: the buffer with the number 0
        if number:
            number = metadata.Get(number_types.Uint32Flags, metadata.Pos + number)
        buffer = element(model, _MODEL_BUFFERS, number)
        contents = field(buffer, _BUFFER_DATA)
        start = buffer.Vector(contents)
        return start, start + buffer.VectorLen(contents)
    return None
