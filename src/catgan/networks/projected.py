"""The projected family: a light generator, and a discriminator of a frozen network's features.

After Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021; `docs/projected.md` tells what
was changed, and why. Pixels are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catgan.networks.convolution import convolve
from catgan.networks.projection import CHANNELS, Projection
from catgan.networks.shapes import COARSEST_SIDE, TwoPartGenerator, stage_channels

PIXEL_RANGE = (-1.0, 1.0)
SLOPE = 0.2  # of LeakyReLU
FINEST_CHANNELS = 16  # of the only map at full resolution
GAIN_DEVIATION = 0.5  # of the gains, across z, before training
CONTRAST = 0.4  # of the images, before training
WEIGHT_DEVIATION = 0.03  # before training; their size only says how fast Adam turns them
ACTIVATED = (2 / (1 + SLOPE**2)) ** 0.5  # undoes what LeakyReLU takes from a map's size
HALF = 0.5**0.5  # of the variance, where two maps are summed
HEAD_CHANNELS = 256  # of a head's coarser maps


class Generator(TwoPartGenerator):
    """(B, latent_size) noise -> (B, 3, resolution, resolution) images, black at -1, white at 1.

    The noise, taken to the sphere of radius sqrt(latent_size), makes the 4 x 4 map and is a gain on
    every channel of every later layer, so that it has a short path to each scale. There is no
    normalisation of maps; weights of fixed length keep their size (Karras et al., "Analyzing and
    Improving the Training Dynamics of Diffusion Models", CVPR 2024).
    """

    def __init__(
        self, resolution: int, latent_size: int, channels: int, maximum_channels: int
    ) -> None:
        super().__init__()
        widths = stage_channels(resolution, channels, maximum_channels)[::-1]
        self.coarsest = _Weights(latent_size, widths[0] * COARSEST_SIDE**2)
        self.blocks = nn.ModuleList(
            _UpBlock(coarse, fine, latent_size, shuffle=fine == widths[-1])
            for coarse, fine in pairwise(widths)
        )
        self.gain = _Gain(latent_size, widths[-1])
        self.to_finest = _Weights(widths[-1], 4 * FINEST_CHANNELS, 3)
        self.to_rgb = _ToRGB(FINEST_CHANNELS)
        _start_without_grid(self.to_finest)

    def map(self, z: Tensor) -> Tensor:
        """The noise on its sphere."""
        return z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)

    def synthesise(self, style: Tensor) -> Tensor:
        """Draw one image for each row of `style`, noise on its sphere or, truncated, inside it."""
        z = style
        x = self.coarsest(z[:, :, None, None])
        x = x.view(z.shape[0], COARSEST_SIDE, COARSEST_SIDE, -1).permute(0, 3, 1, 2)
        for block in self.blocks:
            x = block(x, z)
        # The finest map is made by a pixel shuffle, as one at full resolution with all its
        # convolutions would cost more than the rest. Its grid, which the frozen network hardly
        # sees, does not pass the smooth convolution behind it.
        x = pixel_shuffle(self.to_finest(_activate(self.gain(x, z)), ACTIVATED))
        return self.to_rgb(_activate(x))


class _Weights(nn.Module):
    """A convolution whose weights toward each output have length one, times a factor at each call.

    So what comes out is as large as what went in, however the weights move.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(WEIGHT_DEVIATION * torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        length = self.weight.square().sum((1, 2, 3), keepdim=True).sqrt() + 1e-8
        weight = self.weight * (factor / length)
        return convolve(x, weight, self.bias, 1, weight.shape[-1] // 2)


class _ToRGB(nn.Module):
    """A 3 x 3 convolution to colours that lets no grid of single pixels through.

    Its kernel is a smaller one averaged over squares of 2 x 2.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(CONTRAST * (36 * inputs) ** -0.5 * torch.randn(3, inputs, 2, 2))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        weight = F.pad(self.weight, (1, 1, 1, 1))
        weight = weight[:, :, 1:] + weight[:, :, :-1]
        weight = weight[:, :, :, 1:] + weight[:, :, :, :-1]
        return convolve(x, weight, self.bias, 1, 1)


class _UpBlock(nn.Module):
    """Double the side: two convolutions, each after a gain of z and LeakyReLU, beside a skip.

    With `shuffle` the first convolution makes four times the channels on the coarse side, to be
    spread over the fine one: as many sums, but in the shape that a processor is fast at.
    """

    def __init__(self, inputs: int, outputs: int, latent_size: int, *, shuffle: bool) -> None:
        super().__init__()
        self.shuffle = shuffle
        self.first_gain, self.second_gain = _Gain(latent_size, inputs), _Gain(latent_size, outputs)
        self.first = _Weights(inputs, 4 * outputs if shuffle else outputs, 3)
        self.second = _Weights(outputs, outputs, 3)
        self.skip = _Weights(inputs, outputs)
        if shuffle:
            _start_without_grid(self.first)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        y = _activate(self.first_gain(x, z))
        if self.shuffle:
            y = pixel_shuffle(self.first(y, ACTIVATED))
        else:
            y = self.first(F.interpolate(y, scale_factor=2), ACTIVATED)
        y = self.second(_activate(self.second_gain(y, z)), ACTIVATED * HALF)
        return y + F.interpolate(self.skip(x, HALF), scale_factor=2)


class _Gain(nn.Module):
    """Multiply each channel of a map by one plus a linear function of z."""

    def __init__(self, latent_size: int, channels: int) -> None:
        super().__init__()
        deviation = GAIN_DEVIATION * latent_size**-0.5
        self.weight = nn.Parameter(deviation * torch.randn(channels, latent_size))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        gain = 1 + F.linear(z, self.weight)
        return x * gain[:, :, None, None].to(x.dtype)


class Discriminator(nn.Module):
    """Four small networks, each judging one of the four projected maps."""

    def __init__(self, feature_resolution: int, reals: Tensor, precision: torch.dtype) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            _Head(channels, feature_resolution // stride)
            for channels, stride in zip(CHANNELS, (4, 8, 16, 32), strict=True)
        )
        self.apply(_initialise)
        self.projection = Projection(feature_resolution, reals, precision)

    def features(self, images: Tensor) -> list[Tensor]:
        """The projected features of (B, 3, H, W) images in [-1, 1], which nothing here trains."""
        return self.projection(images)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Four logits for each image, (B, 4), high for real."""
        return torch.cat([head(x) for head, x in zip(self.heads, features, strict=True)], 1)


class _Head(nn.Module):
    """(B, channels, side, side) -> (B, 1): squares of 2 x 2 merged into one until 4 x 4 are left.

    Merging squares that do not overlap is a matrix product and nothing else, forward, backward and
    twice backward; the frozen network has already looked far around each place.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.merges = nn.ModuleList()
        while side > COARSEST_SIDE:
            wider = min(2 * channels, HEAD_CHANNELS)
            self.merges.append(nn.Linear(4 * channels, wider))
            channels, side = wider, side // 2
        self.whole = nn.Linear(channels * side**2, HEAD_CHANNELS)
        self.logit = nn.Linear(HEAD_CHANNELS, 1, bias=False)  # a level would cancel in the loss

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        for merge in self.merges:
            batch, height, width, channels = x.shape
            x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(2, 3)
            x = _activate(merge(x.reshape(batch, height // 2, width // 2, 4 * channels)))
        return self.logit(_activate(self.whole(x.flatten(1))))


def pixel_shuffle(x: Tensor) -> Tensor:
    """(B, 4 C, H, W) -> (B, C, 2 H, 2 W): `F.pixel_shuffle` in the order of channels-last memory.

    Channels are taken as (row, column, C), so that pieces of C numbers stay together.
    """
    batch, channels, height, width = x.shape
    x = x.permute(0, 2, 3, 1).reshape(batch, height, width, 2, 2, channels // 4)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, channels // 4)
    return x.permute(0, 3, 1, 2)


def _start_without_grid(convolution: _Weights) -> None:
    """Make the four places of each pixel shuffle start alike, so that no grid is to be unlearnt.

    (Aitken et al., "Checkerboard artifact free sub-pixel convolution", 2017.)
    """
    weight = convolution.weight.data
    weight.copy_(weight[: len(weight) // 4].repeat(4, 1, 1, 1))


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


def _initialise(module: nn.Module) -> None:
    """He's start for LeakyReLU, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
