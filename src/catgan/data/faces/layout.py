"""Measure from a network's feature map whether a crop shows a whole face or a close-up of a nose.

`framing.npy` holds the weights of a linear model over EfficientNet-Lite0's stride-32 feature map.
`benchmarks/fit_face_framing.py` fits it to misframed crops of procedural cats, without any photo.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

WEIGHTS = Path(__file__).with_name("framing.npy")  # float16, 320 x 7 x 7

# Median and robust standard deviation of `raw_scale` on the 282 faces that an earlier version of
# the detector found in 617 photos of cats and dogs (`benchmarks/fit_face_framing.py --calibrate`).
# They only fix the scale of the closeness; the thresholds of the gates were chosen on that scale.
MEDIAN, STD = 525.1, 277.4


def raw_scale(maps: np.ndarray) -> np.ndarray:
    """Return the model's output (N) for maps N x 320 x 7 x 7; less is closer."""
    return np.tensordot(maps.astype(np.float64), _weights(), axes=([1, 2, 3], [0, 1, 2]))


def closeness(maps: np.ndarray) -> np.ndarray:
    """Return how much too close each crop (N) is, in standard deviations of well framed faces.

    About 0 is right, noses and eyes are above 2.6, and less than 0 shows more around the face than
    usual. `maps` is N x 320 x 7 x 7.
    """
    return (MEDIAN - raw_scale(maps)) / STD


@cache
def _weights() -> np.ndarray:
    return np.load(WEIGHTS, allow_pickle=False).astype(np.float64)
