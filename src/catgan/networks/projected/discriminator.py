"""The discriminator of the projected family: small heads on a frozen network's features.

After Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021. Pixels are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from catgan.networks.base import COARSEST_SIDE, BaseDiscriminator
from catgan.networks.layers.convolution import Convolution
from catgan.networks.projected.frequencies import Colors, Frequencies
from catgan.networks.projected.projection import (
    CHANNELS,
    EYE_PIXELS,
    EYE_SCALES,
    STRIDES,
    Projection,
)

LEAKY_RELU_SLOPE = 0.2
HEAD_CHANNELS = 128  # of the maps inside a head


class Discriminator(BaseDiscriminator):
    """Four small networks ("heads"), one for each of the four projected maps of an image.

    The finest head also receives the images' own finest frequencies, the coarsest one their colors.
    With `eye_heads`, three more heads see the eyes of aligned faces, enlarged, the left one beside
    the mirrored right one: at the size of the whole image, eyes are a few positions of a map.
    """

    def __init__(
        self,
        resolution: int,
        feature_resolution: int,
        reals: Tensor | None,
        precision: torch.dtype,
        eye_heads: bool = False,
    ) -> None:
        super().__init__()
        sides = [feature_resolution // stride for stride in STRIDES]
        block = resolution // sides[0]  # pixels per position of the finest map
        channels = (CHANNELS[0] + 3 * block**2, *CHANNELS[1:-1], CHANNELS[-1] + 3 * 4**2)
        self.heads = nn.ModuleList(_Head(*sizes) for sizes in zip(channels, sides, strict=True))
        self.projection = Projection(feature_resolution, reals, precision)
        self.frequencies = Frequencies(block, reals)
        self.colors = Colors(sides[-1], reals)
        # Last, so that all other layers get the same random weights as without them.
        self.eye_heads = nn.ModuleList(
            _Head(2 * CHANNELS[scale], EYE_PIXELS // STRIDES[scale], HEAD_CHANNELS)
            for scale in (EYE_SCALES if eye_heads else ())
        )

    @property
    def projected_shapes(self) -> list[tuple[int, int, int]]:
        """Return height, width and channels of each map of `projected`."""
        sides = [self.projection.side // stride for stride in STRIDES]
        shapes = [(side, side, width) for side, width in zip(sides, CHANNELS, strict=True)]
        if self.eye_heads:
            eye_sides = {scale: EYE_PIXELS // STRIDES[scale] for scale in EYE_SCALES}
            shapes += [(side, side, 2 * CHANNELS[scale]) for scale, side in eye_sides.items()]
        return shapes

    def features(self, images: Tensor) -> list[Tensor]:
        """Return the frozen features of images (B, 3, H, W) in [-1, 1], one map per head."""
        return self.with_pixels(self.projected(images), images)

    def projected(self, images: Tensor) -> list[Tensor]:
        """Return the part of `features` that needs the frozen network, one map per head."""
        eyes = self.projection.eyes(images) if self.eye_heads else []
        return [*self.projection(images), *eyes]

    def with_pixels(self, projected: list[Tensor], images: Tensor) -> list[Tensor]:
        """Return `features` of `images`, given their `projected` maps."""
        (finest, *between, coarsest), eyes = projected[: len(STRIDES)], projected[len(STRIDES) :]
        finest = torch.cat([finest, self.frequencies(images).to(finest.dtype)], 1)
        coarsest = torch.cat([coarsest, self.colors(images).to(finest.dtype)], 1)
        coarsest = coarsest.contiguous(memory_format=torch.channels_last)
        return [finest, *between, coarsest, *eyes]

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return 4 x 4 logits of each of the K = 4 or 7 heads, (B, K, 16), high for real."""
        heads = [*self.heads, *self.eye_heads]
        return torch.stack([head(x) for head, x in zip(heads, features, strict=True)], 1)


class _Head(nn.Module):
    """Map (B, channels, side, side) to (B, 16): one logit for each of 4 x 4 positions.

    No normalization: batch normalization would make one image's logits depend on the others, and
    spectral normalization is not needed beside the gradient penalties. The last map has `inner`
    channels, by default as many as the one before it.
    """

    def __init__(self, channels: int, side: int, inner: int | None = None) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        while side > COARSEST_SIDE:
            wider = min(2 * channels, HEAD_CHANNELS)
            layers += [
                Convolution(channels, wider, 4, stride=2, padding=1),
                nn.LeakyReLU(LEAKY_RELU_SLOPE),
            ]
            channels, side = wider, side // 2
        inner = inner or channels
        layers += [Convolution(channels, inner, 3, padding=1), nn.LeakyReLU(LEAKY_RELU_SLOPE)]
        layers += [Convolution(inner, 1, 1, bias=False)]  # no bias: it would cancel in the loss
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).flatten(1)
