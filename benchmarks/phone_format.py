"""How many milliseconds an image takes in LiteRT, and in ONNX Runtime beside it.

    catgan export bundled --format litert -o cats.tflite
    python benchmarks/phone_format.py cats.tflite [--onnx cats.onnx] [--images 32]

Of two files of one generator; needs ai-edge-litert, no TensorFlow. One image at a time on one
thread; the two take turns, `PASSES` times. What counts is the time of the processor, which other
programs on the machine change less than that by the clock. Prints the median pass, with the fastest
and the slowest beside it, and how far the images are apart in steps of 1/255.
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

PASSES = 15

Draw = Callable[[np.ndarray], np.ndarray]


def by_onnx_runtime(model: bytes) -> Draw:
    """One image as the light runtime draws it."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    one = np.ones(1, np.float32)
    return lambda z: session.run(None, {"z": z, "truncation": one})[0]


def by_litert(path: Path) -> Draw:
    """One image by LiteRT with XNNPACK, its default on a CPU."""
    from ai_edge_litert.interpreter import Interpreter

    draw = Interpreter(str(path), num_threads=1).get_signature_runner()
    one = np.ones((1, 1), np.float32)
    return lambda z: np.rint(255 * draw(z=z, truncation=one)["images"]).astype(np.uint8)


def main() -> None:
    """Measure and print both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tflite", type=Path)
    parser.add_argument("--onnx", type=Path, help="without it: the package's generator")
    parser.add_argument("--images", type=int, default=32)
    given = parser.parse_args()
    cats = load_generator(given.onnx)
    forms = {"onnx": by_onnx_runtime(cats.model), "litert": by_litert(given.tflite)}
    z = cats.latents(range(given.images))
    images = {name: np.concatenate([draw(row[None]) for row in z]) for name, draw in forms.items()}
    passes: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(PASSES):
        for name, draw in forms.items():
            began = time.process_time()
            for row in z:
                draw(row[None])
            passes[name].append(1000 * (time.process_time() - began) / len(z))
    for name, times in passes.items():
        print(
            f"{name:7s} {statistics.median(times):6.1f} ms an image "
            f"({min(times):.1f}-{max(times):.1f})"
        )
    difference = np.abs(images["onnx"].astype(np.int16) - images["litert"])
    print(f"apart at most {difference.max()}, on average {difference.mean():.4f} of 255 steps")


if __name__ == "__main__":
    main()
