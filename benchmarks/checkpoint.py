"""What do checkpoints cost projected-128 at the default interval?

    python benchmarks/checkpoint.py            # about a minute on 2 cores

The real loop trains a few steps on drawn cats, which gives its speed and a run with the real
networks, averages and optimizers. Then that state is saved again and again as the loop saves it:
all checked for NaN, written, flushed to the disk, renamed, the old ones removed, the report
written. Medians. The cost is that time over the time in which the images between two checkpoints
are trained on. Settling the average, which at the default intervals the sheet drawn just before
has done, stands apart; scoring, which can be turned off, is no part of it.
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
WARM = 2  # steps, while kernels are chosen


class Silent:
    """A display for the real loop."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="projected-128")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--saves", type=int, default=9)
    parser.add_argument("--place", type=Path, help="a directory on the disk in question")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.recipe)
    batch = recipe.training.batch_size
    images = (WARM + arguments.steps) * batch
    words = [f"training.images={images}", f"output.log_images={batch}", "output.score_samples=0"]
    config = override(recipe, words)
    with tempfile.TemporaryDirectory(dir=arguments.place) as directory:
        data, place = Path(directory, "cats"), Path(directory, "run")
        write_procedural_cats(data, 256, config.network.resolution)
        run = RunDirectory.create(place, config, {"dataset": {}, "machine": {}})
        train(config, Dataset.open(data), run, Silent(), device=CPU)
        rates = [row["machine"]["images_per_second"] for row in run.rows()][WARM:]
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
        guard, seconds, settling = Guard(run), [], []
        for save in range(arguments.saves):
            began = time.perf_counter()
            sampler.calibrated(images + save, autocast)
            saving = time.perf_counter()
            for part, each in tensors.items():
                guard.check_finite(each.values(), part, images)
            run.checkpoints.save(images + save, state.config, state.window, tensors, keep=2)
            write_report(run)
            seconds.append(time.perf_counter() - saving)
            settling.append(saving - began)
        size = sum(path.stat().st_size for path in state.path.parent.glob("*/*")) / 2
    machine, interval = describe_machine(CPU), recipe.output.checkpoint_images
    rate, cost = statistics.median(rates), statistics.median(seconds)
    calibrated, between = statistics.median(settling), interval / rate
    print(
        f"{arguments.recipe}: {machine['processor']}, {machine['threads']} threads, "
        f"torch {machine['torch']}"
    )
    print(f"  a checkpoint                {size / 2**20:8.1f} MiB")
    print(
        f"  a save, and the report      {cost:8.2f} s   ({min(seconds):.2f} to {max(seconds):.2f})"
    )
    print(f"  settling the average        {calibrated:8.2f} s")
    print(f"  training                    {rate:8.1f} img/s")
    print(f"  between two checkpoints     {between:8.0f} s   ({interval:,} images)")
    print(f"  checkpoints cost            {100 * cost / (cost + between):8.2f} % of wall time")
    cost += calibrated
    print(f"  settling with them          {100 * cost / (cost + between):8.2f} %")


if __name__ == "__main__":
    main()
