"""Copy a checkpoint and calibrate its generator over more images.

    python tools/calibrate_checkpoint.py RUN OUT [--checkpoint latest] [--images 16384]
        [--match-mean DATASET]

In inference, the generator decorrelates the coefficients of its strongest eigenfaces
(`Generator.calibrate`). Training measures their mean and covariance over 1,024 images at each
checkpoint, to save time; a generator to be published deserves more. OUT becomes a run with this one
checkpoint, to be evaluated and embedded.

With `--match-mean` the mean image of the samples becomes that of the training images of a dataset,
by a shift of the eigenfaces' mean. That one is the mean of photos before tanh, at low resolution,
and tanh, details and rounding move the mean of finished images away from that of photos.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from catgan.data.dataset.dataset import Dataset
from catgan.errors import CatganError, shell_words
from catgan.networks.projected import Generator
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import CALIBRATION_SEEDS, restored_sampler

BATCH_SIZE = 64
MEAN_IMAGES = 4_096  # generated to measure their mean
MEAN_STEPS = 3  # of Newton's method, as tanh is not linear


def calibrate_checkpoint(
    run: Path, out: Path, *, checkpoint: str, images: int, photos: Path | None = None
) -> None:
    """Write `out`, a copy of the run with one checkpoint, calibrated over `images` images.

    With `photos`, a dataset, the mean of the samples is matched to theirs.

    Raises:
        CatganError: `run` is not a run, `photos` is not a dataset or `run` has no eigenfaces to
            match with it, or `out` exists.
    """
    if out.exists():
        raise CatganError(f"{out}: exists: name a new directory")
    source = RunDirectory.open(run)
    loaded = source.checkpoints.load(checkpoint, print)
    sampler, _ = restored_sampler(loaded, torch.device("cpu"))
    seeds = range(CALIBRATION_SEEDS.start, CALIBRATION_SEEDS.start + images)
    z = torch.from_numpy(sampler.latents(seeds))
    if photos is not None:
        if not isinstance(sampler.generator, Generator):
            raise CatganError(f"{run}: its family has no eigenfaces: leave out --match-mean")
        match_mean(sampler.generator, z[:MEAN_IMAGES], mean_photo(photos))
    sampler.generator.calibrate(z)
    loaded.tensors["ema"] = sampler.generator.state_dict()
    shutil.copytree(run, out, ignore=shutil.ignore_patterns("checkpoints", "evaluation", "*.lock"))
    calibrated = RunDirectory.open(out)
    calibrated.checkpoints.save(loaded.images, loaded.config, loaded.window, loaded.tensors, keep=1)


def mean_photo(path: Path) -> Tensor:
    """Return the mean of a dataset's training images and their mirror images, in [-1, 1].

    Its shape is (3, resolution, resolution), its type float64.
    """
    dataset = Dataset.open(path)
    indices = dataset.indices("train")
    total = np.zeros((dataset.resolution, dataset.resolution, 3))
    for index in indices:
        total += dataset.images[index]
    mean = torch.from_numpy(total).permute(2, 0, 1) / len(indices) / 127.5 - 1
    return (mean + mean.flip(2)) / 2


@torch.no_grad()
def match_mean(generator: Generator, z: Tensor, target: Tensor) -> None:
    """Shift the mean of a projected generator's eigenfaces until its mean image is `target`.

    Both means are compared at the eigenfaces' resolution. `z` is the noise to measure with.
    """
    generator.eval()
    mean, side = generator.eigenfaces.mean, generator.eigenfaces.side
    target = F.adaptive_avg_pool2d(target, side)
    for _ in range(MEAN_STEPS):
        total = torch.zeros_like(target)
        slope = torch.zeros_like(target)  # of tanh
        for chunk in z.split(BATCH_SIZE):
            images = generator(chunk).double()
            total += F.adaptive_avg_pool2d(images, side).sum(0)
            slope += F.adaptive_avg_pool2d(1 - images.square(), side).sum(0)
        difference = (target - total / len(z)) / (slope / len(z))
        print(f"mean image: {127.5 * (target - total / len(z)).abs().mean():.3f} gray levels off")
        mean += difference.flatten().to(mean)


def main() -> None:
    """Parse the arguments, calibrate, and print the next command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", default="latest")
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--match-mean", type=Path, metavar="DATASET")
    arguments = parser.parse_args()
    try:
        calibrate_checkpoint(
            arguments.run,
            arguments.out,
            checkpoint=arguments.checkpoint,
            images=arguments.images,
            photos=arguments.match_mean,
        )
    except CatganError as error:
        sys.exit(f"error: {error}")
    print(f"next: catgan evaluate {shell_words(arguments.out)}")


if __name__ == "__main__":
    main()
