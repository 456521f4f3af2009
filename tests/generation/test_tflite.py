from __future__ import annotations

import json
import struct
from contextlib import suppress

import pytest
from artifacts import card
from foreign_files import tflite_file, tflite_model

from catgan.errors import CatganError
from catgan.generation.foreign import read_card


def rejection(path, data):
    path.write_bytes(data)
    with pytest.raises(CatganError) as error:
        read_card(path)
    assert str(error.value).isprintable()
    return str(error.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tflite"


def test_the_card_is_read(path):
    path.write_bytes(tflite_file(card()))
    assert read_card(path).name == "tiny cats"


def test_foreign_and_damaged_files_are_rejected_in_one_line(path):
    text = json.dumps(card()).encode()
    assert "not a TensorFlow Lite model" in rejection(path, b"")
    assert "not a TensorFlow Lite model" in rejection(path, tflite_model([], identifier=b"TFL9"))
    assert "no catgan card" in rejection(path, tflite_model([("min_runtime_version", b"1.5.0")]))
    assert "missing" in rejection(path, tflite_model([("catgan", text)], first_buffer=2))
    assert "checksum" in rejection(path, tflite_model([("catgan", text)]))
    assert "not a JSON object" in rejection(path, tflite_model([("catgan", b"[]")]))
    assert "too long" in rejection(path, tflite_model([("catgan", b" " * (4 * 2**20 + 1))]))
    assert "damaged" in rejection(path, tflite_file(card()) + b"\0")


def test_truncated_or_flipped_bytes_never_yield_another_card(path):
    intact = tflite_file(card())
    for end in range(0, len(intact), 37):
        rejection(path, intact[:end])
    start = intact.index(b'{"format"')
    for position in [*range(start), *range(start, len(intact), 11)]:
        data = bytearray(intact)
        data[position] ^= 0xFF
        path.write_bytes(data)
        with suppress(CatganError):  # a flipped digit in the card only changes a number
            assert read_card(path).latent_size
            assert position >= start


@pytest.mark.parametrize("offset", [0, 7, 2**31, 2**32 - 1])
def test_offsets_outside_the_file_are_rejected_in_one_line(path, offset):
    intact = tflite_file(card())
    for position in range(0, intact.index(b'{"format"'), 4):
        data = intact[:position] + struct.pack("<I", offset) + intact[position + 4 :]
        if data != intact:
            rejection(path, data)
