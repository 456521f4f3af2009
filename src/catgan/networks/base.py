"""The interface that every family of networks implements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

COARSEST_SIDE = 4


def stage_channels(resolution: int, channels: int, maximum_channels: int) -> list[int]:
    """Return the channels of the feature maps from side `resolution / 2` to 4, finest first."""
    stages = (resolution // COARSEST_SIDE).bit_length() - 1
    return [min(channels * 2**stage, maximum_channels) for stage in range(stages)]


class BaseGenerator(nn.Module):
    """A generator in two steps, `map` and `synthesize`; truncation acts on the style between them.

    Truncation pulls the style, the output of `map`, toward its mean over z. It trades variety for
    quality (Brock et al., ICLR 2019; Karras et al., CVPR 2019). A family whose first layer cancels
    a change of length, such as one that normalizes z, puts that layer into `map`.
    """

    def map(self, z: Tensor) -> Tensor:
        """Map noise (B, latent_size) to the style (B, style_size); by default z itself."""
        return z

    def first_maps(self, style: Tensor) -> Tensor:
        """Map the style (B, style_size) to the first feature maps (B, channels, 4, 4).

        They hold everything that the style contributes to them, before any nonlinearity.
        """
        raise NotImplementedError

    def low_res_base(self, style: Tensor) -> Tensor:
        """Map the style (B, style_size) to what decides the overall look of the image, (B, ...)."""
        return self.first_maps(style)

    def synthesize(self, style: Tensor) -> Tensor:
        """Map the style (B, style_size) to images (B, 3, resolution, resolution)."""
        raise NotImplementedError

    def adapt_to(self, reals: Iterable[Tensor]) -> None:
        """Adapt fixed statistics to batches of real images; by default nothing."""

    def calibrate(self, z: Tensor) -> None:
        """Measure statistics of the generator's own images, from noise (N, latent_size).

        For averaged weights, which no training step has used. By default nothing.
        """

    def forward(self, z: Tensor) -> Tensor:
        """Generate one image for each row of `z`."""
        return self.synthesize(self.map(z))


class BaseDiscriminator(nn.Module):
    """A discriminator in two steps: `features`, which no training changes, then the logits.

    One pass of `features` per batch so serves the updates of both networks.
    """

    def features(self, images: Tensor) -> list[Tensor]:
        """Map images (B, 3, H, W) to what the logits are of; by default themselves."""
        return [images]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map `features` to logits (B, K[, P]), high for real images."""
        raise NotImplementedError
