"""Just enough of the protocol buffer wire format to look into an ONNX file before anyone runs it.

(Protocol Buffers documentation, "Encoding"; the field numbers of ONNX are in its `onnx.proto`.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}

# A field can be two bytes long, so a file within the limit of its size could hold a hundred million
# and keep this reader busy for minutes. A generator's takes a few thousand.
MAX_FIELDS = 1_000_000


@dataclass
class Allowance:
    """How many more fields may be read, of a message and all messages in it, each time counted."""

    left: int = MAX_FIELDS


@dataclass(frozen=True)
class Message:
    """The bytes of a message. Every method raises ValueError for bytes that are none.

    The messages in it draw on the same allowance.
    """

    data: memoryview
    allowance: Allowance = field(default_factory=Allowance)

    def fields(self) -> Iterator[tuple[int, int | memoryview]]:
        """The fields in order: number, and an integer or a view of the bytes."""
        data, position = self.data, 0
        while position < len(data):
            self.allowance.left -= 1
            if self.allowance.left < 0:
                raise ValueError("it has more fields than any generator")
            key, position = _varint(data, position)
            if key >> 32:  # other readers keep 32 bits, and would see another field
                raise ValueError("a field's number is too large")
            number, kind = key >> 3, key & 7
            if number == 0:
                raise ValueError("a field has no number")
            if kind == VARINT:
                value, position = _varint(data, position)
                yield number, value
                continue
            if kind == LENGTH:
                length, position = _varint(data, position)
            elif kind in _FIXED:
                length = _FIXED[kind]
            else:
                raise ValueError(f"a field is of the unknown kind {kind}")
            if length > len(data) - position:
                raise ValueError("it ends in the middle of a field")
            yield number, data[position : position + length]
            position += length

    def parts(self, number: int) -> Iterator[Message]:
        """The fields of one number that are messages, text or bytes."""
        for found, value in self.fields():
            if found == number and isinstance(value, memoryview):
                yield Message(value, self.allowance)

    def text(self, number: int) -> str:
        """The last text of one number, or nothing. Raises ValueError where it is no UTF-8."""
        last = b""
        for part in self.parts(number):
            last = bytes(part.data)
        return last.decode("utf-8")

    def integer(self, number: int) -> int:
        """The last integer of one number, or 0."""
        last = 0
        for found, value in self.fields():
            if found == number and isinstance(value, int):
                last = value
        return last


def encode_field(number: int, content: bytes) -> bytes:
    """One field that holds a message, text or bytes."""
    return _to_varint(number << 3 | LENGTH) + _to_varint(len(content)) + content


def _varint(data: memoryview, position: int) -> tuple[int, int]:
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


def _to_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
