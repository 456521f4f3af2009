"""Measure speed, size and accuracy of a generator in each export precision and in torch.

    python benchmarks/artifact_throughput.py RUN [--images 256] [--threads 2]

Exports RUN in every precision, runs each in ONNX Runtime and the run itself in torch, and prints
images a second at batch sizes 1 and 64, the file's size, and the difference from torch in steps of
1/255. The versions take turns, `PASSES` times; the table has the median, slowest and fastest pass.
A precision that `catgan export` would reject is marked. Two more rows: "repeated" is float16 with
upsampling by repeated pixels in place of the sub-pixel form, and "sample" is float16 as
`Generator.sample` runs it from four images on, each processor its own image (at batch 1, one).
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
from catgan.exporters.graph import VARIANTS, float16_storage, float32_model
from catgan.exporters.parity import measure_parity, require_parity
from catgan.networks.build import pixel_range
from catgan.networks.truncation import synthesize_truncated
from catgan.onnx_runtime import load_onnxruntime
from catgan.parallel import ordered_map
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import restored_sampler, to_uint8

PASSES = 5
REPEATED, SAMPLE = "repeated", "sample"
BATCH_SIZES = (1, 64)

Synthesize = Callable[[np.ndarray], np.ndarray]  # latents -> images


def measure_rate(synthesize: Synthesize, z: np.ndarray, batch_size: int) -> float:
    """Return images a second, after a warm-up batch."""
    batches = [z[start : start + batch_size] for start in range(0, len(z), batch_size)]
    synthesize(batches[0])
    started = time.perf_counter()
    for batch in batches:
        synthesize(batch)
    return len(z) / (time.perf_counter() - started)


def median_and_range(rates: list[float]) -> str:
    """Return the median, minimum and maximum as text."""
    return f"{statistics.median(rates):6.1f} ({min(rates):.0f}-{max(rates):.0f})"


def onnx_synthesize(model: bytes, threads: int) -> Synthesize:
    """Return a function that runs `model` in ONNX Runtime, configured as in the light runtime."""
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    one = np.ones(1, np.float32)
    return lambda z: session.run(None, {"z": z, "truncation": one})[0]


def in_parallel(synthesize: Synthesize) -> Synthesize:
    """Return a function that generates one image at a time on each processor."""
    return lambda z: np.concatenate([image for _, image in ordered_map(synthesize, z[:, None])])


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    loaded = RunDirectory.open(arguments.run).checkpoints.load("latest", print)
    sampler, config = restored_sampler(loaded, torch.device("cpu"))
    generator, low_high = sampler.generator.eval(), pixel_range(config.network)
    z, zero = sampler.latents(range(arguments.images)), torch.zeros(1)

    @torch.no_grad()
    def torch_synthesize(batch: np.ndarray) -> np.ndarray:
        return to_uint8(
            synthesize_truncated(generator, torch.from_numpy(batch), 1.0, zero), *low_high
        )

    reference = sampler.synthesize(z)
    versions: dict[str, tuple[Synthesize, int]] = {"torch": (torch_synthesize, 0)}
    mean = sampler.mean_style()
    generator.to(memory_format=torch.contiguous_format)
    model = float32_model(generator, config.network.latent_size, mean, low_high)
    for precision, variant in {**VARIANTS, REPEATED: float16_storage}.items():
        try:
            data = variant(model).SerializeToString()
        except CatganError as error:
            print(f"{precision}: {error}")
            continue
        versions[precision] = (onnx_synthesize(data, arguments.threads), len(data))
        if precision == "float16":
            versions[SAMPLE] = (in_parallel(onnx_synthesize(data, 1)), len(data))
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(PASSES):
        for name, (synthesize, _) in versions.items():
            for batch_size in BATCH_SIZES:
                rate = measure_rate(synthesize, z, batch_size)
                rates.setdefault((name, batch_size), []).append(rate)
    print(f"{config.recipe}, {arguments.images} images, {arguments.threads} threads; img/s")
    print(
        f"{'precision':10s} {'batch 1':>18s} {'batch 64':>18s} {'MB':>6s} {'largest':>8s} "
        f"{'mean':>8s}"
    )
    for name, (synthesize, size) in versions.items():
        images = np.concatenate([synthesize(row[None]) for row in z])
        parity = measure_parity(reference, images)
        note = ""
        if name != "torch":
            try:
                require_parity(parity, name if name in VARIANTS else "float16")
            except CatganError:
                note = "  rejected"
        single, batched = (median_and_range(rates[name, size]) for size in BATCH_SIZES)
        print(
            f"{name:10s} {single:>18s} {batched:>18s} {size / 1e6:6.1f} {parity.largest:8d} "
            f"{parity.mean:8.4f}{note}"
        )


if __name__ == "__main__":
    main()
