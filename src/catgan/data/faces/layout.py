"""Is this crop framed like a face, or is it a close-up of a nose? Told from a network's last map.

`framing.npy` holds linear weights over EfficientNet-Lite0's map of stride 32, fitted to misframed
crops of the package's own drawn cats by `benchmarks/fit_face_framing.py`, without any photo.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

WEIGHTS = Path(__file__).with_name("framing.npy")  # float16, 320 x 7 x 7

# Median and spread of the raw answers on the 282 faces that an earlier state of the detector found
# in 617 photos of cats and dogs (`benchmarks/fit_face_framing.py --calibrate`). They only fix the
# scale of the closeness; the thresholds of the gates were chosen on that scale.
MEDIAN, SPREAD = 525.1, 277.4


def raw_scale(maps: np.ndarray) -> np.ndarray:
    """The model's answers (N) to maps N x 320 x 7 x 7, in units of its own; less is closer."""
    return np.tensordot(maps.astype(np.float64), _weights(), axes=([1, 2, 3], [0, 1, 2]))


def closeness(maps: np.ndarray) -> np.ndarray:
    """How much too close each crop is cut (N), in spreads of well framed faces; about 0 is right.

    Noses and eyes are above 2.6; less than 0 means that there is more room around than usual.
    """
    return (MEDIAN - raw_scale(maps)) / SPREAD


@cache
def _weights() -> np.ndarray:
    return np.load(WEIGHTS, allow_pickle=False).astype(np.float64)
