"""Latents on disk: what is written is read back, by us and by safetensors, and nothing else is."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
from artifacts import SIZE, artifact, card, write

import catgan
from catgan.errors import CatganError
from catgan.generation import latents_file
from catgan.generation.latents import latents
from catgan.generation.latents_file import read_latents, write_latents

SHA256 = "0123456789abcdef" * 4
Z = latents(range(5), SIZE)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "z.safetensors"
    write_latents(path, Z, SHA256)
    return path


def test_what_is_written_is_read_back_to_the_bit(path):
    saved = read_latents(path)
    assert saved.latents.dtype == np.float32
    assert np.array_equal(saved.latents, Z)
    assert saved.of_generator(SHA256, SIZE) is saved.latents
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_safetensors_reads_what_is_written(path):
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(path, "np") as file:
        assert list(file.keys()) == ["latents"]
        assert np.array_equal(file.get_tensor("latents"), Z)
        assert file.metadata() == {
            "format": "catgan-latents", "format_version": "1", "generator_sha256": SHA256,
        }  # fmt: skip


def test_what_safetensors_writes_is_read(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    about = {"generator_sha256": SHA256, "format_version": "1", "format": "catgan-latents"}
    safetensors.save_file({"latents": Z}, tmp_path / "z.safetensors", metadata=about)
    assert np.array_equal(read_latents(tmp_path / "z.safetensors").latents, Z)


def test_numbers_of_other_types_are_saved_as_float32(tmp_path):
    write_latents(tmp_path / "deep" / "z.safetensors", Z.astype(np.float64), SHA256)
    assert np.array_equal(read_latents(tmp_path / "deep" / "z.safetensors").latents, Z)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (Z[:0], "expected 1 to 1,000,000"),
        (Z[0], "expected the shape"),
        (Z * np.nan, "expected finite numbers"),
        (Z.astype(complex), "expected real numbers"),
        ("latents", "expected the shape"),
    ],
)
def test_what_are_no_latents_is_not_written(tmp_path, values, expected):
    with pytest.raises(CatganError, match=expected):
        write_latents(tmp_path / "z.safetensors", values, SHA256)
    assert not (tmp_path / "z.safetensors").exists()


def test_too_many_latents_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(latents_file, "MAX_SEEDS", 4)
    with pytest.raises(CatganError, match="expected 1 to 4 of them"):
        write_latents(tmp_path / "z.safetensors", Z, SHA256)


# -- files of other people -------------------------------------------------------------------------


def rewritten(path, change=lambda header: None, values=None):
    """The file with a changed header, or other numbers."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(
        len(text).to_bytes(8, "little") + text + (data[8 + length :] if values is None else values)
    )
    return path


def of_tensor(**changes):
    return lambda header: header["latents"].update(changes)


def of_metadata(**changes):
    return lambda header: header["__metadata__"].update(changes)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (of_tensor(dtype="F16"), "not float32"),
        (of_tensor(shape=[6, 5]), None),
        (of_tensor(shape=[5, 7]), "not all that it holds"),
        (of_tensor(shape=[30]), "not of the shape"),
        (of_tensor(shape=[5, 2, 3]), "not of the shape"),
        (of_tensor(shape=[5, True]), "not of the shape"),
        (of_tensor(shape=[5.0, 6]), "not of the shape"),
        (of_tensor(shape=None), "not of the shape"),
        (of_tensor(shape=[0, 6]), "expected 1 to"),
        (of_tensor(shape=[-5, -6]), "expected 1 to"),
        (of_tensor(shape=[10**30, 10**30]), "expected 1 to"),
        (of_tensor(shape=[1, 4097]), "expected 1 to"),
        (of_tensor(data_offsets=[8, 128]), "not all that it holds"),
        (of_tensor(data_offsets=None), "not all that it holds"),
        (of_metadata(format="pt"), "latents of catgan"),
        (of_metadata(format_version="2"), "format version 1 alone"),
        (of_metadata(generator_sha256="0" * 63), "which generator"),
        (of_metadata(generator_sha256=7), "which generator"),
        (of_metadata(generator_sha256="../" + "0" * 61), "which generator"),
        (lambda header: header.pop("__metadata__"), "latents of catgan"),
        (lambda header: header.update(__metadata__=[]), "latents of catgan"),
        (lambda header: header.pop("latents"), "expected one tensor"),
        (lambda header: header.update(latents=[]), "expected one tensor"),
        (lambda header: header.update(other={}), "expected one tensor"),
    ],
)
def test_other_headers_are_rejected_in_one_line(path, change, expected):
    rewritten(path, change)
    if expected is None:  # the same numbers, arranged otherwise
        assert read_latents(path).latents.shape == (6, 5)
        return
    with pytest.raises(CatganError, match=expected) as error:
        read_latents(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda data: b"", "cut short"),
        (lambda data: data[:7], "cut short"),
        (lambda data: data[:60], "cut short"),
        (lambda data: data[:-1], "bytes of numbers"),
        (lambda data: data + b"\0", "bytes of numbers"),
        (lambda data: data[:-4] + np.float32("nan").tobytes(), "not all finite"),
        (lambda data: data[:-4] + np.float32("inf").tobytes(), "not all finite"),
        (lambda data: b"\xff" * 8 + data[8:], "cut short"),
        (lambda data: data[:8] + b"[" * (len(data) - 8), "bytes|nested|Expecting|no JSON"),
        (lambda data: data[:8] + b"\xff" * (len(data) - 8), "utf-8"),
        (lambda data: b"cats", "cut short"),
        (lambda data: artifact(), "cut short"),
    ],
)
def test_damaged_files_are_rejected_in_one_line(path, spoil, expected):
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(CatganError, match=expected) as error:
        read_latents(path)
    assert "\n" not in str(error.value)


def test_a_file_that_is_too_large_is_not_used(path, monkeypatch):
    monkeypatch.setattr(latents_file, "MAX_FILE_BYTES", 100)
    with pytest.raises(CatganError, match="larger than 0 MiB"):
        read_latents(path)


def test_what_is_not_a_file_is_rejected(tmp_path):
    for name in ("nowhere", ".", "a\0b"):
        with pytest.raises(CatganError, match="cannot be read"):
            read_latents(tmp_path / name)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX: named pipes")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CatganError, match="not a file"):
        read_latents(tmp_path / "pipe")


# -- a generator -----------------------------------------------------------------------------------


@pytest.fixture
def cats(tmp_path):
    return catgan.load(write(tmp_path / "cats.onnx"))


def test_latents_stand_for_seeds_everywhere(cats, tmp_path):
    file = tmp_path / "z.safetensors"
    z = cats.latents([3, 9, 27])
    cats.save_latents(file, z)
    for given in (z, z.astype(np.float64), z.tolist(), file, str(file)):
        assert np.array_equal(cats.sample(latents=given), cats.sample([3, 9, 27]))
    assert np.array_equal(cats.load_latents(file), z)
    assert np.array_equal(cats.grid(latents=file), cats.grid([3, 9, 27]))
    assert np.array_equal(cats.loop(latents=z, frames=6), cats.loop([3, 9, 27], frames=6))
    moved = cats.sample(latents=file, truncation=0.5, moves={0: 2.0})
    assert np.array_equal(moved, cats.sample([3, 9, 27], 0.5, {0: 2.0}))


def test_latents_of_another_generator_are_rejected(cats, tmp_path):
    other = catgan.load(write(tmp_path / "other.onnx", artifact(name="other")))
    assert other.sha256 == cats.sha256  # the card is no part of the model
    write_latents(tmp_path / "z.safetensors", Z, SHA256)
    with pytest.raises(CatganError, match=f"belong to the generator {SHA256[:12]}, not to this"):
        cats.sample(latents=tmp_path / "z.safetensors")
    write_latents(tmp_path / "long.safetensors", latents([1], SIZE + 1), cats.sha256)
    with pytest.raises(CatganError, match="7 numbers each, this generator takes 6"):
        cats.sample(latents=tmp_path / "long.safetensors")


def test_seeds_and_latents_are_one_or_the_other(cats):
    for call in (cats.sample, cats.grid, cats.loop):
        for arguments in ({}, {"seeds": [1, 2], "latents": Z}):
            with pytest.raises(CatganError, match="either seeds or latents"):
                call(**arguments)


@pytest.mark.parametrize("z", [Z[:, :-1], Z[0], Z * np.inf, "nowhere", [[1], [1, 2]], {}])
def test_other_latents_are_rejected(cats, z):
    with pytest.raises(CatganError) as error:
        cats.sample(latents=z)
    assert "\n" not in str(error.value)


def test_a_generator_saves_its_own_latents_alone(cats, tmp_path):
    with pytest.raises(CatganError, match="expected the shape"):
        cats.save_latents(tmp_path / "z.safetensors", Z[:, :-1])
    assert card()["config"]["network"]["latent_size"] == cats.latent_size == SIZE
