"""Just enough of the protocol buffer wire format to look into an ONNX file before anyone runs it.

(Protocol Buffers documentation, "Encoding"; the field numbers of ONNX are in its `onnx.proto`.)
"""

from __future__ import annotations

from collections.abc import Iterator

MOST_FIELDS = 100_000  # of one message; a field of two bytes becomes seventy bytes of Python
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message in order: number, and an integer or a view of the bytes.

    Raises ValueError for bytes that are no message.
    """
    position = count = 0
    while position < len(message):
        count += 1
        if count > MOST_FIELDS:
            raise ValueError(f"it has more than {MOST_FIELDS:,} fields in one place")
        key, position = _varint(message, position)
        if key >> 32:  # other readers keep 32 bits, and would see another field
            raise ValueError("a field's number is too large")
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ValueError("a field has no number")
        if kind == VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == LENGTH:
            length, position = _varint(message, position)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise ValueError(f"a field is of the unknown kind {kind}")
        if length > len(message) - position:
            raise ValueError("it ends in the middle of a field")
        yield number, message[position : position + length]
        position += length


def parts(message: memoryview, number: int) -> Iterator[memoryview]:
    """The fields of one number that are messages, text or bytes."""
    for found, value in fields(message):
        if found == number and isinstance(value, memoryview):
            yield value


def text(message: memoryview, number: int) -> str:
    """The last text of one number, or nothing. Raises ValueError where it is no UTF-8."""
    last = b""
    for value in parts(message, number):
        last = bytes(value)
    return last.decode("utf-8")


def number_of(message: memoryview, number: int) -> int:
    """The last integer of one number, or 0."""
    last = 0
    for found, value in fields(message):
        if found == number and isinstance(value, int):
            last = value
    return last


def field(number: int, content: bytes) -> bytes:
    """One field that holds a message, text or bytes."""
    return _to_varint(number << 3 | LENGTH) + _to_varint(len(content)) + content


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(message):
            raise ValueError("it ends in the middle of a number")
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
