from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from catgan.errors import CatganError
from catgan.generation.grid import (
    check_grid,
    enlarge,
    make_grid,
    parse_grid,
    save_image,
)

IMAGES = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 4, 4, 3), np.uint8)


def test_grid_is_in_reading_order():
    grid = make_grid(IMAGES, columns=3, gap=1)
    assert grid.shape == (9, 14, 3)
    for index in range(6):
        top, left = index // 3 * 5, index % 3 * 5
        assert (grid[top : top + 4, left : left + 4] == index).all()
    assert (grid[4] == 255).all()


def test_grid_is_nearly_square_by_default():
    assert make_grid(IMAGES, gap=0).shape == (8, 12, 3)
    assert make_grid(IMAGES[:5], gap=0).shape == (8, 12, 3)
    assert make_grid(IMAGES[:1]).shape == (4, 4, 3)


def test_parse_grid_must_match_the_number_of_images():
    assert parse_grid("3x2", 6) == 3
    for text in ("3", "3x", "0x6", "x", "3x3", "3X2"):
        with pytest.raises(CatganError):
            parse_grid(text, 6)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "deep/er/a.jpg"])
def test_save_image_leaves_no_other_files(tmp_path, name):
    path = tmp_path / name
    save_image(IMAGES[3], path)
    with Image.open(path) as image:
        assert abs(np.asarray(image).astype(int) - 3).max() <= 1
    assert [p.name for p in path.parent.iterdir()] == ["a" + path.suffix]


def test_errors_name_the_file(tmp_path):
    with pytest.raises(CatganError, match=r"\.png"):
        save_image(IMAGES[0], tmp_path / "a.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(CatganError, match="cannot be written"):
        save_image(IMAGES[0], tmp_path / "file" / "a.png")


def test_enlarge_uses_lanczos_and_rejects_other_sizes():
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * np.ones((1, 1, 3), np.uint8)
    assert enlarge(ramp, 8) is ramp
    expected = np.asarray(Image.fromarray(ramp).resize((24, 24), Image.Resampling.LANCZOS))
    assert np.array_equal(enlarge(ramp, 24), expected)
    grid = make_grid(np.stack([ramp, ramp]), columns=2, gap=1, size=24)
    assert grid.shape == (24, 49, 3)
    assert np.array_equal(grid[:, 25:], expected)
    for size in (3, 5000):
        with pytest.raises(CatganError, match="--size"):
            enlarge(IMAGES[0], size)


def test_check_grid_rejects_grids_too_large_for_memory_or_format(tmp_path):
    check_grid(tmp_path / "a.png", 4096, 64, 128)
    check_grid(tmp_path / "a.png", 1, None, 2048)
    with pytest.raises(CatganError, match="fewer seeds or a smaller --size"):
        check_grid(tmp_path / "a.png", 4096, 64, 2048)
    with pytest.raises(CatganError, match=r"a WEBP side has at most 16,383.*\.png"):
        check_grid(tmp_path / "a.webp", 128, 1, 128)
    check_grid(tmp_path / "a.webp", 126, 1, 128)
    with pytest.raises(CatganError, match="expected a file name that ends in"):
        check_grid(tmp_path / "a.bmp", 1, None, 128)


def test_empty_grid_is_rejected():
    for images, columns in ((IMAGES[:0], None), (IMAGES, -1), (IMAGES, 0)):
        with pytest.raises(CatganError, match=r"at least one image|columns = "):
            make_grid(images, columns)


@pytest.mark.parametrize(("name", "side"), [("a.webp", 16_384), ("a.jpg", 65_501)])
def test_images_too_long_for_the_format_are_rejected(tmp_path, name, side):
    with pytest.raises(CatganError, match=r"pixels, but a \w+ side has at most"):
        save_image(np.zeros((side, 1, 3), np.uint8), tmp_path / name)
    save_image(np.zeros((side - 1, 1, 3), np.uint8), tmp_path / name)
    save_image(np.zeros((side, 1, 3), np.uint8), tmp_path / "a.png")


def test_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    def write(partial, content):
        with partial.open("wb") as file:
            file.write(content[:4])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", write)
    path = tmp_path / "a.png"
    path.write_text("old")
    with pytest.raises(CatganError, match="choose another path"):
        save_image(IMAGES[0], path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX: a named pipe")
def test_devices_and_pipes_are_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    image = np.zeros((4, 4, 3), np.uint8)
    for write in (
        lambda path: check_grid(path, 1, None, 4),
        lambda path: save_image(image, path),
    ):
        with pytest.raises(
            CatganError, match=r"pipe.png: cannot be written \(expected a regular file"
        ):
            write(tmp_path / "pipe.png")
    assert (tmp_path / "pipe.png").is_fifo()


def test_path_below_a_file_is_rejected(tmp_path):
    (tmp_path / "file").write_text("mine")
    image = np.zeros((4, 4, 3), np.uint8)
    for write in (
        lambda path: check_grid(path, 1, None, 4),
        lambda path: save_image(image, path),
    ):
        with pytest.raises(CatganError, match=r"cannot be written .*file is not a folder"):
            write(tmp_path / "file" / "cat.png")


def test_size_0_is_rejected():
    with pytest.raises(CatganError, match="--size 0"):
        make_grid(np.zeros((1, 4, 4, 3), np.uint8), size=0)
