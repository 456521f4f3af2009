"""Frames on disk: GIF, animated WebP, or MP4."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from catgan.errors import CatganError
from catgan.generation.grid import MAX_PIXELS, check_place, enlarge, written_beside

MAX_FRAMES_PER_SECOND = 50  # the fastest that GIF viewers show
_MP4_QUALITY = "18"  # x264's constant rate factor: at most what an eye cannot tell apart


def check_animation(path: Path, rate: int, frames: int, side: int, size: int) -> None:
    """Raise `CatganError` for what cannot be written, before it is drawn.

    `frames` images of `side` pixels, `rate` a second, are to be enlarged to `size` pixels.
    """
    if path.suffix.lower() not in _WRITERS:
        raise CatganError(
            f"{path}: a morph is written as {', '.join(_WRITERS)}; give the file such a name"
        )
    if path.suffix.lower() == ".mp4" and not find_spec("av"):
        raise CatganError(
            f"{path}: MP4 needs PyAV, which is not installed: pip install 'catgan[video]', or "
            "write a .gif or .webp"
        )
    if not 1 <= rate <= MAX_FRAMES_PER_SECOND:
        raise CatganError(
            f"--fps {rate} is out of range: expected 1 to {MAX_FRAMES_PER_SECOND} frames a second"
        )
    if frames * side**2 > MAX_PIXELS:
        raise CatganError(
            f"{frames:,} frames of {side} px are more than fit into memory: take fewer --frames"
        )
    if path.suffix.lower() == ".mp4":  # written a frame at a time
        if size % 2:
            raise CatganError(
                f"{path}: an MP4 has an even number of pixels, not {size}: take --size {size + 1}"
            )
    elif frames * size**2 > MAX_PIXELS:
        raise CatganError(
            f"{path}: {frames:,} frames of {size} px are more than fit into memory: take fewer "
            "--frames or a smaller --size, or write an .mp4"
        )
    check_place(path)


def save_animation(frames: np.ndarray, path: Path, rate: int, size: int) -> None:
    """Write frames (N, side, side, 3) uint8, `rate` a second, endlessly looped, enlarged to `size`.

    Complete or not at all. An MP4 cannot ask its player to loop; the frames of a closed morph join
    all the same. Raises as `check_animation` does.
    """
    check_animation(path, rate, len(frames), frames.shape[1], size)
    with written_beside(path) as partial:
        _WRITERS[path.suffix.lower()]((enlarge(frame, size) for frame in frames), partial, rate)


def encode_animation(frames: np.ndarray, kind: str, rate: int, size: int) -> bytes:
    """Return what `save_animation` writes, for a `kind` of .gif or .webp, as bytes."""
    buffer = io.BytesIO()
    _IN_MEMORY[kind]((enlarge(frame, size) for frame in frames), buffer, rate)
    return buffer.getvalue()


def durations(count: int, rate: int, step: int) -> list[int]:
    """How long each frame is shown, in milliseconds, all of them multiples of `step`.

    The frames keep time with `rate` together, however coarse the steps are.
    """
    ends = [step * round(1000 * number / (rate * step)) for number in range(count + 1)]
    return [end - begin for begin, end in pairwise(ends)]


def _save_gif(frames: Iterator[np.ndarray], path: Path | BinaryIO, rate: int) -> None:
    # A palette of its own for each frame: fur has more colors than one palette for all.
    first, *rest = [
        Image.fromarray(frame).quantize(256, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames
    ]
    times = durations(1 + len(rest), rate, 10)  # the format counts hundredths of a second
    first.save(path, "GIF", save_all=True, append_images=rest, duration=times, loop=0)


def _save_webp(frames: Iterator[np.ndarray], path: Path | BinaryIO, rate: int) -> None:
    first, *rest = [Image.fromarray(frame) for frame in frames]
    times = durations(1 + len(rest), rate, 1)
    first.save(path, "WEBP", save_all=True, append_images=rest, duration=times, loop=0, quality=90)


def _save_mp4(frames: Iterator[np.ndarray], path: Path, rate: int) -> None:
    import av

    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=rate)
            first = next(frames)
            stream.height, stream.width = first.shape[:2]
            stream.pix_fmt = "yuv420p"  # what every player knows
            stream.options = {"crf": _MP4_QUALITY}
            for frame in chain([first], frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise OSError(f"FFmpeg: {error}") from None


_IN_MEMORY: dict[str, Callable[[Iterator[np.ndarray], Path | BinaryIO, int], None]] = {
    ".gif": _save_gif,
    ".webp": _save_webp,
}
_WRITERS: dict[str, Callable[[Iterator[np.ndarray], Path, int], None]] = {
    **_IN_MEMORY,
    ".mp4": _save_mp4,
}
