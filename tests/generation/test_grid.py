from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image

import catgan
from catgan.errors import CatganError
from catgan.generation.grid import (
    check_grid,
    encode_image,
    enlarge,
    make_grid,
    parse_grid,
    save_image,
)

IMAGES = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 4, 4, 3), np.uint8)


def test_every_image_stands_in_reading_order():
    page = make_grid(IMAGES, columns=3, gap=1)
    assert page.shape == (9, 14, 3)
    for index in range(6):
        top, left = index // 3 * 5, index % 3 * 5
        assert (page[top : top + 4, left : left + 4] == index).all()
    assert (page[4] == 255).all()


def test_near_square_unless_told():
    assert make_grid(IMAGES, gap=0).shape == (8, 12, 3)
    assert make_grid(IMAGES[:5], gap=0).shape == (8, 12, 3)
    assert make_grid(IMAGES[:1]).shape == (4, 4, 3)


def test_grids_must_hold_what_they_are_given():
    assert parse_grid("3x2", 6) == 3
    for text in ("3", "3x", "0x6", "x", "3x3", "3X2"):
        with pytest.raises(CatganError):
            parse_grid(text, 6)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "deep/er/a.jpg"])
def test_files_are_images_and_nothing_is_left_beside_them(tmp_path, name):
    path = tmp_path / name
    save_image(IMAGES[3], path)
    with Image.open(path) as image:
        assert abs(np.asarray(image).astype(int) - 3).max() <= 1
    assert [p.name for p in path.parent.iterdir()] == ["a" + path.suffix]


@pytest.mark.parametrize("size", [128, 512])
def test_a_png_holds_every_pixel_in_about_the_bytes_that_pillow_takes(size):
    image = enlarge(catgan.load().sample([7])[0], size)
    data = encode_image(image, "PNG")
    assert (np.asarray(Image.open(io.BytesIO(data))) == image).all()
    usual = io.BytesIO()
    Image.fromarray(image).save(usual, "PNG")
    assert len(data) < 1.06 * usual.tell()


def test_errors_name_the_file(tmp_path):
    with pytest.raises(CatganError, match=r"\.png"):
        save_image(IMAGES[0], tmp_path / "a.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(CatganError, match="cannot be written"):
        save_image(IMAGES[0], tmp_path / "file" / "a.png")


def test_enlarging_is_lanczos_and_states_what_it_cannot_do():
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8, 1) * np.ones((1, 1, 3), np.uint8)
    assert enlarge(ramp, 8) is ramp
    expected = np.asarray(Image.fromarray(ramp).resize((24, 24), Image.Resampling.LANCZOS))
    assert np.array_equal(enlarge(ramp, 24), expected)
    page = make_grid(np.stack([ramp, ramp]), columns=2, gap=1, size=24)
    assert page.shape == (24, 49, 3)
    assert np.array_equal(page[:, 25:], expected)
    for size in (3, 5000):
        with pytest.raises(CatganError, match="--size"):
            enlarge(IMAGES[0], size)


def test_a_sheet_that_memory_or_its_format_does_not_hold_is_refused_before_it_is_drawn(tmp_path):
    check_grid(tmp_path / "a.png", 4096, 64, 128)
    check_grid(tmp_path / "a.png", 1, None, 2048)
    with pytest.raises(CatganError, match="fewer seeds or a smaller --size"):
        check_grid(tmp_path / "a.png", 4096, 64, 2048)
    with pytest.raises(CatganError, match=r"more than a WEBP holds.*\.png"):
        check_grid(tmp_path / "a.webp", 128, 1, 128)
    check_grid(tmp_path / "a.webp", 126, 1, 128)
    with pytest.raises(CatganError, match="an image is written as"):
        check_grid(tmp_path / "a.bmp", 1, None, 128)


def test_nothing_makes_no_sheet():
    for images, columns in ((IMAGES[:0], None), (IMAGES, -1), (IMAGES, 0)):
        with pytest.raises(CatganError, match=r"at least one image|columns = "):
            make_grid(images, columns)


@pytest.mark.parametrize(("name", "side"), [("a.webp", 16_384), ("a.jpg", 65_501)])
def test_a_page_longer_than_the_format_holds_is_one_line(tmp_path, name, side):
    with pytest.raises(CatganError, match=r"pixels are more than a \w+ holds"):
        save_image(np.zeros((side, 1, 3), np.uint8), tmp_path / name)
    save_image(np.zeros((side - 1, 1, 3), np.uint8), tmp_path / name)
    save_image(np.zeros((side, 1, 3), np.uint8), tmp_path / "a.png")


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def save(image, partial, *arguments, **options):
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(CatganError, match="choose another place"):
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
        with pytest.raises(CatganError, match=r"pipe.png: cannot be written \(expected a reg"):
            write(tmp_path / "pipe.png")
    assert (tmp_path / "pipe.png").is_fifo()


def test_a_place_below_a_file_is_said_to_be_no_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    image = np.zeros((4, 4, 3), np.uint8)
    for write in (
        lambda path: check_grid(path, 1, None, 4),
        lambda path: save_image(image, path),
    ):
        with pytest.raises(CatganError, match=r"cannot be written .*file is not a folder"):
            write(tmp_path / "file" / "cat.png")


def test_no_size_is_no_default_size():
    with pytest.raises(CatganError, match="--size 0"):
        make_grid(np.zeros((1, 4, 4, 3), np.uint8), size=0)
