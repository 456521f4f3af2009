"""Starting from existing weights with the photos at hand: how far they are off, and what to do.

What the numbers rest on is in docs/guides/transfer.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from catgan.config import Config
from catgan.data.dataset.dataset import Dataset
from catgan.evaluation.extractors.registry import load_extractor
from catgan.evaluation.features import cached_features, extract_features
from catgan.evaluation.image_sets import ImageSet, dataset_images, generated_images
from catgan.evaluation.metrics.kernel import squared_mmd
from catgan.networks.build import build_generator
from catgan.runs.sampler import Sampler
from catgan.training.starting_point import StartingPoint

SAMPLES = 128  # of the source, and at most as many photos, between which the distance is taken
MIN_PHOTOS_FOR_DISTANCE = 5
# Kernel distances (KD-lite2) of photos to what the bundled generator draws, 2026-11-25: 0.006 of
# its own training photos, 0.034 of amateur photos of other cats, 0.160 of dogs.
FAR = 0.1
MIN_PHOTOS = 30
MANY_PHOTOS = 1_000  # from which on a run goes on to its end
IMAGES_FOR_MANY = 65_536
PATIENCE = 8_192  # images
FREEZE_IMAGES = 256  # of the generator, where the discriminator knows what it draws already

OnProgress = Callable[[str, int, int], None]


def distance_to_source(
    starting: StartingPoint, dataset: Dataset, device: torch.device, on_progress: OnProgress
) -> float | None:
    """Return the kernel distance, in features of lite2, of photos to what the source draws.

    It needs no particular number of either, being unbiased. Photos of more pixels than the source
    draws are reduced to as many, as fine details weigh most in it. None for fewer than
    `MIN_PHOTOS_FOR_DISTANCE` training photos.
    """
    count = min(len(dataset.indices("train")), SAMPLES)
    if count < MIN_PHOTOS_FOR_DISTANCE:
        return None
    generator = build_generator(starting.network)
    generator.load_state_dict(starting.generator)
    generator = generator.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    sampler = Sampler(generator, starting.network, device)

    def sample(seeds: np.ndarray) -> np.ndarray:
        return sampler(seeds, lambda done: on_progress("drawing", done, len(seeds)))

    def measuring(stage: str, done: int, total: int) -> None:
        on_progress("measuring", done, total)

    extractor = load_extractor("lite2")
    procedural = extract_features(generated_images("source", sample, SAMPLES), extractor)
    images = dataset_images(dataset, count=count)
    if dataset.resolution > starting.network.resolution:
        images = _reduced(images, dataset.resolution // starting.network.resolution)
    photos = cached_features(images, extractor, progress=measuring)
    return squared_mmd(procedural.vectors, photos.vectors)


def _reduced(images: ImageSet, ratio: int) -> ImageSet:
    """Return the images with the means of `ratio` x `ratio` pixels."""

    def read(numbers: np.ndarray) -> np.ndarray:
        pixels = images.read(numbers)
        count, height, width, colors = pixels.shape
        blocks = pixels.reshape(count, height // ratio, ratio, width // ratio, ratio, colors)
        return blocks.mean((2, 4)).round().astype(np.uint8)

    return dataclasses.replace(images, read=read, selection=None)


def fit_to_photos(config: Config, photos: int) -> Config:
    """Return the recipe `config` as it suits so many training photos."""
    if photos < MANY_PHOTOS:
        training = dataclasses.replace(config.training, early_stopping_images=PATIENCE)
    else:
        training = dataclasses.replace(config.training, images=IMAGES_FOR_MANY)
    return dataclasses.replace(config, training=training)


def fit_to_discriminator(config: Config) -> Config:
    """Return the recipe `config` as it suits a discriminator that comes with the generator."""
    optimizer = dataclasses.replace(config.optimizer, generator_freeze_images=FREEZE_IMAGES)
    return dataclasses.replace(config, optimizer=optimizer)


def describe_choice(config: Config, photos: int, *, may_stop: bool) -> str:
    """Return what a run on so many photos will do, and why.

    `may_stop`: whether there are scores by which it could end early.
    """
    training = config.training
    said = f"{photos:,} photos: "
    if photos < MIN_PHOTOS:
        said += (
            f"fewer than {MIN_PHOTOS}, so expect cats in the style of these few rather than new "
            "ones; more photos help more than more time; "
        )
    if not (training.early_stopping_images and may_stop):
        return f"{said}{training.images:,} images"
    return (
        f"{said}at most {training.images:,} images, fewer if samples come no nearer to held-out "
        f"photos for {training.early_stopping_images:,}, as a discriminator soon overfits to few"
    )


def describe_distance(distance: float, name: str) -> str:
    """Return what a distance from `distance_to_source` means for who starts from `name`."""
    said = (
        f"distance of your photos to what {name} draws: KD-lite2 {distance:.3f} (from the "
        "package's generator, its own photos have 0.01, other cats 0.03, dogs 0.16)"
    )
    if distance > FAR:
        said += "; that is far, so it takes long, and something of what it knew may stay"
    return said
