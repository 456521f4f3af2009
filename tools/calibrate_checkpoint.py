"""Copy a checkpoint and calibrate its generator over more images.

    python tools/calibrate_checkpoint.py RUN OUT [--checkpoint latest] [--images 16384]
        [--first-map 1.08] [--dataset DATASET [--width 256] [--mirrored-eye]]

In inference, the generator decorrelates the coefficients of its strongest eigenfaces
(`Generator.calibrate`). Training measures their mean and covariance over 1,024 images at each
checkpoint, to save time; a generator to be published deserves more. --first-map multiplies what the
noise contributes to the first map: above 1, images vary more. With a DATASET, the one that
the run was trained on, a small network also learns to correct which coefficients occur together
(`networks/projected/correction.py`), in some minutes. With --mirrored-eye the right eye of every
image becomes the mirrored left one (`networks/projected/mirrored_eye.py`). OUT becomes a run with
this one checkpoint, to be evaluated and embedded.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from catgan.config import to_toml
from catgan.data.dataset.dataset import Dataset
from catgan.errors import CatganError, shell_words
from catgan.networks.projected import PIXEL_RANGE, Generator
from catgan.networks.projected.correction import Correction
from catgan.networks.projected.mirrored_eye import MirroredEye
from catgan.runs.directory import RunDirectory
from catgan.runs.sampler import CALIBRATION_SEEDS, restored_sampler

_CHUNK = 256  # photos in memory at once


def calibrate_checkpoint(
    run: Path,
    out: Path,
    *,
    checkpoint: str,
    images: int,
    dataset: Path | None = None,
    width: int = 256,
    first_map: float = 1.0,
    mirrored_eye: bool = False,
) -> None:
    """Write `out`, a copy of the run with one checkpoint, calibrated over `images` images.

    What the noise contributes to the first map is multiplied by `first_map` before. With a
    `dataset`, layers of `width` numbers learn to correct the coefficients, and with `mirrored_eye`
    others learn to find the axes of faces.

    Raises:
        CatganError: `run` is not a run, or not of the projected family, `out` exists, `dataset` is
            not the one that the run was trained on, or is missing for a `mirrored_eye`.
    """
    if mirrored_eye and dataset is None:
        raise CatganError("--mirrored-eye: learns from photos: add --dataset")
    if out.exists():
        raise CatganError(f"{out}: exists: name a new directory")
    source = RunDirectory.open(run)
    loaded = source.checkpoints.load(checkpoint, print)
    sampler, config = restored_sampler(loaded, torch.device("cpu"))
    generator = sampler.generator
    if not isinstance(generator, Generator):
        raise CatganError(f"{run}: only generators of the projected family are calibrated")
    photos = Dataset.open(dataset) if dataset is not None else None
    if photos is not None and photos.identity != source.facts()["dataset"]["identity"]:
        raise CatganError(f"{dataset}: not what {run} was trained on: name that dataset")
    with torch.no_grad():
        for weight in (generator.z_projection.weight, generator.gain.weight):
            weight.mul_(first_map)
    first = CALIBRATION_SEEDS.start
    z = torch.from_numpy(sampler.latents(range(first, first + images)))
    generator.calibrate(z)
    if photos is not None:
        network = dataclasses.replace(
            config.network,
            coefficient_correction=width,
            mirrored_eye=mirrored_eye or config.network.mirrored_eye,
        )
        config = dataclasses.replace(config, network=network)
        loaded.config.update(dataclasses.asdict(config))
        faces = generator.eigenfaces
        faces.correction = Correction(faces.count, width)
        generator.learn_correction(
            z, _training_images(photos), functools.partial(_show, "the correction")
        )
        learned = faces.correction.state_dict(prefix="eigenfaces.correction.")
        if mirrored_eye:
            generator.mirrored_eye = MirroredEye(config.network.resolution)
            generator.mirrored_eye.finder.learn(
                _training_images(photos), on_progress=functools.partial(_show, "axes of faces")
            )
            learned |= generator.mirrored_eye.state_dict(prefix="mirrored_eye.")
        loaded.tensors["generator"].update(learned)
    loaded.tensors["ema"] = generator.state_dict()
    shutil.copytree(run, out, ignore=shutil.ignore_patterns("checkpoints", "evaluation", "*.lock"))
    calibrated = RunDirectory.open(out)
    calibrated.write(out / "config.toml", to_toml(config).encode())
    calibrated.checkpoints.save(loaded.images, loaded.config, loaded.window, loaded.tensors, keep=1)


def _training_images(dataset: Dataset) -> Iterator[Tensor]:
    low, high = PIXEL_RANGE
    indices = dataset.indices("train")
    for first in range(0, len(indices), _CHUNK):
        pixels = torch.from_numpy(dataset.images[indices[first : first + _CHUNK]])
        yield low + pixels.permute(0, 3, 1, 2).float() * ((high - low) / 255)


def _show(what: str, done: int, total: int) -> None:
    print(
        f"\rlearning {what}: {done} of {total}",
        end="\n" if done == total else "",
        flush=True,
    )


def main() -> None:
    """Parse the arguments, calibrate, and print the next command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", default="latest")
    parser.add_argument("--images", type=int, default=16_384)
    parser.add_argument("--first-map", type=float, default=1.0, help="strength of its noise")
    parser.add_argument("--dataset", type=Path, help="learn the correction from its photos")
    parser.add_argument("--mirrored-eye", action="store_true", help="the left eye, mirrored")
    parser.add_argument("--width", type=int, default=256, help="of the layers that correct")
    arguments = parser.parse_args()
    try:
        calibrate_checkpoint(
            arguments.run,
            arguments.out,
            checkpoint=arguments.checkpoint,
            images=arguments.images,
            dataset=arguments.dataset,
            width=arguments.width,
            first_map=arguments.first_map,
            mirrored_eye=arguments.mirrored_eye,
        )
    except CatganError as error:
        sys.exit(f"error: {error}")
    print(f"next: catgan evaluate {shell_words(arguments.out)}")


if __name__ == "__main__":
    main()
