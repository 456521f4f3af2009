"""Arrange images in a grid, enlarge them, and write them to disk."""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from catgan.errors import CatganError
from catgan.files import make_directory, rename, require_replaceable, try_writing
from catgan.generation.checks import check_integer
from catgan.generation.png import encode_png

MAX_SIZE = 2_048
MAX_PIXELS = 200_000_000  # the pixels alone take 600 MB of memory
MAX_SIDE = {"WEBP": 16_383, "JPEG": 65_500}  # in pixels; memory runs out before a PNG does
SUFFIXES = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}


def make_grid(
    images: np.ndarray, columns: int | None = None, gap: int = 2, size: int | None = None
) -> np.ndarray:
    """Return images (N, side, side, 3) uint8 as one (H, W, 3) image, in rows on white.

    Each image is enlarged to `size` pixels. Without `columns` the grid is nearly square. Raises
    `CatganError` as `check_grid_size` and `enlarge` do.
    """
    count, side = images.shape[:2]
    size = side if size is None else size
    check_grid_size(count, columns, size, gap)
    columns, height, width = _layout(count, columns, gap, size)
    grid = np.full((height, width, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (size + gap), index % columns * (size + gap)
        grid[top : top + size, left : left + size] = enlarge(image, size)
    return grid


def check_grid_size(count: int, columns: int | None, size: int, gap: int = 2) -> None:
    """Raise `CatganError` for no images, no columns, or more than `MAX_PIXELS` pixels."""
    _, height, width = _layout(count, columns, gap, size)
    if height * width > MAX_PIXELS:
        raise CatganError(
            f"a grid of {width} x {height} pixels: expected at most {MAX_PIXELS:,}; use fewer "
            "seeds or columns"
        )


def check_grid(path: Path, count: int, columns: int | None, size: int, gap: int = 2) -> None:
    """Check that a grid of `count` images of `size` pixels can be held in memory and written.

    Call it before the images are generated, which takes long.

    Raises:
        CatganError: the grid is empty or too large, or the file type or path cannot be used.
    """
    image_format = check_suffix(path)
    _, height, width = _layout(count, columns, gap, size)
    if height * width > MAX_PIXELS:
        raise CatganError(
            f"{path}: a grid of {width} x {height} pixels: expected at most {MAX_PIXELS:,}; use "
            "fewer seeds or a smaller --size, or name a directory with -o"
        )
    _check_sides(path, image_format, height, width)
    check_writable(path)


def _layout(count: int, columns: int | None, gap: int, size: int) -> tuple[int, int, int]:
    """Return the columns, the height and the width of a grid."""
    if count < 1:
        raise CatganError("a grid needs at least one image: name a seed")
    if columns is None:
        columns = math.ceil(math.sqrt(count))
    columns = check_integer("columns", columns, 1, MAX_PIXELS)
    rows = math.ceil(count / columns)
    return columns, rows * (size + gap) - gap, columns * (size + gap) - gap


def parse_grid(text: str, count: int) -> int:
    """Return the columns of a grid written COLUMNSxROWS, which must hold `count` images."""
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text, re.ASCII)
    if not match:
        raise CatganError(f"--grid {text!r}: expected COLUMNSxROWS, for example 8x8")
    columns, rows = int(match[1]), int(match[2])
    if columns * rows != count:
        raise CatganError(
            f"--grid {text} holds {columns * rows} images, but there are {count} seeds: make the "
            "two agree, or leave out --grid"
        )
    return columns


def check_suffix(path: Path) -> str:
    """Return Pillow's format for a file name; `CatganError` for an unknown ending."""
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise CatganError(
            f"{path}: expected a file name that ends in {', '.join(SUFFIXES)}"
        ) from None


def save_image(image: np.ndarray, path: Path) -> None:
    """Write one (H, W, 3) uint8 image, completely or not at all; directories are made as needed.

    Raises:
        CatganError: the file type cannot hold the image, or the path cannot be written.
    """
    image_format = check_suffix(path)
    _check_sides(path, image_format, *image.shape[:2])
    with written_beside(path) as partial:
        partial.write_bytes(encode_image(image, image_format))


def encode_image(image: np.ndarray, image_format: str) -> bytes:
    """Return the bytes that `save_image` writes; `image_format` is PNG, WEBP or JPEG."""
    if image_format == "PNG":
        return encode_png(image)
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, image_format, quality=95)
    return buffer.getvalue()


def _check_sides(path: Path, image_format: str, height: int, width: int) -> None:
    longest = MAX_SIDE.get(image_format, math.inf)
    if max(height, width) > longest:
        raise CatganError(
            f"{path}: {width} x {height} pixels, but a {image_format} side has at most "
            f"{longest:,}: write a .png, or use a smaller --size or --grid"
        )


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` if the block succeeds and is deleted if not.

    It keeps the suffix of `path`. Directories are made as needed.

    Raises:
        CatganError: the disk rejects the file.
    """
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        make_directory(path.parent)
        require_replaceable(path)
        try:
            yield partial
            rename(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_be_written(path, error) from None


def check_writable(path: Path, named: Path | None = None) -> None:
    """Raise `CatganError` if no file can be written to `path`; directories are made as needed.

    The error names `named` instead of `path`, if given.
    """
    try:
        make_directory(path.parent)
        try_writing(path)
    except OSError as error:
        raise _cannot_be_written(named or path, error) from None


def _cannot_be_written(path: Path, error: OSError) -> CatganError:
    return CatganError(
        f"{path}: cannot be written ({error.strerror or error}): choose another path"
    )


def enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """Return an image (side, side, 3) uint8 enlarged to `size` pixels with a Lanczos filter.

    The filter adds no detail (Duchon, "Lanczos Filtering in One and Two Dimensions", 1979). Raises
    as `check_size` does.
    """
    check_size(len(image), size)
    if size == len(image):
        return image
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def check_size(side: int, size: int) -> None:
    """Raise `CatganError` unless images of `side` pixels can be enlarged to `size`."""
    if not side <= size <= MAX_SIZE:
        raise CatganError(
            f"--size {size}: expected {side} to {MAX_SIZE:,}, as these images are {side} px"
        )
