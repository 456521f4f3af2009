"""Which form of a generator draws fastest, and which are true to it?

    python benchmarks/artefact_throughput.py RUN [--images 256] [--threads 2]

Exports RUN in every precision, opens each in ONNX Runtime and the run in torch, and prints images
a second at batch 1 and 64 (best of three passes after a warm-up), the file's size, and the
difference from torch in steps of 1/255. A precision that `catgan export` would refuse is marked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from catgan.errors import CatganError
from catgan.export.graph import VARIANTS, float32_model
from catgan.export.parity import measure_parity, require_parity
from catgan.networks.build import pixel_range
from catgan.networks.truncation import draw
from catgan.training.run_directory import RunDirectory
from catgan.training.sampling import restored_sampler, to_uint8

PASSES = 3
BATCHES = (1, 64)

Draw = Callable[[np.ndarray], np.ndarray]


def rate(function: Draw, z: np.ndarray, batch: int) -> float:
    """Images a second, in batches of `batch`."""
    parts = [z[start : start + batch] for start in range(0, len(z), batch)]
    function(parts[0])
    fastest = float("inf")
    for _ in range(PASSES):
        began = time.perf_counter()
        for part in parts:
            function(part)
        fastest = min(fastest, time.perf_counter() - began)
    return len(z) / fastest


def session_of(model: bytes, threads: int) -> Draw:
    """ONNX Runtime, as the light runtime opens it, with so many threads."""
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

    reference = sampler.synthesise(z)
    forms: dict[str, tuple[Draw, int]] = {"torch": (by_torch, 0)}
    rates = {"torch": [rate(by_torch, z, batch) for batch in BATCHES]}
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
        rates[precision] = [rate(forms[precision][0], z, batch) for batch in BATCHES]
    print(f"{config.recipe}, {given.images} images, {given.threads} threads")
    print(
        f"{'form':10s} {'batch 1':>10s} {'batch 64':>10s} {'MB':>7s} {'largest':>8s} {'mean':>9s}"
    )
    for name, (function, size) in forms.items():
        images = np.concatenate([function(row[None]) for row in z])
        parity = measure_parity(reference, images)
        note = ""
        if name != "torch":
            try:
                require_parity(parity, name)
            except CatganError:
                note = "  refused"
        one, many = rates[name]
        print(
            f"{name:10s} {one:6.1f} img/s {many:6.1f} img/s {size / 1e6:7.1f} "
            f"{parity.largest:8d} {parity.mean:9.4f}{note}"
        )


if __name__ == "__main__":
    main()
