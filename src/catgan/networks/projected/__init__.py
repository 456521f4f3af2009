"""The projected family (Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021)."""

from catgan.networks.projected.discriminator import Discriminator
from catgan.networks.projected.generator import PIXEL_RANGE, Generator

__all__ = ["PIXEL_RANGE", "Discriminator", "Generator"]
