"""Measure milliseconds an image in LiteRT and in ONNX Runtime.

    catgan export bundled --format litert -o cats.tflite
    python benchmarks/phone_format.py cats.tflite [--onnx cats.onnx] [--images 32]

Compares two files of one generator; needs ai-edge-litert, but not TensorFlow. One image at a time
on one thread; the runtimes take turns, `PASSES` times. Measures processor time, which depends less
on other programs than wall time. Prints the median, fastest and slowest pass, and the difference
between the images in steps of 1/255.
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

Synthesize = Callable[[np.ndarray], np.ndarray]  # latents -> images


def onnx_synthesize(model: bytes) -> Synthesize:
    """Return a function that runs `model` in ONNX Runtime, configured as in the light runtime."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    one = np.ones(1, np.float32)
    return lambda z: session.run(None, {"z": z, "truncation": one})[0]


def litert_synthesize(path: Path) -> Synthesize:
    """Return a function that runs a model in LiteRT with XNNPACK, its default on a CPU."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(str(path), num_threads=1).get_signature_runner()
    one = np.ones((1, 1), np.float32)
    return lambda z: np.rint(255 * run(z=z, truncation=one)["images"]).astype(np.uint8)


def main() -> None:
    """Measure and print both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tflite", type=Path)
    parser.add_argument("--onnx", type=Path, help="default: the bundled generator")
    parser.add_argument("--images", type=int, default=32)
    arguments = parser.parse_args()
    cats = load_generator(arguments.onnx)
    runtimes = {"onnx": onnx_synthesize(cats.model), "litert": litert_synthesize(arguments.tflite)}
    z = cats.latents(range(arguments.images))
    images = {
        name: np.concatenate([synthesize(row[None]) for row in z])
        for name, synthesize in runtimes.items()
    }
    passes: dict[str, list[float]] = {name: [] for name in runtimes}
    for _ in range(PASSES):
        for name, synthesize in runtimes.items():
            started = time.process_time()
            for row in z:
                synthesize(row[None])
            passes[name].append(1000 * (time.process_time() - started) / len(z))
    for name, times in passes.items():
        print(
            f"{name:7s} {statistics.median(times):6.1f} ms an image "
            f"({min(times):.1f}-{max(times):.1f})"
        )
    difference = np.abs(images["onnx"].astype(np.int16) - images["litert"])
    print(f"difference: at most {difference.max()}, mean {difference.mean():.4f} steps of 255")


if __name__ == "__main__":
    main()
