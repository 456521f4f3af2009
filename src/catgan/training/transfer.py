"""Starting from existing weights: how far the photos are from the source, and what to do.

The evidence for the numbers is in docs/guides/transfer.md.
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

SAMPLES = 128  # of the source, and photos at most, for the distance
MIN_PHOTOS_FOR_DISTANCE = 5
# Kernel distances (KD-lite2) of photos to samples of the bundled generator, 2026-11-30: 0.005 of
# its own training photos, 0.030 of amateur photos of other cats, 0.158 of dogs.
FAR = 0.1
MIN_PHOTOS = 30
MANY_PHOTOS = 1_000  # from here on no early stopping
IMAGES_FOR_MANY = 65_536
PATIENCE = 8_192  # images
FREEZE_IMAGES = 256  # of the generator, if its discriminator comes with it

OnProgress = Callable[[str, int, int], None]


def distance_to_source(
    starting: StartingPoint, dataset: Dataset, device: torch.device, on_progress: OnProgress
) -> float | None:
    """Return the kernel distance, on lite2 features, between photos and samples of the source.

    It is unbiased, so it needs no particular number of either. Photos of higher resolution than the
    source are reduced to its resolution, since fine details weigh most in it. None for fewer than
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
        return sampler(seeds, lambda done: on_progress("sampling", done, len(seeds)))

    def progress(stage: str, done: int, total: int) -> None:
        on_progress("measuring", done, total)

    extractor = load_extractor("lite2")
    generated = extract_features(generated_images("source", sample, SAMPLES), extractor)
    images = dataset_images(dataset, count=count)
    if dataset.resolution > starting.network.resolution:
        images = _reduced(images, dataset.resolution // starting.network.resolution)
    photos = cached_features(images, extractor, progress=progress)
    return squared_mmd(generated.vectors, photos.vectors)


def _reduced(images: ImageSet, ratio: int) -> ImageSet:
    """Return the images with the means of `ratio` x `ratio` pixels."""

    def read(numbers: np.ndarray) -> np.ndarray:
        pixels = images.read(numbers)
        count, height, width, colors = pixels.shape
        blocks = pixels.reshape(count, height // ratio, ratio, width // ratio, ratio, colors)
        return blocks.mean((2, 4)).round().astype(np.uint8)

    return dataclasses.replace(images, read=read, selection=None)


def fit_to_photos(config: Config, photos: int) -> Config:
    """Return the recipe `config` adjusted to the number of training photos."""
    if photos < MANY_PHOTOS:
        training = dataclasses.replace(config.training, early_stopping_images=PATIENCE)
    else:
        training = dataclasses.replace(config.training, images=IMAGES_FOR_MANY)
    return dataclasses.replace(config, training=training)


def fit_to_discriminator(config: Config) -> Config:
    """Return the recipe `config` adjusted to a discriminator that comes with the generator."""
    optimizer = dataclasses.replace(config.optimizer, generator_freeze_images=FREEZE_IMAGES)
    return dataclasses.replace(config, optimizer=optimizer)


def describe_choice(config: Config, photos: int, *, may_stop: bool) -> str:
    """Return what a run on this many photos will do, and why.

    `may_stop`: whether there are scores by which it could end early.
    """
    training = config.training
    text = f"{photos:,} photos: "
    if photos < MIN_PHOTOS:
        text += (
            f"fewer than {MIN_PHOTOS}, so expect cats in the style of these few rather than new "
            "ones; more photos help more than more time; "
        )
    if not (training.early_stopping_images and may_stop):
        return f"{text}{training.images:,} images"
    return (
        f"{text}at most {training.images:,} images, fewer if samples come no nearer to held-out "
        f"photos for {training.early_stopping_images:,}, as a discriminator soon overfits to few"
    )


def describe_distance(distance: float, name: str) -> str:
    """Return what a distance from `distance_to_source` means for a run that starts from `name`."""
    text = (
        f"distance of your photos to samples of {name}: KD-lite2 {distance:.3f} (for the "
        "bundled generator, its own photos have 0.005, other cats 0.03, dogs 0.16)"
    )
    if distance > FAR:
        text += "; that is far, so training takes long, and traces of the source may remain"
    return text
