"""From a configuration to a pair of networks: the one place that knows every family."""

from __future__ import annotations

from torch import nn

from catgan.config import NetworkConfig
from catgan.networks import dcgan, lsgan


def build_generator(config: NetworkConfig) -> nn.Module:
    """A freshly initialised generator: (B, latent_size) -> (B, 3, resolution, resolution)."""
    family = {"dcgan": dcgan, "lsgan": lsgan}[config.family]
    return family.Generator(
        config.resolution, config.latent_size, config.channels, config.maximum_channels
    )


def build_discriminator(config: NetworkConfig) -> nn.Module:
    """A freshly initialised discriminator: (B, 3, resolution, resolution) -> (B, 1, 1, 1)."""
    if config.family == "dcgan":
        return dcgan.Discriminator(
            config.resolution, config.channels, config.maximum_channels, config.dropout
        )
    return lsgan.Discriminator(config.resolution, config.channels, config.maximum_channels)


def pixel_range(config: NetworkConfig) -> tuple[float, float]:
    """The values that black and white have for this family."""
    return {"dcgan": dcgan, "lsgan": lsgan}[config.family].PIXEL_RANGE
