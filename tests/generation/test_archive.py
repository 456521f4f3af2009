from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress

import pytest
from artifacts import card
from foreign_files import KERAS_MEMBERS, keras_file, zipped

from catgan.errors import CatganError
from catgan.generation.foreign import read_card


@pytest.fixture
def sealed():
    return keras_file(card())


def members(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rejection(path, data):
    path.write_bytes(data)
    with pytest.raises(CatganError) as error:
        read_card(path)
    assert str(error.value).isprintable()
    return str(error.value)


def test_the_card_is_read(sealed, tmp_path):
    path = tmp_path / "a.keras"
    path.write_bytes(sealed)
    assert read_card(path).name == "tiny cats"


def test_foreign_and_damaged_files_are_rejected_in_one_line(sealed, tmp_path):
    path = tmp_path / "a.keras"
    assert "no catgan card" in rejection(path, zipped(KERAS_MEMBERS))
    assert "the members" in rejection(path, zipped(members(sealed) | {"x": b""}))
    assert "checksum" in rejection(path, zipped(members(sealed) | {"config.json": b"[]"}))
    assert "compressed" in rejection(path, zipped(members(sealed), zipfile.ZIP_DEFLATED))
    assert "too long" in rejection(path, zipped(KERAS_MEMBERS | {"x" * 5_000: b""}))
    assert "not a complete zip" in rejection(path, b"")
    other = json.dumps({"catgan": []}).encode()
    assert "no catgan card" in rejection(path, zipped(KERAS_MEMBERS | {"metadata.json": other}))


def test_truncated_or_flipped_bytes_never_yield_another_card(sealed, tmp_path):
    path = tmp_path / "a.keras"
    for end in range(0, len(sealed), 37):
        rejection(path, sealed[:end])
    for position in range(0, len(sealed), 11):
        data = bytearray(sealed)
        data[position] ^= 0xFF
        path.write_bytes(data)
        with suppress(CatganError):  # a flipped date, for example, does no harm
            assert read_card(path).name == "tiny cats"
