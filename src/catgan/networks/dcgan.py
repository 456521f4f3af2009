"""The DCGAN family (Radford et al., ICLR 2016), in the form of a Keras project for AFHQ cats.

Generator: noise -> transposed convolutions, batch normalization, LeakyReLU -> sigmoid, pixels in
[0, 1]. Discriminator: convolutions, LeakyReLU, dropout -> one logit, high for real.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from catgan.networks.base import BaseDiscriminator, BaseGenerator, stage_channels
from catgan.networks.layers.convolution import Convolution, TransposedConvolution
from catgan.networks.layers.dropout import Dropout
from catgan.networks.layers.initialization import initialize

PIXEL_RANGE = (0.0, 1.0)
LEAKY_RELU_SLOPE = 0.2  # as in the paper


class Generator(BaseGenerator):
    """Map noise (B, latent_size) to images (B, 3, resolution, resolution) in [0, 1]."""

    def __init__(
        self, resolution: int, latent_size: int, channels: int, maximum_channels: int
    ) -> None:
        super().__init__()
        widths = stage_channels(resolution, channels, maximum_channels)[::-1]
        layers: list[nn.Module] = [
            TransposedConvolution(latent_size, widths[0], 4, 1, 0, bias=False)
        ]
        for coarse, fine in pairwise(widths):
            layers += [nn.BatchNorm2d(coarse), nn.LeakyReLU(LEAKY_RELU_SLOPE, inplace=True)]
            layers += [TransposedConvolution(coarse, fine, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(widths[-1]), nn.LeakyReLU(LEAKY_RELU_SLOPE, inplace=True)]
        layers += [TransposedConvolution(widths[-1], 3, 4, 2, 1), nn.Sigmoid()]
        self.layers = nn.Sequential(*layers)
        self.apply(initialize)

    def first_maps(self, style: Tensor) -> Tensor:
        """Return the noise as 4 x 4 maps."""
        return self.layers[0](style[:, :, None, None])

    def synthesize(self, style: Tensor) -> Tensor:
        """Generate one image for each row of `style`, which is the noise itself."""
        return self.layers[1:](self.first_maps(style))


class Discriminator(BaseDiscriminator):
    """Map images (B, 3, resolution, resolution) in [0, 1] to logits (B, 1), high for real."""

    def __init__(
        self, resolution: int, channels: int, maximum_channels: int, dropout: float
    ) -> None:
        super().__init__()
        widths = [3, *stage_channels(resolution, channels, maximum_channels)]
        layers: list[nn.Module] = []
        for fine, coarse in pairwise(widths):
            layers += [
                Convolution(fine, coarse, 4, 2, 1),
                nn.LeakyReLU(LEAKY_RELU_SLOPE, inplace=True),
            ]
            layers += [Dropout(dropout)]
        layers += [Convolution(widths[-1], 1, 4, 1, 0)]
        self.layers = nn.Sequential(*layers)
        self.apply(initialize)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the logit of each image, (B, 1)."""
        return self.layers(features[0]).flatten(1)
