"""PNG files, decoded by Pillow, which shares no code with the encoder."""

from __future__ import annotations

import importlib.util
import io
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

import catgan
from catgan.generation.grid import enlarge
from catgan.generation.png import encode_png


def decode(file):
    with Image.open(io.BytesIO(file)) as image:
        image.verify()  # the checksums
    with Image.open(io.BytesIO(file)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


# The last two are filtered in several blocks.
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (7, 1), (5, 3), (128, 128), (2_000, 400), (3, 360_000)]
)
def test_files_are_lossless(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert np.array_equal(decode(encode_png(image)), image)


@pytest.mark.parametrize("value", [0, 255])
def test_flat_images_are_lossless_and_small(value):
    image = np.full((256, 256, 3), value, np.uint8)
    file = encode_png(image)
    assert np.array_equal(decode(file), image)
    assert len(file) < 3_000


def test_views_are_encoded_as_they_look():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    for view in (image[::-1, ::2], image.transpose(1, 0, 2), image[..., ::-1]):
        assert encode_png(view) == encode_png(np.ascontiguousarray(view))


def test_isal_is_used_where_it_is_installed():
    isal_zlib = pytest.importorskip("isal.isal_zlib", reason="isal is NOT tested: not installed")
    assert sys.modules["catgan.generation.png"].zlib is isal_zlib


def test_zlib_takes_the_place_of_isal(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    monkeypatch.setitem(sys.modules, "isal", None)
    spec = importlib.util.find_spec("catgan.generation.png")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.zlib is zlib
    assert np.array_equal(decode(module.encode_png(image)), image)


@pytest.mark.parametrize(("size", "limit"), [(128, 1.05), (512, 1.2)])
def test_cats_are_about_as_small_as_in_pillow_s_files(size, limit):
    image = enlarge(catgan.load().sample([7])[0], size)
    default = io.BytesIO()
    Image.fromarray(image).save(default, "PNG")
    assert len(encode_png(image)) < limit * default.tell()
