"""The settings of the networks, `[network]` in a configuration: a frozen dataclass per family.

`network.family` chooses the dataclass, and a family has no other settings than its own.
`networks/build.py` builds the networks.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

from catgan.errors import CatganError, check_range, quoted

RESOLUTIONS = (32, 64, 128, 256)
SEEN_SIDE = 64  # of images in which the axis of a face is looked for, `mirrored_eye`
FEATURE_RESOLUTIONS = (128, 256)  # halved repeatedly they stay even, down to 4


@dataclass(frozen=True)
class BaseNetworkConfig:
    """Shapes of the generator and the discriminator."""

    family: str = field(init=False)  # of both networks; each family has settings of its own
    resolution: int = 64  # side of the square images in pixels
    latent_size: int = 100  # of the noise vector z
    channels: int = 128  # of the finest feature maps; doubles with every halving of the side ...
    maximum_channels: int = 1024  # ... up to this many

    def __post_init__(self) -> None:
        if self.resolution not in RESOLUTIONS:
            nearest = min(RESOLUTIONS, key=lambda r: abs(math.log(r / max(self.resolution, 1))))
            raise CatganError(
                f"invalid network.resolution = {quoted(self.resolution)}: expected one of "
                f"{', '.join(map(str, RESOLUTIONS))}; try {nearest}"
            )
        check_range("network.latent_size", self.latent_size, 1, 4096)
        check_range("network.channels", self.channels, 1, 4096)
        check_range("network.maximum_channels", self.maximum_channels, self.channels, 8192)

    @property
    def transfer_settings(self) -> tuple[str, ...]:
        """Settings that a run that starts from trained weights of these networks may change."""
        return ()

    def doubled(self) -> NetworkConfig | None:
        """Return the networks of twice the resolution that can start from these weights, if any."""
        return None


@dataclass(frozen=True)
class DcganConfig(BaseNetworkConfig):
    """The DCGAN family, `networks/dcgan.py`."""

    family: Literal["dcgan"] = field(default="dcgan", init=False)
    dropout: float = 0.0  # after each discriminator stage

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("network.dropout", self.dropout, 0.0, 0.9)


@dataclass(frozen=True)
class LsganConfig(BaseNetworkConfig):
    """The least-squares GAN family, `networks/lsgan.py`."""

    family: Literal["lsgan"] = field(default="lsgan", init=False)


@dataclass(frozen=True)
class ProjectedConfig(BaseNetworkConfig):
    """The projected family, `networks/projected/`."""

    family: Literal["projected"] = field(default="projected", init=False)
    feature_resolution: int = 128  # input side of the frozen backbone
    # The discriminator also compares the two eyes, enlarged; for faces aligned as in AFHQ or by
    # `catgan prepare --faces`.
    eye_heads: bool = False
    # Stages on top of a generator of resolution / 2 ** refinements; each doubles the side with half
    # the channels. Training from a source of half the side adds one.
    refinements: int = 0
    # Width of the layers that correct which coefficients of eigenfaces occur together. 0, none, in
    # training: `tools/calibrate_checkpoint.py` adds them to a trained generator.
    coefficient_correction: int = 0
    # The right eye of a finished image becomes the mirror image of the left one. False in training:
    # `tools/calibrate_checkpoint.py` adds it to a trained generator.
    mirrored_eye: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("network.coefficient_correction", self.coefficient_correction, 0, 1024)
        check_range("network.latent_size of the projected family", self.latent_size, 2, 4096)
        if self.feature_resolution not in FEATURE_RESOLUTIONS:
            raise CatganError(
                f"invalid network.feature_resolution = {quoted(self.feature_resolution)}: expected "
                f"one of {', '.join(map(str, FEATURE_RESOLUTIONS))}"
            )
        if self.feature_resolution > 4 * self.resolution:
            raise CatganError(
                f"network.feature_resolution = {self.feature_resolution} is more than four times "
                f"network.resolution = {self.resolution}: set it to {4 * self.resolution} or less"
            )
        doublings = int(math.log2(self.resolution / min(RESOLUTIONS)))
        if not 0 <= self.refinements <= doublings:
            raise CatganError(
                f"invalid network.refinements = {quoted(self.refinements)} for "
                f"network.resolution = {self.resolution}: expected from 0 to {doublings}"
            )
        if self.mirrored_eye and self.resolution < SEEN_SIDE:
            raise CatganError(
                f"network.mirrored_eye needs {SEEN_SIDE} px or more, and network.resolution is "
                f"{self.resolution}: leave it out"
            )

    @property
    def transfer_settings(self) -> tuple[str, ...]:
        """Settings that a run that starts from trained weights of these networks may change."""
        return ("feature_resolution", "eye_heads")

    def doubled(self) -> ProjectedConfig | None:
        """Return the networks of twice the resolution that can start from these weights, if any."""
        twice = 2 * self.resolution
        if twice not in RESOLUTIONS:
            return None
        return dataclasses.replace(self, resolution=twice, refinements=self.refinements + 1)


NetworkConfig = DcganConfig | LsganConfig | ProjectedConfig
