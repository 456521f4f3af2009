"""Script that `test_distributed.py` runs in one process and, under torchrun, in two.

    torchrun --nproc-per-node=2 tests/training/distributed_worker.py DIRECTORY

It trains two steps on DIRECTORY/CASE/dataset. Rank 0 writes the metrics and every averaged
gradient into DIRECTORY/CASE/gradients-N.safetensors, N the number of processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from unittest import mock

import safetensors.torch
import torch
from torch import nn

from catgan.config import Config, load_recipe, override
from catgan.data.dataset.dataset import Dataset
from catgan.networks.build import build_discriminator
from catgan.networks.layers.frozen import SameConv2d
from catgan.runs import sampler as sampling
from catgan.runs.directory import RunDirectory
from catgan.training import distributed, initialize, loop

TINY = [
    "network.resolution=32",
    "network.channels=8",
    "network.maximum_channels=16",
    "network.latent_size=8",
    "training.precision=float32",
    "training.batch_size=8",
    "training.images=16",
    "output.log_images=8",
    "output.grid_seeds=1",
    "output.score_samples=0",
    "augment.crop=0.1",
    "augment.sharpness=0.5",
    "augment.color_jitter=0.1",
    "augment.diffaugment_color=true",
    "augment.diffaugment_translation=true",
    "augment.diffaugment_cutout=true",
    # Weights stay, so that the second step has the gradients of the same weights: Adam's first
    # step is the sign of a gradient, and near 0 that is the sign of a rounding error.
    "optimizer.generator_learning_rate=0",
    "optimizer.discriminator_learning_rate=0",
]
CASES = {
    "lsgan-64": [],
    "dcgan-128": [],  # with dropout
    # penalties on the same images: the first of each process's slice
    "projected-128": ["network.resolution=64", "loss.penalty_every=4", "loss.eye_colors=1e-6"],
    "quick-64": [  # batch statistics differentiated twice, and a relativistic loss
        "loss.penalty=1",
        "loss.penalty_final=1",
        "loss.discriminator=relativistic",
        "loss.generator=relativistic",
    ],
}


class Silent:
    """A display that shows nothing."""

    def __getattr__(self, name):
        return lambda *arguments: None


def config_of(case: str) -> Config:
    """Return the configuration of a case."""
    return override(load_recipe(case), [*TINY, *CASES[case]])


def without_corners(*arguments):
    """Return a discriminator with smooth activations.

    A gradient jumps where ReLU6 or LeakyReLU has a corner. Millions of numbers go through the
    frozen network's, so some are a rounding error away from one: the images of a single process
    moved by 1e-7 change its gradient by 3e-3. Without corners, what is left is the arithmetic.
    """
    discriminator = build_discriminator(*arguments)
    if hasattr(discriminator, "projection"):
        for module in discriminator.modules():
            if isinstance(module, SameConv2d) and module.relu6:
                module.relu6 = False
                module.register_forward_hook(lambda _, inputs, y: 6 * torch.sigmoid((y - 3) / 1.5))
            for name, child in list(module.named_children()):
                if isinstance(child, nn.LeakyReLU):
                    setattr(module, name, nn.Softplus())
    return discriminator


def record(case: str, directory: Path) -> None:
    """Train two steps of a case; write gradients and log rows into `directory`."""
    config, world = config_of(case), distributed.world()
    gradients: dict[str, torch.Tensor] = {}
    average = distributed.average_gradients

    def record_gradients(module):
        average(module)
        for name, parameter in module.named_parameters():
            gradients[f"{len(gradients)}/{name}"] = parameter.grad.detach().clone()

    run = RunDirectory(directory / f"run-{world.processes}")
    if world.is_main_process:
        run = RunDirectory.create(run.path, config, {"dataset": {"name": "cats"}, "machine": {}})
    dataset = Dataset.open(directory / "dataset")
    with (
        mock.patch.object(initialize, "STATISTICS_IMAGES", 8),
        mock.patch.object(sampling, "CALIBRATION_SEEDS", range(64)),
        mock.patch.object(initialize, "build_discriminator", without_corners),
        mock.patch.object(distributed, "average_gradients", record_gradients),
    ):
        loop.train(config, dataset, run, Silent(), device=torch.device("cpu"))
    if world.is_main_process:
        data = safetensors.torch.save({k: v.contiguous() for k, v in gradients.items()})
        (directory / f"gradients-{world.processes}.safetensors").write_bytes(data)


def collectives() -> dict[str, object]:
    """Return the result of every collective in this process."""
    world = distributed.world()
    mine = torch.arange(4.0).view(2, 2) + 10 * world.rank
    scalars, batch = distributed.gather_batch([mine[:1, 0], mine])
    part = mine.clone().requires_grad_()
    mean = distributed.mean_over_processes(part)
    ((world.rank + 1) * mean).sum().backward()
    return {
        "rank": world.rank,
        "shared": distributed.broadcast_json({"of": world.rank, "text": "cät"}),
        "highest": distributed.all_reduce_max(world.rank * 15),
        "scalars": scalars.tolist(),
        "batch": batch.tolist(),
        "mean": mean.tolist(),
        "gradient": part.grad.tolist(),
    }


def long_work() -> dict[str, bool]:
    """Return whether this process waits for a busy process, and not for a hung one."""
    is_main_process = distributed.world().is_main_process
    waited, gave_up = True, False
    with (
        mock.patch.object(distributed, "TIMEOUT", timedelta(seconds=1)),
        mock.patch.object(distributed, "HEARTBEAT_SECONDS", 0.1),
    ):
        began = time.monotonic()
        with distributed.keep_alive():
            time.sleep(3 if is_main_process else 0)
        waited = time.monotonic() - began >= 3
        # The main process sends no heartbeat: it hangs.
        silent = mock.patch.object(distributed, "HEARTBEAT_SECONDS", 100.0)
        try:
            with (
                silent if is_main_process else contextlib.nullcontext(),
                distributed.keep_alive(),
            ):
                time.sleep(4 if is_main_process else 0)
        except distributed.LostProcessError:
            gave_up = True
    return {"waited": waited, "gave up": gave_up}


def main() -> None:
    """Run every case and the collectives in the given processes."""
    directory = Path(sys.argv[1])
    with distributed.process_group():
        (directory / f"collectives-{os.environ['RANK']}.json").write_text(json.dumps(collectives()))
        (directory / f"long-{os.environ['RANK']}.json").write_text(json.dumps(long_work()))
        for case in CASES:
            record(case, directory / case)
    distributed.end_process(0)


if __name__ == "__main__":
    main()
