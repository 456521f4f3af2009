"""Show an image in a terminal: two pixels per character, as colored half blocks."""

from __future__ import annotations

import numpy as np
from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text

MAX_COLUMNS = 160


def half_blocks(image: np.ndarray, columns: int) -> Text:
    """Return an (H, W, 3) uint8 image as text of at most `columns` characters a line."""
    height, width, _ = image.shape
    text_width = min(columns, width, MAX_COLUMNS)
    text_height = max(1, round(height * text_width / width / 2))
    small = Image.fromarray(image).resize((text_width, 2 * text_height), Image.Resampling.LANCZOS)
    pixels = np.asarray(small)
    text = Text()
    for upper, lower in zip(pixels[0::2], pixels[1::2], strict=True):
        for top, bottom in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom)))
        text.append("\n")
    text.rstrip()
    return text
