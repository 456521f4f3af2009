"""Write frames as a GIF, an animated WebP or an MP4."""

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
from catgan.generation.grid import MAX_PIXELS, check_writable, enlarge, written_beside

MAX_FRAMES_PER_SECOND = 50  # the fastest that GIF viewers play
_MP4_CRF = "18"  # x264's constant rate factor: visually lossless


def check_animation(path: Path, fps: int, frame_count: int, side: int, size: int) -> None:
    """Check that an animation can be held in memory and written, before it is generated.

    It has `frame_count` frames of `side` pixels, `fps` a second, enlarged to `size` pixels.

    Raises:
        CatganError: the file type, `fps`, the frames or the path cannot be used.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise CatganError(f"{path}: expected a file name that ends in {', '.join(_WRITERS)}")
    if suffix == ".mp4" and not find_spec("av"):
        raise CatganError(
            f"{path}: MP4 needs PyAV, which is not installed: pip install 'catgan[video]', or "
            "write a .gif or .webp"
        )
    if not 1 <= fps <= MAX_FRAMES_PER_SECOND:
        raise CatganError(f"--fps {fps}: expected 1 to {MAX_FRAMES_PER_SECOND} frames a second")
    if frame_count * side**2 > MAX_PIXELS:
        raise CatganError(
            f"{frame_count:,} frames of {side} px do not fit into memory: use fewer --frames"
        )
    if suffix == ".mp4":  # written a frame at a time, so the enlarged frames need no memory
        if size % 2:
            raise CatganError(
                f"{path}: an MP4 needs an even size, not {size}: use --size {size + 1}"
            )
    elif frame_count * size**2 > MAX_PIXELS:
        raise CatganError(
            f"{path}: {frame_count:,} frames of {size} px do not fit into memory: use fewer "
            "--frames or a smaller --size, or write an .mp4"
        )
    check_writable(path)


def save_animation(frames: np.ndarray, path: Path, fps: int, size: int) -> None:
    """Write frames (N, side, side, 3) uint8 as an endless loop, enlarged to `size` pixels.

    The file is written completely or not at all. An MP4 cannot ask its player to loop, but the
    last frame of a closed morph still leads to the first. Raises as `check_animation` does.
    """
    check_animation(path, fps, len(frames), frames.shape[1], size)
    with written_beside(path) as partial:
        _WRITERS[path.suffix.lower()]((enlarge(frame, size) for frame in frames), partial, fps)


def encode_animation(frames: np.ndarray, suffix: str, fps: int, size: int) -> bytes:
    """Return the bytes that `save_animation` writes; `suffix` is .gif or .webp."""
    buffer = io.BytesIO()
    _IN_MEMORY[suffix]((enlarge(frame, size) for frame in frames), buffer, fps)
    return buffer.getvalue()


def frame_durations(count: int, fps: int, unit: int) -> list[int]:
    """Return the duration of each frame in milliseconds, all multiples of `unit`.

    The rounding errors do not add up: after k frames, the time is within one `unit` of k / `fps`.
    """
    ends = [unit * round(1000 * number / (fps * unit)) for number in range(count + 1)]
    return [end - start for start, end in pairwise(ends)]


def _save_gif(frames: Iterator[np.ndarray], path: Path | BinaryIO, fps: int) -> None:
    # One palette per frame: 256 colors for all frames together would band the fur.
    first, *rest = [
        Image.fromarray(frame).quantize(256, dither=Image.Dither.FLOYDSTEINBERG) for frame in frames
    ]
    durations = frame_durations(1 + len(rest), fps, 10)  # GIF counts hundredths of a second
    first.save(path, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def _save_webp(frames: Iterator[np.ndarray], path: Path | BinaryIO, fps: int) -> None:
    first, *rest = [Image.fromarray(frame) for frame in frames]
    durations = frame_durations(1 + len(rest), fps, 1)
    first.save(
        path, "WEBP", save_all=True, append_images=rest, duration=durations, loop=0, quality=90
    )


def _save_mp4(frames: Iterator[np.ndarray], path: Path, fps: int) -> None:
    import av

    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=fps)
            first = next(frames)
            stream.height, stream.width = first.shape[:2]
            stream.pix_fmt = "yuv420p"  # the format that every player decodes
            stream.options = {"crf": _MP4_CRF}
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
