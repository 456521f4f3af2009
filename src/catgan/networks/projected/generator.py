"""The generator of the projected family, light enough for a processor.

After Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021; what was
changed, and why, is in `docs/concepts/projected-gan.md`. Pixels are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catgan.networks.base import COARSEST_SIDE, BaseGenerator, stage_channels
from catgan.networks.layers.convolution import Convolution, EnlargingConvolution
from catgan.networks.layers.filters import enlarging_matrix, filtered_pixel_shuffle, smooth
from catgan.networks.projected.eigenfaces import Eigenfaces

PIXEL_RANGE = (-1.0, 1.0)
SLOPE = 0.2  # of LeakyReLU
SHARE_OF_Z = 0.6  # of the coarsest map, before training, beside a constant of deviation 1
# Along either axis; nothing of the finest grid passes, and three quarters of lines twice as wide.
GRID_FILTER = (-1 / 16, 4 / 16, 10 / 16, 4 / 16, -1 / 16)
NOISE_MAPS = 16  # for each side, mixed by z
NOISE_STRENGTH = 0.1  # deviation of its share in the channels before training, either sign
CALIBRATION_BATCH = 64  # images that `calibrate` holds at once
MIN_REFINEMENT_CHANNELS = 2  # of a refinement's map


class Generator(BaseGenerator):
    """(B, latent_size) noise -> (B, 3, resolution, resolution) images in (-1, 1).

    All images begin with one learnt 4 x 4 map, so what is common to aligned faces, where the head
    is and where the background, is learnt at once and not for each noise anew (Karras et al., "A
    Style-Based Generator Architecture", CVPR 2019). The noise, taken to the sphere of radius
    sqrt(latent_size), is added to that map, and is a gain on every channel of every later one.
    Layout, colors and light are eigenfaces', which need no training; what the layers make are the
    details on them. Fur and background are made of irregular maps, which never change; without them
    it weaves them of whatever its convolutions repeat. With `refinements` it is the generator of
    resolution / 2 ** refinements, and so many stages on top of it.
    """

    def __init__(
        self,
        resolution: int,
        latent_size: int,
        channels: int,
        maximum_channels: int,
        refinements: int = 0,
    ) -> None:
        super().__init__()
        base = resolution // 2**refinements
        widths = stage_channels(base, channels, maximum_channels)[::-1]
        shape = (widths[0], COARSEST_SIDE, COARSEST_SIDE)
        self.constant = nn.Parameter(torch.randn(1, *shape))
        self.gain = _Gain(latent_size, widths[0])
        self.z_projection = nn.Linear(latent_size, self.constant.numel(), bias=False)
        nn.init.normal_(self.z_projection.weight, 0.0, SHARE_OF_Z * latent_size**-0.5)
        self.unflatten = nn.Unflatten(1, shape)
        self.blocks = nn.ModuleList(
            _UpBlock(low_res, fine, latent_size, COARSEST_SIDE * 2**stage)
            for stage, (low_res, fine) in enumerate(pairwise(widths), start=1)
        )
        self.to_rgb = Convolution(widths[-1], 4 * 3, 3, padding=1)
        self.eigenfaces = Eigenfaces(resolution, latent_size, refinements)
        # Last, so that what is before them begins with the same random weights as without them.
        finer = [
            max(widths[-1] // 2**stage, MIN_REFINEMENT_CHANNELS)
            for stage in range(1, refinements + 1)
        ]
        self.refinements = nn.ModuleList(
            _Refinement(inputs, outputs, latent_size, base * 2**stage)
            for stage, (inputs, outputs) in enumerate(pairwise([widths[-1], *finer]))
        )

    def map(self, z: Tensor) -> Tensor:
        """The noise on its sphere."""
        return z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)

    def first_maps(self, style: Tensor) -> Tensor:
        """The learnt map, each channel with its gain, and what the noise adds to it."""
        if torch.compiler.is_exporting():  # affine in style: as one matrix it is a smaller file
            constant = self.constant.flatten(2)[0, :, :, None]
            weight = (constant * self.gain.weight[:, None]).flatten(0, 1) + self.z_projection.weight
            bias = (constant[..., 0] * self.gain.bias[:, None]).flatten()
            return self.unflatten(F.linear(style, weight, bias))
        return self.gain(self.constant, style) + self.unflatten(self.z_projection(style))

    def synthesize(self, style: Tensor) -> Tensor:
        """Draw one image for each row of `style`, noise on its sphere or, truncated, inside it."""
        low_res = self.eigenfaces.low_res(style)
        x = self.first_maps(style)
        x = F.leaky_relu(x.contiguous(memory_format=torch.channels_last), SLOPE)
        for block in self.blocks:
            x = block(x, style, low_res)
        details = _shuffled(self.to_rgb(x))
        for refinement in self.refinements:
            x, details = refinement(x, details, style, low_res)
        with torch.autocast(details.device.type, enabled=False):
            return self.eigenfaces(style.float(), details)

    def adapt_to(self, reals: Iterable[Tensor]) -> None:
        """Move the eigenfaces' statistics toward those of real images in [-1, 1]."""
        self.eigenfaces.adapt(reals)

    @torch.no_grad()
    def calibrate(self, z: Tensor) -> None:
        """Find how the strongest eigenfaces' amounts are correlated, which drawing takes away."""
        coefficients: list[Tensor] = []
        training, norm = self.training, self.eigenfaces.norm
        hook = norm.register_forward_hook(lambda *call: coefficients.append(call[-1][:, :, 0, 0]))
        self.eval()
        for part in z.split(CALIBRATION_BATCH):
            self(part)
        self.train(training)
        hook.remove()
        self.eigenfaces.decorrelate(torch.cat(coefficients))

    def low_res_base(self, style: Tensor) -> Tensor:
        """The eigenfaces' coarse images, before tanh."""
        return self.eigenfaces.low_res(style)


def _shuffled(phases: Tensor) -> Tensor:
    """(B, 4 * 3, side, side) -> (B, 3, 2 side, 2 side) details, in float32.

    The finest map is made by a pixel shuffle, as one at full resolution with its own convolutions
    would cost more than the rest; its grid does not pass the filter. In float32, as bfloat16 has
    coarser steps than bytes near black and white.
    """
    with torch.autocast(phases.device.type, enabled=False):
        return filtered_pixel_shuffle(phases.float(), GRID_FILTER)


class _Refinement(nn.Module):
    """Double the side of details: enlarge them, and add what one block more makes.

    The details are a skip connection past the block (Karras et al., "Analyzing and Improving the
    Image Quality of StyleGAN", CVPR 2020). The block's layer of colors begins as zeros: before the
    first step the details are those of half the side, enlarged.
    """

    enlarging: Tensor

    def __init__(self, inputs: int, outputs: int, latent_size: int, side: int) -> None:
        super().__init__()
        self.block = _UpBlock(inputs, outputs, latent_size, side)
        self.to_rgb = Convolution(outputs, 4 * 3, 3, padding=1, bias=False)
        nn.init.zeros_(self.to_rgb.weight)
        enlarging = enlarging_matrix(side, 2 * side).float().contiguous()
        self.register_buffer("enlarging", enlarging, persistent=False)

    def forward(
        self, x: Tensor, details: Tensor, style: Tensor, low_res: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, inputs, side / 2, side / 2) and (B, 3, side, side) -> each with twice the side."""
        x = self.block(x, style, low_res)
        finer = _shuffled(self.to_rgb(x))
        with torch.autocast(details.device.type, enabled=False):
            return x, self.enlarging @ details @ self.enlarging.T + finer


class _UpBlock(nn.Module):
    """Double the side: a smooth convolution, batch normalization, noise, a gain, and LeakyReLU.

    Each is also shown the coarse image that its details will be drawn on.
    """

    def __init__(self, inputs: int, outputs: int, latent_size: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.convolution = EnlargingConvolution(inputs, outputs)
        self.norm = nn.BatchNorm2d(outputs)
        self.noise = _Noise(latent_size, outputs, side)
        self.coarse_rgb_conv = Convolution(3, outputs, 3, padding=1, bias=False)
        nn.init.normal_(self.coarse_rgb_conv.weight, 0.0, 1 / 3)
        self.gain = _Gain(latent_size, outputs)

    def forward(self, x: Tensor, z: Tensor, low_res: Tensor) -> Tensor:
        # Smoothed, what repeats pixels is bilinear interpolation before the convolution.
        x = self.norm(smooth(self.convolution(x)))
        x = self.noise(x, z) + self.coarse_rgb_conv(self._resized(low_res))
        return F.leaky_relu(self.gain(x, z), SLOPE)

    def _resized(self, images: Tensor) -> Tensor:
        if (smaller := images.shape[-1] // self.side) > 0:
            return F.avg_pool2d(images, smaller)
        return F.interpolate(images, size=(self.side, self.side), mode="bilinear")


class _Gain(nn.Module):
    """Multiply each channel by a linear function of z, of mean and deviation 1 at the start."""

    def __init__(self, latent_size: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(latent_size**-0.5 * torch.randn(channels, latent_size))
        self.bias = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        gain = F.linear(z, self.weight, self.bias)
        return x * gain[:, :, None, None].to(x.dtype)


class _Noise(nn.Module):
    """Add one irregular map, of mean 0 and deviation 1, to each channel in a learnt strength.

    A style-based generator draws such noise anew for each image (Karras et al., CVPR 2019). Here
    each image has its own mixture of a few maps that never change, given by the direction of z, so
    that a latent remains an image, in whatever the generator is exported to.
    """

    maps: Tensor
    mixing: Tensor

    def __init__(self, latent_size: int, channels: int, side: int) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(side)
        self.register_buffer("maps", torch.randn(NOISE_MAPS, side**2, generator=draws))
        self.register_buffer("mixing", torch.randn(NOISE_MAPS, latent_size, generator=draws))
        self.strength = nn.Parameter(NOISE_STRENGTH * torch.randn(channels, 1, 1))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        shares = F.linear(z, self.mixing)
        shares = shares * torch.rsqrt(shares.square().sum(1, keepdim=True) + 1e-8)
        noise = (shares @ self.maps).unflatten(1, (1, *x.shape[2:]))
        if torch.compiler.is_exporting():
            return x + noise * self.strength
        # A matrix product of rank one, which makes no map of the products and gives the
        # strength's gradient in one pass.
        rows = x.permute(0, 2, 3, 1)
        added = torch.addmm(rows.flatten(0, 2), noise.reshape(-1, 1), self.strength.view(1, -1))
        return added.view(rows.shape).permute(0, 3, 1, 2)
