"""Projected features: the features of a frozen ImageNet network, mixed at random.

Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021. Discriminators on the features of a
pretrained network learn much faster than discriminators on pixels. Random mixing, across channels
and then across scales, keeps them from attending only to the few most informative channels. Here
each mixed channel is also normalized to mean 0 and standard deviation 1 over real images, so that
the four scales have equal weight and a gradient penalty means the same on each.
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
# Pixels of a pass on a CPU. Forward and backward, 32 images at 256 px took 35.0 ms an image in one
# pass and 30.3 in four, whose maps stay in the cache; at 128 px, smaller ones only cost more calls
# (Xeon with AMX, bfloat16, one thread, 2026-11-30; `benchmarks/chunks.py`).
MAX_PIXELS = 32 * 128**2
# Where eyes are in aligned faces, in sixteenths of the side: two square windows side by side, their
# top at 5, their left edges at 3 and 8, 5 wide (AFHQ, and `catgan prepare --faces`, which follows).
EYES_TOP, EYES_LEFT, EYE_SIDE = 5, 3, 5
EYE_PIXELS = 128  # side to which a window is enlarged
EYE_SCALES = (1, 2, 3)  # of STRIDES; the finest maps would show texture that is upsampled
_CHUNK = 32  # real images per pass when the statistics are computed
# Lower limit of a channel's std over real images, relative to the largest one. Divided by its own
# std, a channel that hardly varies would be mostly rounding errors.
_MIN_RELATIVE_STD = 1e-3


class Projection(nn.Module):
    """Map images N x 3 x side x side in [-1, 1] to four feature maps of `CHANNELS`, finest first.

    `reals` (some hundreds of images in [-1, 1]) give the statistics; without them, the statistics
    must be loaded. Images of another size are first resized to `side`. All are then blurred
    slightly, since the network halves the side in its first layer without a filter, which aliases
    lines of three pixels' period to lines of six. Everything is frozen and kept in `precision`.
    Checkpoints save the mixing weights, not the pretrained ones.
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
        """Return the four maps, of sides `side` / 4, / 8, / 16 and / 32."""
        return self._maps(images, self.side)

    def eyes(self, images: Tensor) -> list[Tensor]:
        """Return maps of both eyes, enlarged, for each of `EYE_SCALES`.

        Half of the channels show the left eye, half the mirrored right one, so that every position
        of a map shows the same place of the two. Sides are `EYE_PIXELS` / stride.
        Statistics are those of whole images, so over real eyes these maps are not quite standard.
        """
        top, left, side = (images.shape[-1] * n // 16 for n in (EYES_TOP, EYES_LEFT, EYE_SIDE))
        band = images[:, :, top : top + side]
        windows = torch.cat(
            [band[..., left : left + side], band[..., left + side : left + 2 * side].flip(3)]
        )
        windows = F.interpolate(windows, size=(EYE_PIXELS, EYE_PIXELS), mode="bicubic")
        maps = self._maps(windows, EYE_PIXELS)
        return [torch.cat(maps[scale].chunk(2), 1) for scale in EYE_SCALES]

    def _maps(self, images: Tensor, side: int) -> list[Tensor]:
        on_cpu = images.device.type == "cpu"
        chunks = images.split(max(MAX_PIXELS // side**2, 1)) if on_cpu else [images]
        maps = [self._mix(self._backbone_features(chunk, side)) for chunk in chunks]
        if len(maps) == 1:
            return maps[0]
        return [torch.cat(scale) for scale in zip(*maps, strict=True)]

    def _backbone_features(self, images: Tensor, side: int) -> list[Tensor]:
        if images.shape[-1] != side:
            images = F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)
        with torch.autocast(images.device.type, enabled=False):
            images = images.float().contiguous(memory_format=torch.channels_last)
            images = smooth((images + 1) / 2).to(self.network.stem.weight.dtype)
            return self.network.features(images)

    def _mix(self, features: list[Tensor]) -> list[Tensor]:
        with torch.autocast(features[0].device.type, enabled=False):
            maps: list[Tensor] = []  # coarsest first, as information flows down to the finest
            for scale in reversed(range(len(features))):
                x = self.across_channels[scale](features[scale])
                if maps:
                    x = x + F.interpolate(maps[-1], scale_factor=2, mode="bilinear")
                maps.append(self.across_scales[scale](x))
            return maps[::-1]

    @torch.no_grad()
    def _standardize(self, reals: Tensor) -> None:
        """Scale and shift every mixing convolution so that its outputs have mean 0 and std 1."""
        chunks = [self._backbone_features(chunk, self.side) for chunk in reals.split(_CHUNK)]
        features = [torch.cat(maps).float() for maps in zip(*chunks, strict=True)]
        coarser: Tensor | None = None
        for scale in reversed(range(len(features))):
            _standardize(self.across_channels[scale], features[scale])
            x = self.across_channels[scale](features[scale])
            if coarser is not None:
                x = x + F.interpolate(coarser, scale_factor=2, mode="bilinear")
            _standardize(self.across_scales[scale], x)
            coarser = self.across_scales[scale](x)


def _standardize(convolution: nn.Module, inputs: Tensor) -> None:
    """Give the outputs of `convolution` on `inputs` mean 0 and std 1 in every channel."""
    outputs = convolution(inputs)
    std, mean = torch.std_mean(outputs.double(), dim=(0, 2, 3))
    std = std.clamp_min(float(std.max()) * _MIN_RELATIVE_STD or 1.0)
    convolution.get_buffer("weight").div_(std.float()[:, None, None, None])
    convolution.get_buffer("bias").copy_(-(mean / std).float())
