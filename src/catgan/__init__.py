"""catgan: a folder of cat photos in, a measured generator of cat faces out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from catgan.generation.generator import Generator

__version__ = "0.1.0"


def load(path: str | os.PathLike[str] | None = None) -> Generator:
    """The generator in an exported .onnx file; without `path`, the one in the package.

    >>> catgan.load().sample(seeds=[7], truncation=0.8)  # uint8, (1, resolution, resolution, 3)

    Raises `catgan.errors.CatganError`, in one line, for a file that is none or damaged, and where
    the package carries no generator. Needs neither torch nor a network.
    """
    from catgan.generation.generator import load_generator

    return load_generator(path)
