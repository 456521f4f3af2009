"""Interpolate between latents: open paths (morphs) and closed ones (loops)."""

from __future__ import annotations

from typing import Any

import numpy as np

from catgan.errors import CatganError
from catgan.generation.checks import check_integer

MAX_FRAMES = 10_000
_MIN_SINE = 1e-6  # of the angle between two latents; below it they count as parallel


def slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Return the spherical interpolation between latents `a` and `b` at `t` in [0, 1], float32.

    Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985; for latents, White,
    "Sampling Generative Networks", 2016. Linear interpolation would pass through latents shorter
    than any that are sampled, which give duller images.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    cosine = a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.sin(angle)
    if sine < _MIN_SINE:
        return ((1 - t) * a + t * b).astype(np.float32)
    return ((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / sine).astype(np.float32)


def morph_latents(stops: np.ndarray, frames: int) -> np.ndarray:
    """Return `frames` latents on the path through all `stops` (N, size), both ends included.

    Raises as `check_frames` does.
    """
    frames = check_frames(len(stops), frames)
    return _interpolate(stops, np.linspace(0, len(stops) - 1, frames))


def loop_latents(stops: np.ndarray, frames: int) -> np.ndarray:
    """Return `frames` latents on the closed path through all `stops` (N, size).

    The path starts at the first stop and ends just before it, so the frames loop smoothly. Raises
    as `check_frames` does.
    """
    frames = check_frames(len(stops), frames)
    return _interpolate(stops, np.arange(frames) * len(stops) / frames)


def _interpolate(stops: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the latents at `positions`: position k is stop k, modulo the number of stops."""
    count = len(stops)
    return np.stack(
        [
            slerp(stops[int(position) % count], stops[(int(position) + 1) % count], position % 1)
            for position in positions
        ]
    )


def check_frames(stops: int, frames: Any) -> int:
    """Return `frames` as an int, checked for a path through `stops` seeds.

    Raises:
        CatganError: fewer than two stops, or fewer frames than stops, which would skip some.
    """
    if stops < 2:
        raise CatganError("a morph needs at least two seeds: for example --seeds 3,9")
    frames = check_integer("frames", frames, 2, MAX_FRAMES)
    if frames < stops:
        raise CatganError(
            f"{frames} frames cannot show {stops:,} seeds: use at least as many frames as seeds"
        )
    return frames
