"""Photos of procedural cats, for tests of finding faces."""

from __future__ import annotations

import numpy as np
from PIL import Image

from catgan.data.synthetic.procedural import render_cat


def photo_of(*cats: tuple[int, int, int, int], width: int = 480, height: int = 320) -> np.ndarray:
    """Return procedural cats, each given by index, left, top and side, on a gray background."""
    photo = np.full((height, width, 3), 120, np.uint8)
    for index, left, top, side in cats:
        cat = Image.fromarray(render_cat(index, 256)).resize((side, side), Image.Resampling.LANCZOS)
        photo[top : top + side, left : left + side] = np.asarray(cat)
    return photo
