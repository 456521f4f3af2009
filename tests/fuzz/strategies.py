"""Hypothesis strategies: sound inputs, damaged in the ways that files and people damage them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from hypothesis import strategies as st

MOST_EDITS = 8

# Where arithmetic goes wrong: ends of ranges, and more digits than Python turns into a number.
_NUMBERS = (0, 1, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
_BLOCKS = [
    number.to_bytes(8, order)[start:end]
    for number in _NUMBERS
    for order, start, end in (("little", 0, 4), ("big", 4, 8), ("little", 0, 8))
]
_PIECES = [
    *_BLOCKS,
    b"\0" * 40,
    b"9" * 5000,
    b"0x" + b"f" * 5000,
    b"1e999",
    b"-1",
    b"nan",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"\n",
    b"\x1b[31m",
    b"\xff\xfe",
    b'"\\ud800"',
    b"a." * 500,
    b" " * 3000,
]

_TEXTS = ("", "a", "\ud800", "\x1b[31m", "a\nb", "\u202e", "x" * 9000, "../../x", "\0", "0" * 64)
_OTHERS = (
    None,
    True,
    False,
    -1,
    -(2**63),
    10**400,
    10**4000,
    0.5,
    -0.0,
    1e308,
    1e-308,
    float("nan"),
    float("inf"),
    [],
    {},
)


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of `seeds` with a few bytes changed, left out, put in or repeated."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, MOST_EDITS))):
        start = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 16))
        what = draw(st.sampled_from(["flip", "replace", "insert", "repeat", "remove", "end"]))
        if what == "flip" and start < len(data):
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif what in ("replace", "insert"):
            piece = draw(st.one_of(st.sampled_from(_PIECES), st.binary(max_size=16)))
            data[start : start + (len(piece) if what == "replace" else 0)] = piece
        elif what == "repeat":
            data[start:start] = data[start : start + length] * draw(st.sampled_from([1, 2, 300]))
        elif what == "remove":
            del data[start : start + length]
        elif what == "end":
            del data[start:]
    return bytes(data)


@st.composite
def other_json(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of `seeds`, which are JSON documents (or lines of them), with other values in places."""
    return edit_json(draw(st.sampled_from(seeds)), draw(st.randoms(use_true_random=False)))


def edit_json(data: bytes, random: Random) -> bytes:
    """`data` with other values in one of its lines that is a JSON object.

    Raises ValueError, RecursionError or IndexError where there is no such line.
    """
    lines = data.split(b"\n")
    number = random.choice([n for n, line in enumerate(lines) if line.startswith(b"{")])
    document: Any = {"": json.loads(lines[number])}
    for _ in range(random.randint(1, 4)):
        places = list(_places(document))
        holder, key = random.choice(places)
        what = random.choice(["value", "value", "value", "remove", "add", "copy"])
        if what == "remove" and holder is not document:
            del holder[key]
        elif what == "copy":
            other, its_key = random.choice(places)
            holder[key] = copy.deepcopy(other[its_key])
        elif what == "add" and isinstance(holder, dict):
            holder[random.choice(_TEXTS)] = _value(random)
        elif what == "add":
            holder.append(_value(random))
        else:
            holder[key] = _value(random)
    lines[number] = json.dumps(document[""]).encode()
    return b"\n".join(lines)


def _value(random: Random) -> Any:
    leaf = random.choice([*_NUMBERS, *_OTHERS, *_TEXTS, random.randint(-1000, 1000)])
    return random.choice([leaf, leaf, leaf, [leaf], {random.choice(_TEXTS): leaf}, [[[[leaf]]]]])


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(Container, key) of everything inside `value`."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
