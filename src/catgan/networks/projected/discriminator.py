"""The discriminator of the projected family: four heads on a frozen network's features.

After Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021. Pixels are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from catgan.networks.base import COARSEST_SIDE, BaseDiscriminator
from catgan.networks.layers.convolution import Convolution
from catgan.networks.projected.frequencies import Colors, Frequencies
from catgan.networks.projected.projection import CHANNELS, STRIDES, Projection

LEAKY_RELU_SLOPE = 0.2
HEAD_CHANNELS = 128  # of the maps inside a head


class Discriminator(BaseDiscriminator):
    """Four small networks ("heads"), one for each of the four projected maps.

    The finest head also receives the images' own finest frequencies, the coarsest one their colors.
    """

    def __init__(
        self,
        resolution: int,
        feature_resolution: int,
        reals: Tensor | None,
        precision: torch.dtype,
    ) -> None:
        super().__init__()
        sides = [feature_resolution // stride for stride in STRIDES]
        block = resolution // sides[0]  # pixels per position of the finest map
        channels = (CHANNELS[0] + 3 * block**2, *CHANNELS[1:-1], CHANNELS[-1] + 3 * 4**2)
        self.heads = nn.ModuleList(_Head(*sizes) for sizes in zip(channels, sides, strict=True))
        self.projection = Projection(feature_resolution, reals, precision)
        self.frequencies = Frequencies(block, reals)
        self.colors = Colors(sides[-1], reals)

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the frozen features of images (B, 3, H, W) in [-1, 1], one map per head."""
        return self.with_pixels(self.projection(images), images)

    def with_pixels(self, projected: list[Tensor], images: Tensor) -> list[Tensor]:
        """Return `features` of `images`, given their `projection` features."""
        finest, *between, coarsest = projected
        finest = torch.cat([finest, self.frequencies(images).to(finest.dtype)], 1)
        coarsest = torch.cat([coarsest, self.colors(images).to(finest.dtype)], 1)
        return [finest, *between, coarsest.contiguous(memory_format=torch.channels_last)]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return 4 x 4 logits of each of the four heads, (B, 4, 16), high for real."""
        return torch.stack([head(x) for head, x in zip(self.heads, features, strict=True)], 1)


class _Head(nn.Module):
    """Map (B, channels, side, side) to (B, 16): one logit for each of 4 x 4 positions.

    No normalization: batch normalization would make one image's logits depend on the others, and
    spectral normalization is not needed beside the gradient penalties.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while side > COARSEST_SIDE:
            wider = min(2 * channels, HEAD_CHANNELS)
            layers += [
                Convolution(channels, wider, 4, stride=2, padding=1),
                nn.LeakyReLU(LEAKY_RELU_SLOPE),
            ]
            channels, side = wider, side // 2
        layers += [Convolution(channels, channels, 3, padding=1), nn.LeakyReLU(LEAKY_RELU_SLOPE)]
        layers += [Convolution(channels, 1, 1, bias=False)]  # no bias: it would cancel in the loss
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten(1)
