"""Copy a checkpoint and calibrate its generator over more images.

    python tools/calibrate_checkpoint.py RUN OUT [--checkpoint latest] [--images 16384]

In inference, the generator decorrelates the coefficients of its strongest eigenfaces
(`Generator.calibrate`). Training measures their mean and covariance over 1,024 images at each
checkpoint, to save time; a generator to be published deserves more. OUT becomes a run with this one
checkpoint, to be evaluated and embedded.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch

from catgan.errors import CatganError, shell_words
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import CALIBRATION_SEEDS, restored_sampler


def calibrate_checkpoint(run: Path, out: Path, *, checkpoint: str, images: int) -> None:
    """Write `out`, a copy of the run with one checkpoint, calibrated over `images` images.

    Raises:
        CatganError: `run` is not a run, or `out` exists.
    """
    if out.exists():
        raise CatganError(f"{out}: exists: name a new directory")
    source = RunDirectory.open(run)
    loaded = source.checkpoints.load(checkpoint, print)
    sampler, _ = restored_sampler(loaded, torch.device("cpu"))
    seeds = range(CALIBRATION_SEEDS.start, CALIBRATION_SEEDS.start + images)
    sampler.generator.calibrate(torch.from_numpy(sampler.latents(seeds)))
    loaded.tensors["ema"] = sampler.generator.state_dict()
    shutil.copytree(run, out, ignore=shutil.ignore_patterns("checkpoints", "evaluation", "*.lock"))
    calibrated = RunDirectory.open(out)
    calibrated.checkpoints.save(loaded.images, loaded.config, loaded.window, loaded.tensors, keep=1)


def main() -> None:
    """Parse the arguments, calibrate, and print the next command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", default="latest")
    parser.add_argument("--images", type=int, default=16_384)
    arguments = parser.parse_args()
    try:
        calibrate_checkpoint(
            arguments.run,
            arguments.out,
            checkpoint=arguments.checkpoint,
            images=arguments.images,
        )
    except CatganError as error:
        sys.exit(f"error: {error}")
    print(f"next: catgan evaluate {shell_words(arguments.out)}")


if __name__ == "__main__":
    main()
