"""Images on disk: sheets of many, files of one."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from catgan.errors import CatganError

LARGEST_SIZE = 2_048
LONGEST_SIDE = {"WEBP": 16_383, "JPEG": 65_500}  # in pixels; a PNG holds more than memory does
SUFFIXES = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}


def sheet(images: np.ndarray, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """Images (N, H, W, 3) uint8 side by side in rows, on white; near square unless told."""
    count, height, width, _ = images.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    page = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8
    )
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        page[top : top + height, left : left + width] = image
    return page


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
    if max(image.shape[:2]) > LONGEST_SIDE.get(kind, math.inf):
        raise CatganError(
            f"{path}: {image.shape[1]} x {image.shape[0]} pixels are more than a {kind} holds: "
            "write a .png, or take a smaller --size or --grid"
        )
    options = {} if kind == "PNG" else {"quality": 95}
    with written_beside(path) as partial:
        Image.fromarray(image).save(partial, kind, **options)


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` if the block ends well and is gone if it does not.

    Its name ends as that of `path` does. Folders are made as needed. `CatganError` for what the
    disk refuses.
    """
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise CatganError(
            f"{path}: cannot be written ({error.strerror or error}): choose another place"
        ) from None


def enlarge(images: np.ndarray, size: int) -> np.ndarray:
    """Images (N, side, side, 3) uint8 brought to `size` by Lanczos' filter, which adds no detail.

    (Duchon, "Lanczos Filtering in One and Two Dimensions", 1979.) Raises as `check_size` does.
    """
    check_size(images.shape[1], size)
    if size == images.shape[1]:
        return images
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))
            for image in images
        ]
    )


def check_size(side: int, size: int) -> None:
    """Raise `CatganError` for a size that images of `side` pixels cannot be enlarged to."""
    if not side <= size <= LARGEST_SIZE:
        raise CatganError(
            f"--size {size} is out of range: these cats are {side} px; choose from {side} to "
            f"{LARGEST_SIZE:,}"
        )
