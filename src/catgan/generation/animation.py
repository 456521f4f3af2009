"""Frames on disk: GIF, animated WebP, or MP4."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from catgan.errors import CatganError
from catgan.generation.sheet import written_beside

MOST_FRAMES_A_SECOND = 50  # the fastest that GIF viewers show
_MP4_QUALITY = "18"  # x264's constant rate factor: at most what an eye cannot tell apart


def check_animation(path: Path, rate: int) -> None:
    """Raise `CatganError` for a file name or a rate of frames that cannot be written."""
    if path.suffix.lower() not in _WRITERS:
        raise CatganError(
            f"{path}: a morph is written as {', '.join(_WRITERS)}; give the file such a name"
        )
    if path.suffix.lower() == ".mp4" and not find_spec("av"):
        raise CatganError(
            f"{path}: MP4 needs PyAV, which is not installed: pip install 'catgan[video]', or "
            "write a .gif or .webp"
        )
    if not 1 <= rate <= MOST_FRAMES_A_SECOND:
        raise CatganError(
            f"--fps {rate} is out of range: choose from 1 to {MOST_FRAMES_A_SECOND} frames a second"
        )


def save_animation(frames: np.ndarray, path: Path, rate: int) -> None:
    """Write frames (N, H, W, 3) uint8, `rate` a second, endlessly looped, complete or not at all.

    An MP4 cannot ask its player to loop; the frames of a closed morph join all the same.
    """
    check_animation(path, rate)
    with written_beside(path) as partial:
        _WRITERS[path.suffix.lower()](frames, partial, rate)


def _save_gif(frames: np.ndarray, path: Path, rate: int) -> None:
    # A palette of its own for each frame: fur has more colours than one palette for all.
    first, *rest = [
        Image.fromarray(frame).quantize(256, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames
    ]
    first.save(path, "GIF", save_all=True, append_images=rest, duration=1000 // rate, loop=0)


def _save_webp(frames: np.ndarray, path: Path, rate: int) -> None:
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(
        path, "WEBP", save_all=True, append_images=rest, duration=1000 // rate, loop=0, quality=90
    )


def _save_mp4(frames: np.ndarray, path: Path, rate: int) -> None:
    import av

    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=rate)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"  # what every player knows
            stream.options = {"crf": _MP4_QUALITY}
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise OSError(f"FFmpeg: {error}") from None


_WRITERS: dict[str, Callable[[np.ndarray, Path, int], None]] = {
    ".gif": _save_gif,
    ".webp": _save_webp,
    ".mp4": _save_mp4,
}
