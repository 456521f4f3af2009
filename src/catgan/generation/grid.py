"""Images on disk: sheets of many, files of one."""

from __future__ import annotations

import io
import math
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from catgan.errors import CatganError
from catgan.files import make_directory, rename, require_replaceable, try_writing
from catgan.generation.checks import check_whole

MAX_SIZE = 2_048
MAX_PIXELS = 200_000_000  # of all that is held in memory at once: 600 MB
MAX_SIDE = {"WEBP": 16_383, "JPEG": 65_500}  # in pixels; a PNG holds more than memory does
SUFFIXES = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}


def make_grid(
    images: np.ndarray, columns: int | None = None, gap: int = 2, size: int | None = None
) -> np.ndarray:
    """Images (N, side, side, 3) uint8 in rows on white, each brought to `size` by `enlarge`.

    Near square unless told. Raises `CatganError` as `check_grid_size` and `enlarge` do.
    """
    count, side = images.shape[:2]
    size = side if size is None else size
    check_grid_size(count, columns, size, gap)
    columns, height, width = _page(count, columns, gap, size)
    page = np.full((height, width, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (size + gap), index % columns * (size + gap)
        page[top : top + size, left : left + size] = enlarge(image, size)
    return page


def check_grid_size(count: int, columns: int | None, size: int, gap: int = 2) -> None:
    """Raise `CatganError` for no images, no columns, or more than memory holds."""
    _, height, width = _page(count, columns, gap, size)
    if height * width > MAX_PIXELS:
        raise CatganError(
            f"a sheet of {width} x {height} pixels is more than the {MAX_PIXELS:,} of the "
            "largest: take fewer seeds or columns"
        )


def check_grid(path: Path, count: int, columns: int | None, size: int, gap: int = 2) -> None:
    """Raise `CatganError` if a sheet of so many images of `size` pixels cannot be held or written.

    Before anything is drawn: what cannot be written should not cost time first.
    """
    kind = check_suffix(path)
    _, height, width = _page(count, columns, gap, size)
    if height * width > MAX_PIXELS:
        raise CatganError(
            f"{path}: {width} x {height} pixels are more than the {MAX_PIXELS:,} of the largest "
            "sheet: take fewer seeds or a smaller --size, or name a directory with -o"
        )
    _check_sides(path, kind, height, width)
    check_place(path)


def _page(count: int, columns: int | None, gap: int, size: int) -> tuple[int, int, int]:
    """Columns, height and width of a sheet."""
    if count < 1:
        raise CatganError("a sheet holds at least one image: name a seed")
    if columns is None:
        columns = math.ceil(math.sqrt(count))
    columns = check_whole("columns", columns, 1, MAX_PIXELS)
    rows = math.ceil(count / columns)
    return columns, rows * (size + gap) - gap, columns * (size + gap) - gap


def parse_grid(text: str, count: int) -> int:
    """The columns of a grid written COLUMNSxROWS; it must hold exactly `count` images."""
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text, re.ASCII)
    if not match:
        raise CatganError(f"--grid {text!r} is not of the form COLUMNSxROWS: write, say, 8x8")
    columns, rows = int(match[1]), int(match[2])
    if columns * rows != count:
        raise CatganError(
            f"--grid {text} has room for {columns * rows} images, the seeds are {count}: "
            "make the two agree, or leave out --grid"
        )
    return columns


def check_suffix(path: Path) -> str:
    """The Pillow format for a file name; `CatganError` for one that is not an image's."""
    try:
        return SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise CatganError(
            f"{path}: an image is written as {', '.join(SUFFIXES)}; give the file such a name"
        ) from None


def save_image(image: np.ndarray, path: Path) -> None:
    """Write one (H, W, 3) uint8 image, complete or not at all; folders are made as needed."""
    kind = check_suffix(path)
    _check_sides(path, kind, *image.shape[:2])
    with written_beside(path) as partial:
        _encode(image, partial, kind)


def encode_image(image: np.ndarray, kind: str) -> bytes:
    """Return what `save_image` writes, for Pillow's format `kind`: PNG, WEBP or JPEG."""
    buffer = io.BytesIO()
    _encode(image, buffer, kind)
    return buffer.getvalue()


def _encode(image: np.ndarray, target: Path | BinaryIO, kind: str) -> None:
    # In filtered photos zlib finds hardly a repeat but runs. To look for these alone takes 0.8 ms
    # for a cat of 128 pixels, not 2.7, and gives as many bytes; enlarged, up to 5 % more.
    options = {"compress_type": zlib.Z_RLE} if kind == "PNG" else {"quality": 95}
    Image.fromarray(image).save(target, kind, **options)


def _check_sides(path: Path, kind: str, height: int, width: int) -> None:
    if max(height, width) > MAX_SIDE.get(kind, math.inf):
        raise CatganError(
            f"{path}: {width} x {height} pixels are more than a {kind} holds: "
            "write a .png, or take a smaller --size or --grid"
        )


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` if the block ends well and is gone if it does not.

    Its name ends as that of `path` does. Folders are made as needed. `CatganError` for what the
    disk rejects.
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


def check_place(path: Path, named: Path | None = None) -> None:
    """Raise `CatganError` if no file can be put there; folders are made as needed.

    The error speaks of the place that was `named`, if that is not `path` itself.
    """
    try:
        make_directory(path.parent)
        try_writing(path)
    except OSError as error:
        raise _cannot_be_written(named or path, error) from None


def _cannot_be_written(path: Path, error: OSError) -> CatganError:
    return CatganError(
        f"{path}: cannot be written ({error.strerror or error}): choose another place"
    )


def enlarge(image: np.ndarray, size: int) -> np.ndarray:
    """An image (side, side, 3) uint8 brought to `size` by Lanczos' filter, which adds no detail.

    (Duchon, "Lanczos Filtering in One and Two Dimensions", 1979.) Raises as `check_size` does.
    """
    check_size(len(image), size)
    if size == len(image):
        return image
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))


def check_size(side: int, size: int) -> None:
    """Raise `CatganError` for a size that images of `side` pixels cannot be enlarged to."""
    if not side <= size <= MAX_SIZE:
        raise CatganError(
            f"--size {size} is out of range: these cats are {side} px; choose from {side} to "
            f"{MAX_SIZE:,}"
        )
