"""What every family of networks implements."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

COARSEST_SIDE = 4


def stage_channels(resolution: int, channels: int, maximum_channels: int) -> list[int]:
    """Channels of the feature maps from side `resolution / 2` down to 4, finest first."""
    stages = (resolution // COARSEST_SIDE).bit_length() - 1
    return [min(channels * 2**stage, maximum_channels) for stage in range(stages)]


class BaseGenerator(nn.Module):
    """A generator as `map`, then `synthesize`, with the place between them where truncation acts.

    Truncation pulls what `map` returns, the style, toward its mean over z, and so trades variety
    for quality (Brock et al., ICLR 2019; Karras et al., CVPR 2019). A family whose first layer
    undoes a change of length, as one that normalizes z does, has that layer in `map`.
    """

    def map(self, z: Tensor) -> Tensor:
        """(B, latent_size) noise -> (B, style_size) style; here z itself."""
        return z

    def first_maps(self, style: Tensor) -> Tensor:
        """(B, style_size) style -> (B, channels, 4, 4) maps that the image begins with.

        All that the style does to them is in them, before any nonlinearity.
        """
        raise NotImplementedError

    def low_res_base(self, style: Tensor) -> Tensor:
        """(B, style_size) style -> (B, ...): what decides how the image will look."""
        return self.first_maps(style)

    def synthesize(self, style: Tensor) -> Tensor:
        """(B, style_size) style -> (B, 3, resolution, resolution) images."""
        raise NotImplementedError

    def adapt_to(self, reals: Iterable[Tensor]) -> None:
        """Take from batches of real images what the weights then go on with; here nothing."""

    def calibrate(self, z: Tensor) -> None:
        """Measure what it needs to know of its own images, of (N, latent_size) noise; here nothing.

        For weights that were averaged: no step of training was taken with them.
        """

    def forward(self, z: Tensor) -> Tensor:
        """Draw one image for each row of `z`."""
        return self.synthesize(self.map(z))
