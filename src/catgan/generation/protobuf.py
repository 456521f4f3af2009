"""Just enough of the protocol buffer wire format to check an ONNX file before it is run.

See Protocol Buffers documentation, "Encoding". ONNX's field numbers are in its `onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}

# A field takes as few as two bytes, so a file within the size limit could hold a hundred million
# and keep this reader busy for minutes. A generator's file has a few thousand.
MAX_FIELDS = 1_000_000


@dataclass
class Allowance:
    """The number of fields that may still be read in a message and all messages inside it.

    A field that is read twice counts twice.
    """

    left: int = MAX_FIELDS


@dataclass(frozen=True)
class Message:
    """The bytes of a message. Every method raises ValueError for malformed bytes.

    The messages inside it share its allowance.
    """

    data: memoryview
    allowance: Allowance = field(default_factory=Allowance)

    def fields(self) -> Iterator[tuple[int, int | memoryview]]:
        """Yield the fields in order: the number, and an integer or a view of the bytes."""
        data, position = self.data, 0
        while position < len(data):
            self.allowance.left -= 1
            if self.allowance.left < 0:
                raise ValueError("it has more fields than any generator")
            key, position = _decode_varint(data, position)
            if key >> 32:  # other readers keep 32 bits and would see a different field
                raise ValueError("a field's number is too large")
            number, wire_type = key >> 3, key & 7
            if number == 0:
                raise ValueError("a field has no number")
            if wire_type == VARINT:
                value, position = _decode_varint(data, position)
                yield number, value
                continue
            if wire_type == LENGTH:
                length, position = _decode_varint(data, position)
            elif wire_type in _FIXED:
                length = _FIXED[wire_type]
            else:
                raise ValueError(f"a field has the unknown wire type {wire_type}")
            if length > len(data) - position:
                raise ValueError("it ends in the middle of a field")
            yield number, data[position : position + length]
            position += length

    def parts(self, number: int) -> Iterator[Message]:
        """Yield the fields with this number that are messages, text or bytes."""
        for found, value in self.fields():
            if found == number and isinstance(value, memoryview):
                yield Message(value, self.allowance)

    def text(self, number: int) -> str:
        """Return the last text with this number, or ""; ValueError if it is not UTF-8."""
        last = b""
        for part in self.parts(number):
            last = bytes(part.data)
        return last.decode("utf-8")

    def integer(self, number: int) -> int:
        """Return the last integer with this number, or 0."""
        last = 0
        for found, value in self.fields():
            if found == number and isinstance(value, int):
                last = value
        return last


def encode_field(number: int, content: bytes) -> bytes:
    """Return the bytes of one field that holds a message, text or bytes."""
    return _encode_varint(number << 3 | LENGTH) + _encode_varint(len(content)) + content


def _decode_varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data):
            raise ValueError("it ends in the middle of a number")
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
