"""Real photos for tests, where a machine has them; they are not part of the project."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from catgan.data.reading.images import decode
from catgan.data.reading.sources import open_source

FOLDER = Path(__file__).parents[2] / "shared" / "data"


def real_photos(archive: str, folder: str, most: int) -> list[np.ndarray]:
    """At most `most` photos of `folder` in an archive, evenly spread; skips loudly without it."""
    path = FOLDER / archive
    if not path.exists():
        warnings.warn(f"no {path}: NOT tested on real photos", stacklevel=2)
        pytest.skip(f"no {path}: NOT tested on real photos")
    with open_source(path) as files:
        chosen = [file for file in files if file.name.startswith(folder)]
        return [decode(file.read()) for file in chosen[:: max(len(chosen) // most, 1)][:most]]
