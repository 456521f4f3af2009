"""Projected features: what a frozen ImageNet network sees in an image, mixed at random.

Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021. Discriminators in the features of a
pretrained network learn much faster than discriminators of pixels; random mixing, across channels
and then across scales, keeps them from attending to only the few most telling channels. Here each
mixed channel is also brought to mean 0 and deviation 1 over real images, so that the four scales
weigh alike and a gradient penalty means the same on each.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catgan.networks.efficientnet_lite import LITE0, load
from catgan.networks.layers.filters import smooth
from catgan.networks.layers.frozen import SameConv2d, freeze

STRIDES = (4, 8, 16, 32)
CHANNELS = (32, 64, 128, 256)  # of the projected maps at these strides
_CHUNK = 32  # real images looked at together when the statistics are taken
# A channel that hardly varies over the real images counts as varying by this share of the liveliest
# one: divided by its own deviation, rounding errors would outweigh all that images differ in.
_MIN_RELATIVE_STD = 1e-3


class Projection(nn.Module):
    """Images N x 3 x side x side in [-1, 1] to four maps of `CHANNELS`, finest first.

    `reals` (some hundreds of images in [-1, 1]) give the statistics; without them, those are to be
    loaded. Images of another size are first resized to `side`; then all are blurred a little, since
    the network halves their side in its first layer without a filter, and takes lines of three
    pixels' period for lines of six. Everything is frozen and kept in `precision`; the mixing
    weights are part of the state that checkpoints save, the pretrained ones are not.
    """

    def __init__(self, side: int, reals: Tensor | None, precision: torch.dtype) -> None:
        super().__init__()
        self.side, self.precision = side, precision
        self.network = load(LITE0).to(precision).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        widths = (*CHANNELS[1:], 2 * CHANNELS[-1])
        self.across_channels = nn.ModuleList(
            SameConv2d(inputs, outputs, 1)
            for inputs, outputs in zip(self.network.feature_channels, widths, strict=True)
        )
        self.across_scales = nn.ModuleList(
            SameConv2d(inputs, outputs, 3) for inputs, outputs in zip(widths, CHANNELS, strict=True)
        )
        for convolution in (*self.across_channels, *self.across_scales):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")
            nn.init.zeros_(convolution.bias)
        freeze(self.across_channels, saved=True)
        freeze(self.across_scales, saved=True)
        if reals is not None:
            self._standardize(reals)
        self.across_channels.to(precision)
        self.across_scales.to(precision)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The four maps, of sides `side` / 4, / 8, / 16 and / 32."""
        return self._mixed(self._seen(images))

    def _seen(self, images: Tensor) -> list[Tensor]:
        if images.shape[-1] != self.side:
            images = F.interpolate(
                images, size=(self.side, self.side), mode="bilinear", antialias=True
            )
        with torch.autocast(images.device.type, enabled=False):
            images = images.float().contiguous(memory_format=torch.channels_last)
            images = smooth((images + 1) / 2).to(self.network.stem.weight.dtype)
            return self.network.features(images)

    def _mixed(self, seen: list[Tensor]) -> list[Tensor]:
        with torch.autocast(seen[0].device.type, enabled=False):
            maps: list[Tensor] = []  # coarsest first, as information flows down to the finest
            for level in reversed(range(len(seen))):
                x = self.across_channels[level](seen[level])
                if maps:
                    x = x + F.interpolate(maps[-1], scale_factor=2, mode="bilinear")
                maps.append(self.across_scales[level](x))
            return maps[::-1]

    @torch.no_grad()
    def _standardize(self, reals: Tensor) -> None:
        """Scale and shift every mixing convolution so that its outputs have mean 0, deviation 1."""
        chunks = [self._seen(chunk) for chunk in reals.split(_CHUNK)]
        seen = [torch.cat(maps).float() for maps in zip(*chunks, strict=True)]
        above: Tensor | None = None
        for level in reversed(range(len(seen))):
            _standardize(self.across_channels[level], seen[level])
            x = self.across_channels[level](seen[level])
            if above is not None:
                x = x + F.interpolate(above, scale_factor=2, mode="bilinear")
            _standardize(self.across_scales[level], x)
            above = self.across_scales[level](x)


def _standardize(convolution: nn.Module, inputs: Tensor) -> None:
    """Give the outputs of `convolution` on `inputs` mean 0 and deviation 1 in every channel."""
    outputs = convolution(inputs)
    std, mean = torch.std_mean(outputs.double(), dim=(0, 2, 3))
    std = std.clamp_min(float(std.max()) * _MIN_RELATIVE_STD or 1.0)
    convolution.get_buffer("weight").div_(std.float()[:, None, None, None])
    convolution.get_buffer("bias").copy_(-(mean / std).float())
