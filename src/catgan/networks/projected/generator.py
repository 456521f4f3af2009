"""The generator of the projected family, light enough for a CPU.

After Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021;
`docs/concepts/projected-gan.md` describes the changes and their reasons. Pixels are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catgan.networks.base import COARSEST_SIDE, BaseGenerator, stage_channels
from catgan.networks.layers.convolution import Convolution, UpsamplingConvolution
from catgan.networks.layers.filters import Smoothing, filtered_pixel_shuffle, upsampling_matrix
from catgan.networks.projected.eigenfaces import Eigenfaces
from catgan.networks.projected.mirrored_eye import MirroredEye

PIXEL_RANGE = (-1.0, 1.0)
LEAKY_RELU_SLOPE = 0.2
Z_PROJECTION_STD = 0.6  # initial std that z adds to the first map, whose constant part has std 1
# Along both axes: blocks the finest grid, and passes three quarters of lines twice as wide.
GRID_FILTER = (-1 / 16, 4 / 16, 10 / 16, 4 / 16, -1 / 16)
NOISE_MAPS = 16  # per resolution, mixed by z
NOISE_STRENGTH = 0.1  # initial std of the signed strengths over channels
CALIBRATION_BATCH = 64  # images per pass of `calibrate`
MIN_REFINEMENT_CHANNELS = 2
MIN_SQUARE = 1e-8  # lower limit of a squared norm before rsqrt, so that zeros give zeros


class Generator(BaseGenerator):
    """Map noise (B, latent_size) to images (B, 3, resolution, resolution) in (-1, 1).

    All images start from one learned 4 x 4 map. So what aligned faces have in common, such as the
    position of the head and of the background, is learned once and not separately for each noise
    (Karras et al., "A Style-Based Generator Architecture", CVPR 2019). The noise, normalized to the
    sphere of radius sqrt(latent_size), is added to that map and sets a gain on every channel of
    every later one. Layout, colors and light come from eigenfaces, which need no training; the
    layers add details. Fur and background use fixed noise maps; without them the generator builds
    texture from whatever its convolutions repeat. With `refinements` it is the generator of
    resolution / 2 ** refinements with as many stages on top.
    """

    def __init__(
        self,
        resolution: int,
        latent_size: int,
        channels: int,
        maximum_channels: int,
        refinements: int = 0,
        coefficient_correction: int = 0,
        mirrored_eye: bool = False,
    ) -> None:
        super().__init__()
        base = resolution // 2**refinements
        widths = stage_channels(base, channels, maximum_channels)[::-1]
        shape = (widths[0], COARSEST_SIDE, COARSEST_SIDE)
        self.constant = nn.Parameter(torch.randn(1, *shape))
        self.gain = _Gain(latent_size, widths[0])
        self.z_projection = nn.Linear(latent_size, self.constant.numel(), bias=False)
        nn.init.normal_(self.z_projection.weight, 0.0, Z_PROJECTION_STD * latent_size**-0.5)
        self.first_layer = _FirstLayer()
        self.blocks = nn.ModuleList(
            _UpBlock(inputs, outputs, latent_size, COARSEST_SIDE * 2**stage)
            for stage, (inputs, outputs) in enumerate(pairwise(widths), start=1)
        )
        self.to_rgb = Convolution(widths[-1], 4 * 3, 3, padding=1)
        self.eigenfaces = Eigenfaces(resolution, latent_size, refinements, coefficient_correction)
        # Last, so that all other layers get the same random weights as without refinements.
        refined_widths = [
            max(widths[-1] // 2**stage, MIN_REFINEMENT_CHANNELS)
            for stage in range(1, refinements + 1)
        ]
        self.refinements = nn.ModuleList(
            _Refinement(inputs, outputs, latent_size, base * 2**stage)
            for stage, (inputs, outputs) in enumerate(pairwise([widths[-1], *refined_widths]))
        )
        self.mirrored_eye = MirroredEye(resolution) if mirrored_eye else None

    def map(self, z: Tensor) -> Tensor:
        """Return the noise, normalized to its sphere."""
        # An added epsilon would not do: the exporter drops an addition of so little.
        return z * torch.rsqrt(z.square().mean(1, keepdim=True).clamp_min(MIN_SQUARE))

    def first_maps(self, style: Tensor) -> Tensor:
        """Return the learned map, each channel with its gain, plus the projection of the noise."""
        return self.first_layer(style, self.constant, self.gain, self.z_projection)

    def synthesize(self, style: Tensor) -> Tensor:
        """Generate one image per row of `style`: noise on its sphere or, truncated, inside it."""
        low_res = self.eigenfaces.low_res(style)
        x = self.first_maps(style)
        x = F.leaky_relu(x.contiguous(memory_format=torch.channels_last), LEAKY_RELU_SLOPE)
        for block in self.blocks:
            x = block(x, style, low_res)
        details = _pixel_shuffle(self.to_rgb(x))
        for refinement in self.refinements:
            x, details = refinement(x, details, style, low_res)
        with torch.autocast(details.device.type, enabled=False):
            images = self.eigenfaces(style.float(), details)
            return images if self.mirrored_eye is None else self.mirrored_eye(images)

    def adapt_to(self, reals: Iterable[Tensor]) -> None:
        """Move the eigenfaces' statistics toward those of real images in [-1, 1]."""
        self.eigenfaces.adapt(reals)

    @torch.no_grad()
    def calibrate(self, z: Tensor) -> None:
        """Measure how the strongest eigenface coefficients correlate, which inference removes."""
        self.eigenfaces.decorrelate(self._normalized_coefficients(z))

    def learn_correction(
        self, z: Tensor, reals: Iterable[Tensor], on_progress: Callable[[int, int], None]
    ) -> None:
        """Learn the correction of the coefficients, from noise and all real images in [-1, 1].

        After `calibrate`. Raises `ValueError` for a generator that was built without a correction.
        """
        eigenfaces, correction = self.eigenfaces, self.eigenfaces.correction
        if correction is None:
            raise ValueError("the generator has no correction to be learned")
        real = [
            eigenfaces.coefficients_of(images)
            for chunk in reals
            for images in (chunk, chunk.flip(3))
        ]
        correction.learn(
            eigenfaces.decorrelated(self._normalized_coefficients(z)),
            torch.cat(real),
            eigenfaces.to_low_res_images,
            on_progress=on_progress,
        )

    @torch.no_grad()
    def _normalized_coefficients(self, z: Tensor) -> Tensor:
        """Return the coefficients (N, count) of images of noise (N, latent_size), normalized."""
        coefficients: list[Tensor] = []
        training, norm = self.training, self.eigenfaces.norm
        hook = norm.register_forward_hook(lambda *call: coefficients.append(call[-1][:, :, 0, 0]))
        self.eval()
        for chunk in z.split(CALIBRATION_BATCH):
            self(chunk)
        self.train(training)
        hook.remove()
        return torch.cat(coefficients)

    def low_res_base(self, style: Tensor) -> Tensor:
        """Return the low-resolution images of the eigenfaces, before tanh."""
        return self.eigenfaces.low_res(style)


def _pixel_shuffle(phases: Tensor) -> Tensor:
    """Pixel shuffle (B, 4 * 3, side, side) to details (B, 3, 2 side, 2 side), in float32.

    The finest map is made by a pixel shuffle, since one at full resolution with its own
    convolutions would cost more than everything else; the filter removes the grid that it makes. In
    float32, because bfloat16 has coarser steps than bytes near black and white.
    """
    with torch.autocast(phases.device.type, enabled=False):
        return filtered_pixel_shuffle(phases.float(), GRID_FILTER)


class _FirstLayer(nn.Module):
    """Return the constant map, each channel with its gain, plus the projection of the style.

    The weights are arguments: they are the generator's, also in the state dict.
    """

    def forward(
        self, style: Tensor, constant: Tensor, gain: _Gain, z_projection: nn.Linear
    ) -> Tensor:
        return gain(constant, style) + z_projection(style).unflatten(1, constant.shape[1:])

    def export_version(self) -> nn.Module:
        return _MergedFirstLayer()


class _MergedFirstLayer(nn.Module):
    """Return the same as `_FirstLayer` by one linear layer, whose matrix makes a smaller file."""

    def forward(
        self, style: Tensor, constant: Tensor, gain: _Gain, z_projection: nn.Linear
    ) -> Tensor:
        column = constant.flatten(2)[0, :, :, None]
        weight = (column * gain.weight[:, None]).flatten(0, 1) + z_projection.weight
        bias = (column[..., 0] * gain.bias[:, None]).flatten()
        return F.linear(style, weight, bias).unflatten(1, constant.shape[1:])


class _Refinement(nn.Module):
    """Double the side of details: upsample them, and add the output of one more block.

    The details are a skip connection past the block (Karras et al., "Analyzing and Improving the
    Image Quality of StyleGAN", CVPR 2020). The block's RGB layer is initialized with zeros: before
    the first step the result is the details of half the side, upsampled.
    """

    upsampling: Tensor

    def __init__(self, inputs: int, outputs: int, latent_size: int, side: int) -> None:
        super().__init__()
        self.block = _UpBlock(inputs, outputs, latent_size, side)
        self.to_rgb = Convolution(outputs, 4 * 3, 3, padding=1, bias=False)
        nn.init.zeros_(self.to_rgb.weight)
        upsampling = upsampling_matrix(side, 2 * side).float().contiguous()
        self.register_buffer("upsampling", upsampling, persistent=False)

    def forward(
        self, x: Tensor, details: Tensor, style: Tensor, low_res: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map (B, inputs, side / 2, side / 2) and (B, 3, side, side) to each at twice the side."""
        x = self.block(x, style, low_res)
        finer = _pixel_shuffle(self.to_rgb(x))
        with torch.autocast(details.device.type, enabled=False):
            return x, self.upsampling @ details @ self.upsampling.T + finer


class _UpBlock(nn.Module):
    """Double the side: convolution, smoothing, batch normalization, noise, gain, LeakyReLU.

    Each block also receives the low-resolution image that its details are added to.
    """

    def __init__(self, inputs: int, outputs: int, latent_size: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.convolution = UpsamplingConvolution(inputs, outputs)
        self.smoothing = Smoothing()
        self.norm = nn.BatchNorm2d(outputs)
        self.noise = _Noise(latent_size, outputs, side)
        self.coarse_rgb_conv = Convolution(3, outputs, 3, padding=1, bias=False)
        nn.init.normal_(self.coarse_rgb_conv.weight, 0.0, 1 / 3)
        self.gain = _Gain(latent_size, outputs)

    def forward(self, x: Tensor, z: Tensor, low_res: Tensor) -> Tensor:
        # Repeating pixels, then smoothing, equals bilinear interpolation before the convolution.
        x = self.norm(self.smoothing(self.convolution(x)))
        x = self.noise(x, z) + self.coarse_rgb_conv(self._resized(low_res))
        return F.leaky_relu(self.gain(x, z), LEAKY_RELU_SLOPE)

    def _resized(self, images: Tensor) -> Tensor:
        if (smaller := images.shape[-1] // self.side) > 0:
            return F.avg_pool2d(images, smaller)
        return F.interpolate(images, size=(self.side, self.side), mode="bilinear")


class _Gain(nn.Module):
    """Multiply each channel by a linear function of z, initially of mean 1 and std 1."""

    def __init__(self, latent_size: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(latent_size**-0.5 * torch.randn(channels, latent_size))
        self.bias = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        gain = F.linear(z, self.weight, self.bias)
        return x * gain[:, :, None, None].to(x.dtype)


class _Noise(nn.Module):
    """Add one noise map, of mean 0 and std 1, to each channel with a learned strength.

    A style-based generator samples such noise anew for each image (Karras et al., CVPR 2019). Here
    each image gets its own mixture of a few fixed maps, determined by the direction of z, so that a
    latent always gives the same image, in every export format.
    """

    maps: Tensor
    mixing: Tensor

    def __init__(self, latent_size: int, channels: int, side: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(side)
        self.register_buffer("maps", torch.randn(NOISE_MAPS, side**2, generator=rng))
        self.register_buffer("mixing", torch.randn(NOISE_MAPS, latent_size, generator=rng))
        self.strength = nn.Parameter(NOISE_STRENGTH * torch.randn(channels, 1, 1))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        noise = _mixture(self.maps, self.mixing, z)
        # A matrix product of rank one: it stores no map of the products and gives the strength's
        # gradient in one pass.
        rows = x.permute(0, 2, 3, 1)
        added = torch.addmm(rows.flatten(0, 2), noise.reshape(-1, 1), self.strength.view(1, -1))
        return added.view(rows.shape).permute(0, 3, 1, 2)

    def export_version(self) -> nn.Module:
        return _NoiseByMultiplication(self)


class _NoiseByMultiplication(nn.Module):
    """Add the same as `_Noise`, without a matrix product of all pixels."""

    maps: Tensor
    mixing: Tensor

    def __init__(self, noise: _Noise) -> None:
        super().__init__()
        self.register_buffer("maps", noise.maps)
        self.register_buffer("mixing", noise.mixing)
        self.strength = noise.strength

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        noise = _mixture(self.maps, self.mixing, z).unflatten(1, (1, *x.shape[2:]))
        return x + noise * self.strength


def _mixture(maps: Tensor, mixing: Tensor, z: Tensor) -> Tensor:
    """Return the noise map of each row of `z`, (B, side**2)."""
    weights = F.linear(z, mixing)
    weights = weights * torch.rsqrt(weights.square().sum(1, keepdim=True).clamp_min(MIN_SQUARE))
    return weights @ maps
