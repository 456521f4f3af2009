"""The networks before the first step: random weights, and statistics of real images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from catgan.config import Config
from catgan.networks.base import BaseDiscriminator, BaseGenerator
from catgan.networks.build import build_discriminator, build_generator
from catgan.training.starting_point import EYE_HEADS, StartingPoint
from catgan.training.streams import Stream, stream_seed

STATISTICS_IMAGES = 256  # for the statistics of a projected discriminator
EIGENFACE_IMAGES = 4_096  # for the eigenfaces of a projected generator
_CHUNK = 256  # images in memory at once

Images = Callable[[int, int], Tensor]  # (first, count) -> real images in the networks' pixel range
OnProgress = Callable[[str, int, int], None]  # (task, done, total)


def initial_networks(
    config: Config,
    device: torch.device,
    precision: torch.dtype,
    images: Images | None,
    count: int,
    on_progress: OnProgress,
    starting: StartingPoint | None = None,
) -> tuple[BaseGenerator, BaseDiscriminator]:
    """Build a generator and a discriminator on `device`, a pure function of seed and images.

    `images` returns any of the `count` training images, in an order set by the seed; each network
    requests each image at most once. Without it no image is read: for weights that will be loaded.
    `precision` is the type of the discriminator's frozen part. With a `starting` point the weights
    are its own, and the images only adapt the eigenfaces. If it has half the resolution, the
    generator's new layers and the discriminator are initialized anew.
    """
    torch.manual_seed(stream_seed(config.training.seed, Stream.INITIALIZATION, 0))
    network = config.network
    if images is None:
        generator = build_generator(network)
        discriminator = build_discriminator(network, None, precision)
    elif starting is not None:
        generator, discriminator = _from_starting_point(
            config, precision, images, count, on_progress, starting
        )
    else:
        reals = _chunks(images, min(EIGENFACE_IMAGES, count), on_progress)
        generator = build_generator(network, reals)
        discriminator = _new_discriminator(config, precision, images, count, on_progress)
    # The memory layout that networks/layers/convolution.py expects.
    return (
        generator.to(device).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        discriminator.to(device).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
    )


def _from_starting_point(
    config: Config,
    precision: torch.dtype,
    images: Images,
    count: int,
    on_progress: OnProgress,
    starting: StartingPoint,
) -> tuple[BaseGenerator, BaseDiscriminator]:
    generator = build_generator(config.network)
    generator.load_state_dict(generator.state_dict() | starting.generator)
    reals = _chunks(images, min(EIGENFACE_IMAGES, count), on_progress)
    generator.adapt_to(reals)
    discriminator_state = starting.discriminator_for(config.network)
    if discriminator_state is None:
        return generator, _new_discriminator(config, precision, images, count, on_progress)
    discriminator = build_discriminator(config.network, None, precision)
    # Eye heads that the source lacks stay as initialized; those that the run lacks are left out.
    own = {n: x for n, x in discriminator.state_dict().items() if n.startswith(EYE_HEADS)}
    rest = {n: x for n, x in discriminator_state.items() if not n.startswith(EYE_HEADS)}
    discriminator.load_state_dict(rest | {n: discriminator_state.get(n, x) for n, x in own.items()})
    return generator, discriminator


def _new_discriminator(
    config: Config,
    precision: torch.dtype,
    images: Images,
    count: int,
    on_progress: OnProgress,
) -> BaseDiscriminator:
    load_reals = functools.partial(
        _first_images, images, min(STATISTICS_IMAGES, count), on_progress
    )
    return build_discriminator(config.network, load_reals, precision)


def _chunks(images: Images, count: int, on_progress: OnProgress) -> Iterator[Tensor]:
    for first in range(0, count, _CHUNK):
        yield images(first, min(_CHUNK, count - first)).cpu()
        on_progress("computing eigenfaces", min(first + _CHUNK, count), count)


def _first_images(images: Images, count: int, on_progress: OnProgress) -> Tensor:
    on_progress("standardizing features", count, count)
    return images(0, count).cpu()
