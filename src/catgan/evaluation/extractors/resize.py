"""Resizing as two matrix products, so that a score rests on stated numbers and not on a library.

Parmar, Zhang and Zhu, "On Aliased Resizing and Surprising Subtleties in GAN Evaluation", CVPR 2022,
showed that the filter alone moves FID by several points. The default here is their clean rule. A
rule is a matrix per axis; applying it is two products, as fast as the arithmetic allows.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np

Rule = Literal["clean", "pytorch", "tensorflow", "area"]
RULES: tuple[Rule, ...] = get_args(Rule)

# What a fingerprint calls a rule: another name whenever the rule gives other pixels than before.
# `clean` without a number did not clip.
_FINGERPRINTS = {"clean": "clean-2"}


def resize_matrix(rule: Rule, source: int, target: int) -> np.ndarray:
    """The `target` x `source` float64 matrix that resizes one axis; each row sums to 1.

    `clean`: Pillow's bicubic on floats (Keys' kernel with a = -0.5), widened when shrinking so that
    nothing aliases, never rounded to 8 bits. It overshoots at edges: see `clip_after`.
    `pytorch`: bilinear between pixel centers without antialiasing, torch's `interpolate`.
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
    """Whether pixels are clipped to 0..255 after both axes, as clean-fid does; never rounded.

    Only `clean` has negative weights; what the others give is within the range of the pixels.
    """
    return rule == "clean"


def fingerprint_name(rule: Rule) -> str:
    """The name of `rule` and its version, for fingerprints."""
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
    """Keys' cubic convolution kernel (1981) with a = -0.5."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _bilinear(positions: np.ndarray, source: int) -> np.ndarray:
    matrix = np.zeros((len(positions), source))
    rows = np.arange(len(positions))
    left = np.minimum(positions.astype(np.int64), source - 1)
    right = np.minimum(left + 1, source - 1)
    share = positions - left
    np.add.at(matrix, (rows, left), 1.0 - share)
    np.add.at(matrix, (rows, right), share)
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
