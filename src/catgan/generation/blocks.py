"""A picture in a terminal: two pixels a character, as colored half blocks."""

from __future__ import annotations

import numpy as np
from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

MAX_COLUMNS = 160


def half_blocks(image: np.ndarray, columns: int) -> Text:
    """An (H, W, 3) uint8 image as text of at most `columns` characters a line."""
    height, width, _ = image.shape
    across = min(columns, width, MAX_COLUMNS)
    down = max(1, round(height * across / width / 2))
    small = Image.fromarray(image).resize((across, 2 * down), Image.Resampling.LANCZOS)
    pixels = np.asarray(small)
    text = Text()
    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom)))
        text.append("\n")
    text.rstrip()
    return text
