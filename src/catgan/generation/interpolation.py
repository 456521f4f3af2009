"""Ways through the space of latents: from one cat to the next, and round again."""

from __future__ import annotations

from typing import Any

import numpy as np

from catgan.errors import CatganError
from catgan.generation.checks import check_whole

MAX_FRAMES = 10_000
_PARALLEL = 1e-6  # sine of an angle below which two latents are taken as one direction


def slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """The latent a fraction `t` of the way from `a` to `b` on a great circle, float32.

    Shoemake, "Animating Rotation with Quaternion Curves", SIGGRAPH 1985; for latents, White,
    "Sampling Generative Networks", 2016. A straight line would pass through latents that are
    shorter than any that are drawn, and through duller cats.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    cosine = a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
    angle = np.arccos(np.clip(cosine, -1, 1))
    sine = np.sin(angle)
    if sine < _PARALLEL:
        return ((1 - t) * a + t * b).astype(np.float32)
    return ((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / sine).astype(np.float32)


def morph_latents(stops: np.ndarray, frames: int) -> np.ndarray:
    """`frames` latents along the way through all `stops` (N, size), both ends included.

    Raises as `check_frames` does.
    """
    frames = check_frames(len(stops), frames)
    return _along(stops, np.linspace(0, len(stops) - 1, frames))


def loop_latents(stops: np.ndarray, frames: int) -> np.ndarray:
    """`frames` latents along the closed way through all `stops` (N, size), from the first.

    The first stop is not repeated at the end, so that the frames can be shown round and round.
    Raises as `check_frames` does.
    """
    frames = check_frames(len(stops), frames)
    return _along(stops, np.arange(frames) * len(stops) / frames)


def _along(stops: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The latents at `places`, where the whole numbers are the stops, counted round."""
    return np.stack(
        [
            slerp(stops[int(place) % len(stops)], stops[(int(place) + 1) % len(stops)], place % 1)
            for place in places
        ]
    )


def check_frames(stops: int, frames: Any) -> int:
    """`frames` as an int; `CatganError` for a number that a way through `stops` seeds cannot have.

    With fewer frames than stops it would pass some without showing them.
    """
    if stops < 2:
        raise CatganError("a morph needs at least two seeds: write, say, --seeds 3,9")
    frames = check_whole("frames", frames, 2, MAX_FRAMES)
    if frames < stops:
        raise CatganError(
            f"{frames} frames cannot show {stops:,} seeds: take at least as many frames as seeds"
        )
    return frames
