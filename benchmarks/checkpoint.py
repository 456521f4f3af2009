"""Measure the cost of checkpoints of projected-128 at the default interval.

    python benchmarks/checkpoint.py            # about a minute on 2 cores

The real loop trains a few steps on procedural cats, which gives the training speed and a run with
the real networks, EMA and optimizers. Then the benchmark saves that state repeatedly, as the loop
does: it checks every tensor for NaN, writes and flushes the files, renames the directory, removes
old checkpoints and writes the report. All times are medians. The cost is the time of a save as a
share of the time from one checkpoint to the next. Calibrating the EMA generator is reported
separately, because at the default intervals the sample grid has done it just before. Scoring,
which is optional, is not included.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from catgan.config import load_recipe, override
from catgan.data.dataset.dataset import Dataset
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.runs.device import choose_precision, describe_machine
from catgan.runs.directory import RunDirectory
from catgan.runs.report import write_report
from catgan.runs.sampler import restored_sampler
from catgan.training.guard import Guard
from catgan.training.loop import train

CPU = torch.device("cpu")
WARMUP_STEPS = 2  # while kernels are selected


class Silent:
    """A display that prints nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="projected-128")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--saves", type=int, default=9)
    parser.add_argument("--place", type=Path, help="a directory on the disk to measure")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    batch = recipe.training.batch_size
    images = (WARMUP_STEPS + arguments.steps) * batch
    settings = [f"training.images={images}", f"output.log_images={batch}"]
    config = override(recipe, [*settings, "output.score_samples=0"])
    with tempfile.TemporaryDirectory(dir=arguments.place) as directory:
        data, run_path = Path(directory, "cats"), Path(directory, "run")
        write_procedural_cats(data, 256, config.network.resolution)
        run = RunDirectory.create(run_path, config, {"dataset": {}, "machine": {}})
        train(config, Dataset.open(data), run, Silent(), device=CPU)
        rates = [row["machine"]["images_per_second"] for row in run.rows()][WARMUP_STEPS:]
        state = run.checkpoints.load("latest", print)
        tensors = {
            part: {
                name: tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
                for name, tensor in each.items()
            }
            for part, each in state.tensors.items()
        }
        sampler, _ = restored_sampler(state, CPU)
        sampler.generator.to(memory_format=torch.channels_last)
        precision = choose_precision(config.training.precision, CPU)
        autocast = torch.autocast("cpu", precision, enabled=precision != torch.float32)
        guard, save_seconds, calibration_seconds = Guard(run), [], []
        for save in range(arguments.saves):
            started = time.perf_counter()
            sampler.calibrated(images + save, autocast)
            calibrated = time.perf_counter()
            for part, each in tensors.items():
                guard.check_finite(each.values(), part, images)
            run.checkpoints.save(images + save, state.config, state.window, tensors, keep=2)
            write_report(run)
            save_seconds.append(time.perf_counter() - calibrated)
            calibration_seconds.append(calibrated - started)
        size = sum(path.stat().st_size for path in state.path.parent.glob("*/*")) / 2
    machine, interval = describe_machine(CPU), recipe.output.checkpoint_images
    rate, cost = statistics.median(rates), statistics.median(save_seconds)
    calibration, between = statistics.median(calibration_seconds), interval / rate
    print(
        f"{arguments.recipe}: {machine['processor']}, {machine['threads']} threads, "
        f"torch {machine['torch']}"
    )
    print(f"  size of a checkpoint        {size / 2**20:8.1f} MiB")
    print(
        f"  a save with the report      {cost:8.2f} s   "
        f"({min(save_seconds):.2f} to {max(save_seconds):.2f})"
    )
    print(f"  calibrating the EMA         {calibration:8.2f} s")
    print(f"  training                    {rate:8.1f} img/s")
    print(f"  between two checkpoints     {between:8.0f} s   ({interval:,} images)")
    print(f"  cost of checkpoints         {100 * cost / (cost + between):8.2f} % of wall time")
    cost += calibration
    print(f"  with the calibration        {100 * cost / (cost + between):8.2f} %")


if __name__ == "__main__":
    main()
