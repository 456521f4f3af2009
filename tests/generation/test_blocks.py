from __future__ import annotations

import numpy as np

from catgan.generation.blocks import half_blocks


def test_a_character_shows_two_pixels():
    image = np.zeros((4, 2, 3), np.uint8)
    image[0], image[1] = (255, 0, 0), (0, 0, 255)
    text = half_blocks(image, 80)
    assert text.plain == "▀▀\n▀▀"
    first = text.spans[0].style
    assert tuple(first.color.triplet) == (255, 0, 0)
    assert tuple(first.bgcolor.triplet) == (0, 0, 255)


def test_wide_images_fit_the_terminal():
    lines = half_blocks(np.zeros((50, 400, 3), np.uint8), 40).plain.splitlines()
    assert {len(line) for line in lines} == {40}
    assert len(lines) == 2
