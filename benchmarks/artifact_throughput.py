"""Which form of a generator draws fastest, and which are true to it?

    python benchmarks/artifact_throughput.py RUN [--images 256] [--threads 2]

Exports RUN in every precision, opens each in ONNX Runtime and the run in torch, and prints images
a second at batch 1 and 64, the file's size, and the difference from torch in steps of 1/255. The
forms take turns, `PASSES` times; medians, with the slowest and the fastest pass beside them. A
precision that `catgan export` would reject is marked.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from catgan.errors import CatganError
from catgan.exporters.graph import VARIANTS, float32_model
from catgan.exporters.parity import measure_parity, require_parity
from catgan.networks.build import pixel_range
from catgan.networks.truncation import draw
from catgan.onnx_runtime import load_onnxruntime
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import restored_sampler, to_uint8

PASSES = 5
BATCHES = (1, 64)

Draw = Callable[[np.ndarray], np.ndarray]


def rate(function: Draw, z: np.ndarray, batch: int) -> float:
    """Images a second, in batches of `batch`, after the first one."""
    parts = [z[start : start + batch] for start in range(0, len(z), batch)]
    function(parts[0])
    began = time.perf_counter()
    for part in parts:
        function(part)
    return len(z) / (time.perf_counter() - began)


def spread(rates: list[float]) -> str:
    """The median, and between which it lies."""
    return f"{statistics.median(rates):6.1f} ({min(rates):.0f}-{max(rates):.0f})"


def session_of(model: bytes, threads: int) -> Draw:
    """ONNX Runtime, as the light runtime opens it, with so many threads."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    one = np.ones(1, np.float32)
    return lambda z: session.run(None, {"z": z, "truncation": one})[0]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    loaded = RunDirectory.open(given.run).checkpoints.load("latest", print)
    sampler, config = restored_sampler(loaded, torch.device("cpu"))
    generator, low_high = sampler.generator.eval(), pixel_range(config.network)
    z, zero = sampler.latents(range(given.images)), torch.zeros(1)

    @torch.no_grad()
    def by_torch(part: np.ndarray) -> np.ndarray:
        return to_uint8(draw(generator, torch.from_numpy(part), 1.0, zero), *low_high)

    reference = sampler.synthesize(z)
    forms: dict[str, tuple[Draw, int]] = {"torch": (by_torch, 0)}
    mean = sampler.mean_style()
    generator.to(memory_format=torch.contiguous_format)
    model = float32_model(generator, config.network.latent_size, mean, low_high)
    for precision, variant in VARIANTS.items():
        try:
            data = variant(model).SerializeToString()
        except CatganError as error:
            print(f"{precision}: {error}")
            continue
        forms[precision] = (session_of(data, given.threads), len(data))
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(PASSES):
        for name, (function, _) in forms.items():
            for batch in BATCHES:
                rates.setdefault((name, batch), []).append(rate(function, z, batch))
    print(f"{config.recipe}, {given.images} images, {given.threads} threads; img/s")
    print(
        f"{'form':10s} {'batch 1':>18s} {'batch 64':>18s} {'MB':>6s} {'largest':>8s} {'mean':>8s}"
    )
    for name, (function, size) in forms.items():
        images = np.concatenate([function(row[None]) for row in z])
        parity = measure_parity(reference, images)
        note = ""
        if name != "torch":
            try:
                require_parity(parity, name)
            except CatganError:
                note = "  rejected"
        one, many = (spread(rates[name, batch]) for batch in BATCHES)
        print(
            f"{name:10s} {one:>18s} {many:>18s} {size / 1e6:6.1f} {parity.largest:8d} "
            f"{parity.mean:8.4f}{note}"
        )


if __name__ == "__main__":
    main()
