from __future__ import annotations

import json
import struct
from contextlib import suppress

import pytest
from artifacts import card
from foreign_files import tflite_file, tflite_model

from catgan.errors import CatganError
from catgan.generation.foreign import read_card


def rejected(path, data):
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


def test_foreign_and_damaged_files_end_in_one_line(path):
    text = json.dumps(card()).encode()
    assert "no TensorFlow Lite" in rejected(path, b"")
    assert "no TensorFlow Lite" in rejected(path, tflite_model([], identifier=b"TFL9"))
    assert "no card" in rejected(path, tflite_model([("min_runtime_version", b"1.5.0")]))
    assert "missing" in rejected(path, tflite_model([("catgan", text)], first_buffer=2))
    assert "checksum" in rejected(path, tflite_model([("catgan", text)]))
    assert "no table" in rejected(path, tflite_model([("catgan", b"[]")]))
    assert "too long" in rejected(path, tflite_model([("catgan", b" " * (4 * 2**20 + 1))]))
    assert "damaged" in rejected(path, tflite_file(card()) + b"\0")


def test_no_cut_and_no_flipped_byte_is_read_as_another_card(path):
    sound = tflite_file(card())
    for end in range(0, len(sound), 37):
        rejected(path, sound[:end])
    start = sound.index(b'{"format"')
    for position in [*range(start), *range(start, len(sound), 11)]:
        data = bytearray(sound)
        data[position] ^= 0xFF
        path.write_bytes(data)
        with suppress(CatganError):  # a digit of the card, say, makes another number
            assert read_card(path).latent_size
            assert position >= start


@pytest.mark.parametrize("offset", [0, 7, 2**31, 2**32 - 1])
def test_offsets_out_of_the_file_end_in_one_line(path, offset):
    sound = tflite_file(card())
    for position in range(0, sound.index(b'{"format"'), 4):
        data = sound[:position] + struct.pack("<I", offset) + sound[position + 4 :]
        if data != sound:
            rejected(path, data)
