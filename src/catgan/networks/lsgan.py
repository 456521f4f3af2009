"""The least-squares GAN family (Mao et al., ICCV 2017), in the form of a PyTorch project for cats.

Discriminator: 4 x 4 stride-2 convolutions with batch normalization and LeakyReLU 0.2, then a
convolution to one scalar map. Generator: its mirror, noise -> transposed convolutions, batch
normalization, ReLU -> tanh, pixels in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from catgan.networks.base import BaseDiscriminator, BaseGenerator, stage_channels
from catgan.networks.layers.convolution import Convolution, TransposedConvolution
from catgan.networks.layers.initialization import initialize

PIXEL_RANGE = (-1.0, 1.0)


class Generator(BaseGenerator):
    """Map noise (B, latent_size) to images (B, 3, resolution, resolution) in [-1, 1]."""

    def __init__(
        self, resolution: int, latent_size: int, channels: int, maximum_channels: int
    ) -> None:
        super().__init__()
        widths = stage_channels(resolution, channels, maximum_channels)[::-1]
        layers: list[nn.Module] = [
            TransposedConvolution(latent_size, widths[0], 4, 1, 0, bias=False)
        ]
        for coarse, fine in pairwise(widths):
            layers += [nn.BatchNorm2d(coarse), nn.ReLU(inplace=True)]
            layers += [TransposedConvolution(coarse, fine, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(inplace=True)]
        layers += [TransposedConvolution(widths[-1], 3, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(initialize)

    def first_maps(self, style: Tensor) -> Tensor:
        """Return the noise as 4 x 4 maps."""
        return self.layers[0](style[:, :, None, None])

    def synthesize(self, style: Tensor) -> Tensor:
        """Generate one image for each row of `style`, which is the noise itself."""
        return self.layers[1:](self.first_maps(style))


class Discriminator(BaseDiscriminator):
    """Map images (B, 3, resolution, resolution) in [-1, 1] to scores (B, 1), high for real."""

    def __init__(self, resolution: int, channels: int, maximum_channels: int) -> None:
        super().__init__()
        widths = stage_channels(resolution, channels, maximum_channels)
        layers: list[nn.Module] = []
        # No batch normalization next to the image, as DCGAN advises: it hides the contrast, and the
        # generator learns more slowly (docs/research/trials.md).
        layers += [Convolution(3, widths[0], 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for fine, coarse in pairwise(widths):
            layers += [Convolution(fine, coarse, 4, 2, 1, bias=False)]
            layers += [nn.BatchNorm2d(coarse), nn.LeakyReLU(0.2, inplace=True)]
        to_score = Convolution(widths[-1], 1, 4, 1, 0)
        self.layers = nn.Sequential(*layers, to_score)
        self.apply(initialize)
        # The last layer sums 16,384 numbers: with N(0, 0.02) the initial scores would lie several
        # times further apart than the targets 0 and 1, and the generator would learn from noise.
        nn.init.normal_(to_score.weight, 0.0, (16 * widths[-1]) ** -0.5)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the score of each image, (B, 1)."""
        return self.layers(features[0]).flatten(1)
