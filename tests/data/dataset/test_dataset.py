from __future__ import annotations

import gc
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from catgan.data.dataset.dataset import Dataset, check_resolution, is_dataset
from catgan.errors import CatganError


def describe(images: np.ndarray) -> dict:
    return {
        "format": "catgan-dataset",
        "version": 2,
        "tool": "catgan 0",
        "name": "n",
        "license": "l",
        "credit": "c",
        "resolution": 32,
        "count": len(images),
        "identity": hashlib.sha256(images.tobytes()).hexdigest(),
        "images": [
            {
                "source": f"{index}",
                "sha256": "ab" * 32,
                "crop": [0, 1, 32, 33],
                "split": "holdout" if index == 1 else "train",
            }
            for index in range(len(images))
        ],
        "rejected": [{"name": "x", "reason": "y"}],
        "duplicates": [{"name": "x", "kept": "0"}],
    }


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, np.ndarray, dict]:
    """A dataset written by hand, straight from the description of the format."""
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    about = describe(images)
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    return tmp_path, images, about


def test_open(made):
    path, images, about = made
    dataset = Dataset.open(path)
    assert isinstance(dataset.images, np.memmap)
    assert not dataset.images.flags.writeable
    np.testing.assert_array_equal(dataset.images, images)
    assert len(dataset) == 3
    assert dataset.resolution == 32
    assert dataset.identity == about["identity"]
    assert dataset.indices("train").tolist() == [0, 2]
    assert dataset.indices("holdout").tolist() == [1]
    assert dataset.indices("train").dtype == np.int64
    assert dataset.records[1].crop == (0, 1, 32, 33)
    with pytest.raises(ValueError, match="no split"):
        dataset.indices("test")
    read = []
    dataset.verify(lambda *progress: read.append(progress))
    assert read == [(3, 3)]


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_is_as_it_was_afterwards(made, enabled):
    path, _, _ = made
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        Dataset.open(path)
        assert gc.isenabled() == enabled
        (path / "dataset.json").write_text("[")
        with pytest.raises(CatganError, match="not a sound dataset"):
            Dataset.open(path)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_verify_notices_a_changed_pixel(made):
    path, images, _ = made
    images[1, 5, 5, 2] ^= 1
    np.save(path / "images.npy", images)
    with pytest.raises(CatganError, match="changed"):
        Dataset.open(path).verify()


HOSTILE_VALUES = [None, -1, 0, 10**30, 1.5, True, "x", [], {}, [None], ["x"], [{}], [[]]]


@pytest.mark.parametrize("key", [key for key in describe(np.zeros((1,))) if key != "tool"])
def test_hostile_descriptions(made, key):
    path, _, about = made
    for value in [*HOSTILE_VALUES, "missing"]:
        hurt = dict(about)
        hurt[key] = value
        if value == "missing":
            del hurt[key]
        elif (key in ("name", "license", "credit") and isinstance(value, str)) or (
            key in ("rejected", "duplicates") and value == []
        ):
            continue
        (path / "dataset.json").write_text(json.dumps(hurt))
        with pytest.raises(CatganError) as error:
            Dataset.open(path)
        assert "\n" not in str(error.value), value


@pytest.mark.parametrize("key", ["source", "sha256", "crop", "split"])
def test_hostile_records(made, key):
    path, _, about = made
    for value in [*HOSTILE_VALUES, [0, 0, 0, 5], [5, 0, 4, 5], [-1, 0, 4, 5], [0, 0, 1, True]]:
        if key == "source" and isinstance(value, str):
            continue
        about["images"][2][key] = value
        (path / "dataset.json").write_text(json.dumps(about))
        with pytest.raises(CatganError, match="malformed images entry"):
            Dataset.open(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"a": 1' + "0" * 5000 + "}", "\xff\xfe"]
)
def test_not_json(made, text):
    path, _, _ = made
    (path / "dataset.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CatganError, match="not a sound dataset"):
        Dataset.open(path)


def test_newer_format(made):
    path, _, about = made
    (path / "dataset.json").write_text(json.dumps(about | {"version": 3}))
    with pytest.raises(CatganError, match="upgrade"):
        Dataset.open(path)


class Trap:
    """Would leave a file behind if it were unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("/tmp/catgan-unpickled"),))  # noqa: S108


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3, 32, 32, 3), np.int8),
        np.zeros((3, 32, 32, 3), np.float32),
        np.asfortranarray(np.zeros((3, 32, 32, 3), np.uint8)),
        np.zeros((2, 32, 32, 3), np.uint8),
        np.zeros((3, 32, 31, 3), np.uint8),
        np.zeros((3, 32, 32), np.uint8),
        np.array([Trap()] * 3, dtype=object),
        np.zeros(3, [("a", np.uint8)]),
    ],
)
def test_wrong_arrays(made, array):
    path, _, _ = made
    np.save(path / "images.npy", array, allow_pickle=True)
    with pytest.raises(CatganError, match="not a sound dataset"):
        Dataset.open(path)
    assert not Path("/tmp/catgan-unpickled").exists()  # noqa: S108


@pytest.mark.parametrize("change", [-1, 1, -9216, -(3 * 3072) - 100])
def test_wrong_length(made, change):
    path, _, _ = made
    data = (path / "images.npy").read_bytes()
    (path / "images.npy").write_bytes(data[:change] if change < 0 else data + b"x")
    with pytest.raises(CatganError, match="not a sound dataset"):
        Dataset.open(path)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x93NUMPY\x01\x00\x00\x00",
        b"\x93NUMPY\x02\x00",
        b"\x93NUMPY\x01\x00\x04\x00((((",
        b"{",
    ],
)
def test_hostile_headers(made, header):
    path, _, _ = made
    (path / "images.npy").write_bytes(header)
    with pytest.raises(CatganError, match="no readable header"):
        Dataset.open(path)


def test_not_a_dataset(tmp_path):
    for path in (tmp_path, tmp_path / "missing", tmp_path / "a\0b"):
        assert not is_dataset(path)
        with pytest.raises(CatganError, match="catgan prepare"):
            Dataset.open(path)


@pytest.mark.parametrize(("size", "nearest"), [(0, 32), (48, 32), (100, 128), (512, 256), (-1, 32)])
def test_check_resolution(size, nearest):
    with pytest.raises(CatganError, match=f"try {nearest}"):
        check_resolution(size)


def test_names_of_a_foreign_dataset_cannot_write_to_the_terminal(made):
    folder, _, about = made
    about["name"] = about["images"][0]["source"] = "\x1b[31mred\r"
    about["rejected"] = [{"name": "\x1b]0;title\x07", "reason": "text\n"}]
    about["duplicates"] = [{"name": "a\x07", "kept": "b\x07"}]
    (folder / "dataset.json").write_text(json.dumps(about))
    dataset = Dataset.open(folder)
    duplicate, rejected = dataset.duplicates[0], dataset.rejected[0]
    shown = [dataset.name, dataset.records[0].source, rejected.name, rejected.reason]
    assert all(text.isprintable() for text in (*shown, duplicate.name, duplicate.kept))
    assert dataset.name == "red\N{REPLACEMENT CHARACTER}"
