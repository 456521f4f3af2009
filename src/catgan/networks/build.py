"""From a configuration to a pair of networks: the one place that knows every family.

A discriminator has two halves: `features(images)` is what it looks at, which no training changes,
and calling it on these features gives its judgment. One look at a batch so serves both players.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from catgan.config import NetworkConfig
from catgan.networks import dcgan, lsgan, projected
from catgan.networks.base import BaseGenerator

FAMILIES = {"dcgan": dcgan, "lsgan": lsgan, "projected": projected}


def build_generator(config: NetworkConfig, reals: Iterable[Tensor] | None = None) -> BaseGenerator:
    """A freshly initialized generator: (B, latent_size) -> (B, 3, resolution, resolution).

    One of the projected family takes from `reals`, portions of real images in its pixel range, what
    it begins with; not needed where weights will be loaded.
    """
    sizes = config.resolution, config.latent_size, config.channels, config.maximum_channels
    if config.family == "projected":
        generator = projected.Generator(*sizes, config.refinements)
        if reals is not None:
            generator.eigenfaces.learn(reals)
        return generator
    return FAMILIES[config.family].Generator(*sizes)


def build_discriminator(
    config: NetworkConfig, reals: Callable[[], Tensor] | None, precision: torch.dtype
) -> nn.Module:
    """A freshly initialized discriminator: features of B images -> (B, judgments of each).

    `reals` and `precision` serve the frozen part of a projected one, and no other family: its
    statistics are taken from what `reals` gives (some hundreds of images in the family's pixel
    range), and its weights kept in `precision`. `reals` is not needed where weights will be loaded.
    """
    if config.family == "projected":
        return projected.Discriminator(
            config.resolution, config.feature_resolution, reals and reals(), precision
        )
    if config.family == "dcgan":
        return dcgan.Discriminator(
            config.resolution, config.channels, config.maximum_channels, config.dropout
        )
    return lsgan.Discriminator(config.resolution, config.channels, config.maximum_channels)


def pixel_range(config: NetworkConfig) -> tuple[float, float]:
    """The values that black and white have for this family."""
    return FAMILIES[config.family].PIXEL_RANGE
