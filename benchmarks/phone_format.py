"""How many milliseconds an image takes in LiteRT, and in ONNX Runtime beside it.

    catgan export bundled --format litert -o cats.tflite
    python benchmarks/phone_format.py cats.tflite [--onnx cats.onnx] [--threads 1] [--images 64]

Of the two files, which must be of one generator; needs ai-edge-litert, no TensorFlow. One image at
a time; the two take turns, `PASSES` times. Prints the median pass, with the fastest and the slowest
beside it, and how far the images are apart in steps of 1/255.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from catgan.generation.generator import load_generator
from catgan.onnx_runtime import load_onnxruntime

PASSES = 9

Draw = Callable[[np.ndarray], np.ndarray]


def by_onnx_runtime(model: bytes, threads: int) -> Draw:
    """One image as the light runtime draws it."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    one = np.ones(1, np.float32)
    return lambda z: session.run(None, {"z": z, "truncation": one})[0]


def by_litert(path: Path, threads: int) -> Draw:
    """One image by LiteRT with XNNPACK, its default on a CPU."""
    from ai_edge_litert.interpreter import Interpreter

    draw = Interpreter(str(path), num_threads=threads).get_signature_runner()
    one = np.ones((1, 1), np.float32)
    return lambda z: np.rint(255 * draw(z=z, truncation=one)["images"]).astype(np.uint8)


def main() -> None:
    """Measure and print both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tflite", type=Path)
    parser.add_argument("--onnx", type=Path, help="without it: the package's generator")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=64)
    given = parser.parse_args()
    cats = load_generator(given.onnx)
    forms = {
        "onnx": by_onnx_runtime(cats.model, given.threads),
        "litert": by_litert(given.tflite, given.threads),
    }
    z = cats.latents(range(given.images))
    images = {name: np.concatenate([draw(row[None]) for row in z]) for name, draw in forms.items()}
    passes: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(PASSES):
        for name, draw in forms.items():
            began = time.perf_counter()
            for row in z:
                draw(row[None])
            passes[name].append(1000 * (time.perf_counter() - began) / len(z))
    for name, times in passes.items():
        print(
            f"{name:7s} {statistics.median(times):6.1f} ms an image "
            f"({min(times):.1f}-{max(times):.1f}), {given.threads} threads"
        )
    difference = np.abs(images["onnx"].astype(np.int16) - images["litert"])
    print(f"apart at most {difference.max()}, on average {difference.mean():.4f} of 255 steps")


if __name__ == "__main__":
    main()
