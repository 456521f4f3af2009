"""Build a pair of networks from a configuration: the one module that knows every family.

A discriminator has two parts: `features(images)`, which is frozen, and the forward pass from those
features to logits. So both players can share one pass of the frozen part for each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from catgan.network_config import DcganConfig, LsganConfig, NetworkConfig, ProjectedConfig
from catgan.networks import dcgan, lsgan, projected
from catgan.networks.base import BaseDiscriminator, BaseGenerator


def build_generator(config: NetworkConfig, reals: Iterable[Tensor] | None = None) -> BaseGenerator:
    """Return a freshly initialized generator: (B, latent_size) -> (B, 3, resolution, resolution).

    The projected family learns its eigenfaces from `reals`, batches of real images in its pixel
    range. They are not needed where weights will be loaded.
    """
    sizes = config.resolution, config.latent_size, config.channels, config.maximum_channels
    match config:
        case DcganConfig():
            return dcgan.Generator(*sizes)
        case LsganConfig():
            return lsgan.Generator(*sizes)
        case ProjectedConfig():
            generator = projected.Generator(
                *sizes, config.refinements, config.coefficient_correction, config.mirrored_eye
            )
            if reals is not None:
                generator.eigenfaces.learn(reals)
            return generator


def build_discriminator(
    config: NetworkConfig, reals: Callable[[], Tensor] | None, precision: torch.dtype
) -> BaseDiscriminator:
    """Return a freshly initialized discriminator: features of B images -> logits (B, ...).

    Only the projected family uses `reals` and `precision`. `reals` returns some hundreds of images
    in the family's pixel range, from which the statistics of the frozen part are computed; it is
    not needed where weights will be loaded. `precision` is the type of the frozen weights.
    """
    sizes = config.resolution, config.channels, config.maximum_channels
    match config:
        case DcganConfig():
            return dcgan.Discriminator(*sizes, config.dropout)
        case LsganConfig():
            return lsgan.Discriminator(*sizes)
        case ProjectedConfig():
            return projected.Discriminator(
                config.resolution,
                config.feature_resolution,
                reals and reals(),
                precision,
                config.eye_heads,
            )


def pixel_range(config: NetworkConfig) -> tuple[float, float]:
    """Return the values of black and white for this family."""
    match config:
        case DcganConfig():
            return dcgan.PIXEL_RANGE
        case LsganConfig():
            return lsgan.PIXEL_RANGE
        case ProjectedConfig():
            return projected.PIXEL_RANGE
