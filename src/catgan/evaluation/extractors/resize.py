"""Resizing as two matrix products, so that scores do not depend on a library's resize function.

Parmar, Zhang and Zhu, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation", CVPR 2022,
showed that the resize filter alone changes FID by several points. Their clean rule is the default
here. A rule is one matrix per axis.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

Rule = Literal["clean", "pytorch", "tensorflow", "area"]
RULES: tuple[Rule, ...] = get_args(Rule)

# Names of rules in fingerprints. A rule gets a new name when its result changes: the first `clean`
# did not clip.
_FINGERPRINTS = {"clean": "clean-2"}


def resize_matrix(rule: Rule, source: int, target: int) -> np.ndarray:
    """Return the `target` x `source` float64 matrix that resizes one axis; its rows sum to 1.

    `clean`: Pillow's bicubic on floats (Keys' kernel with a = -0.5), antialiased when shrinking and
    not rounded to 8 bits. It overshoots at edges: see `clip_after`.
    `pytorch`: bilinear between pixel centers without antialiasing, as torch's `interpolate`.
    `tensorflow`: bilinear between top left corners without antialiasing, TensorFlow 1's default.
    `area`: mean over the exact area of each target pixel.
    """
    if rule == "clean":
        return _bicubic(source, target)
    if rule == "area":
        return _area(source, target)
    scale = source / target
    positions = np.arange(target) * scale
    if rule == "pytorch":
        positions = np.maximum((np.arange(target) + 0.5) * scale - 0.5, 0.0)
    return _bilinear(positions, source)


def clip_after(rule: Rule) -> bool:
    """Return whether pixels are clipped to 0..255 after both axes (not rounded), as in clean-fid.

    Only `clean` has negative weights and can leave the range of the pixels.
    """
    return rule == "clean"


def fingerprint_name(rule: Rule) -> str:
    """Return the name of `rule` with its version, for fingerprints."""
    return _FINGERPRINTS.get(rule, rule)


def _bicubic(source: int, target: int) -> np.ndarray:
    scale = source / target
    widening = max(scale, 1.0)
    support = 2.0 * widening
    matrix = np.zeros((target, source))
    for row in range(target):
        center = (row + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        last = min(int(center + support + 0.5), source)
        weights = _keys((np.arange(first, last) - center + 0.5) / widening)
        matrix[row, first:last] = weights / weights.sum()
    return matrix


def _keys(x: np.ndarray) -> np.ndarray:
    """Return Keys' cubic convolution kernel (1981) with a = -0.5."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _bilinear(positions: np.ndarray, source: int) -> np.ndarray:
    matrix = np.zeros((len(positions), source))
    rows = np.arange(len(positions))
    left = np.minimum(positions.astype(np.int64), source - 1)
    right = np.minimum(left + 1, source - 1)
    fraction = positions - left
    np.add.at(matrix, (rows, left), 1.0 - fraction)
    np.add.at(matrix, (rows, right), fraction)
    return matrix


def _area(source: int, target: int) -> np.ndarray:
    scale = source / target
    matrix = np.zeros((target, source))
    for row in range(target):
        top, bottom = row * scale, (row + 1) * scale
        first, last = math.floor(top), min(math.ceil(bottom - 1e-9), source)
        pixels = np.arange(first, last)
        overlap = np.minimum(pixels + 1, bottom) - np.maximum(pixels, top)
        matrix[row, first:last] = overlap / overlap.sum()
    return matrix
