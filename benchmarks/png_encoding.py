"""Compare our PNG encoder with Pillow's: time and size of files.

    python benchmarks/png_encoding.py [cats.onnx]     # half a minute

Encodes images of the given or the bundled generator: as generated, as a sheet of 36, and enlarged.
Pillow's encoder is measured with its defaults and as `catgan` used it until 2026-11-30, searching
for runs alone (zlib's Z_RLE). Prints the median of seven times, and bytes per file. Every file is
decoded and compared.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

import catgan
from catgan.generation.grid import enlarge, make_grid
from catgan.generation.png import encode_png

REPEATS = 7


def pillow(**options: int) -> Callable[[np.ndarray], bytes]:
    """Return an encoder that uses Pillow with these options."""

    def encode(image: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG", **options)
        return buffer.getvalue()

    return encode


def main() -> None:
    """Measure and print."""
    cats = catgan.load(*sys.argv[1:2])
    images = cats.sample(range(36))
    sets = {f"{cats.resolution} px": list(images), "36 in a grid": [make_grid(images)]}
    for side in (2, 4, 8):
        size = side * cats.resolution
        sets[f"{size} px"] = [enlarge(image, size) for image in images[:4]]
    encoders = {
        "Pillow": pillow(),
        "Pillow, runs alone": pillow(compress_type=zlib.Z_RLE),
        "catgan": encode_png,
    }
    print(f"{'images':<14}{'encoder':<20}{'ms':>8}{'bytes':>12}{'of Pillow':>12}")
    for name, members in sets.items():
        default = 0.0
        for encoder, encode in encoders.items():
            times = []
            for _ in range(REPEATS):
                started = time.perf_counter()
                files = [encode(image) for image in members]
                times.append((time.perf_counter() - started) / len(members))
            for image, file in zip(members, files, strict=True):
                if not np.array_equal(np.asarray(Image.open(io.BytesIO(file))), image):
                    raise SystemExit(f"{encoder}: a file differs from its image")
            size = statistics.mean(map(len, files))
            default = default or size
            milliseconds = 1000 * statistics.median(times)
            ratio = f"{100 * (size / default - 1):+.1f} %"
            print(f"{name:<14}{encoder:<20}{milliseconds:8.2f}{size:12,.0f}{ratio:>12}")


if __name__ == "__main__":
    main()
