"""A mirrored eye: in generated faces, the right eye becomes the mirror image of the left one.

A generator makes each eye on its own, and in every second image they differ in color, size or
direction. Here a small network finds the axis of a face, and the left eye, mirrored, takes the
place of the right one. The network learns after training, from photos: the more a photo agrees with
its mirror image at some axis, the surer that is the axis of the face.

For faces aligned as in AFHQ or by `catgan prepare --faces`. Left and right are those of the image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from catgan.network_config import SEEN_SIDE
from catgan.networks.layers.filters import convolve_each

LEAKY_RELU_SLOPE = 0.2
CHANNELS = (3, 24, 48, 96, 128)  # of its maps, each of half the side
# In 128ths of the side: height of the eyes, their distance from the axis, and the radii of the
# ellipse that is replaced, to the middle of its soft border.
EYE_HEIGHT, EYE_DISTANCE, RADII = 61.5, 20.0, (14.5, 13.0)
BORDER = 0.9  # width of the soft border, in squares of the radii
# What 1 at an output of the network means: degrees of tilt, and 128ths of the side.
UNITS = (6.0, 5.0)
# Axes at which photos are compared with their mirror images: degrees, and 128ths of the side.
# Unusual ones must agree better: half their squared distance, in stds, times the weight.
TILTS, POSITIONS = range(-16, 17, 2), range(-10, 11)
USUAL_STDS, USUAL_WEIGHT = (6.0, 4.0), 0.1
FINE, COARSE = 0.75, 5.0  # std of the blurs whose difference is compared, in pixels
COMPARED = (slice(15, 52), slice(7, 57))  # rows and columns; a face without its outline
EYES = (slice(18, 43), slice(10, 54))  # count double
MIN_VARIANCE = 1e-6  # of a map, before it is divided by
UNSURE, SURE = 0.25, 0.75  # correlations up to which a photo does not count, and from which fully
STEPS, BATCH_SIZE, LEARNING_RATE = 1500, 64, 2e-3
TILT_STD, SHIFT_STD = 7.0, 3.0  # of random changes of the photos: degrees, 128ths of the side
_CHUNK = 256  # photos compared at once


class MirroredEye(nn.Module):
    """Map images (B, 3, side, side) to ones whose right eye is the mirrored left one."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.finder = AxisFinder()

    def forward(self, images: Tensor) -> Tensor:
        """Return images of the same shape."""
        tilt, position = self.finder(seen(images)).split(1, 1)
        unit, last = self.side / 128, self.side - 1
        # What the right eye is below the middle of both, and the axis is right of the image's.
        drop = tilt * (math.radians(UNITS[0]) * EYE_DISTANCE * unit)
        shift = position * (UNITS[1] * unit)
        # The mirror image, moved by twice of both. Linear interpolation between pixels is a matrix
        # along each axis, which every export format can multiply by.
        pixels = torch.arange(self.side, dtype=images.dtype, device=images.device)
        rows = _interpolation(pixels[:, None] - 2 * drop[..., None], pixels)
        columns = _interpolation(last - pixels[:, None], pixels - 2 * shift[..., None])
        mirrored = rows[:, None] @ images @ columns[:, None]
        radius_x, radius_y = (radius * unit for radius in RADII)
        x = (pixels - shift - (last / 2 + EYE_DISTANCE * unit)) / radius_x
        y = (pixels - drop - (EYE_HEIGHT * unit - 0.5)) / radius_y
        inside = (1 - x.square()[:, None] - y.square()[..., None]) / BORDER + 0.5
        return images + inside.clamp(0, 1)[:, None] * (mirrored - images)


class AxisFinder(nn.Module):
    """Map faces (B, 3, 64, 64) in [-1, 1] to tilt and position of their axes, (B, 2), in `UNITS`.

    The tilt is positive where the right eye is lower, the position where the axis is right of the
    middle. The weights are buffers, which the training of the generator leaves alone; before
    `learn` they are zero, and every axis is upright and in the middle.
    """

    weight4: Tensor
    bias4: Tensor

    def __init__(self) -> None:
        super().__init__()
        side = SEEN_SIDE
        for layer, (inputs, outputs) in enumerate(itertools.pairwise(CHANNELS)):
            self.register_buffer(f"weight{layer}", torch.zeros(outputs, inputs, 3, 3))
            self.register_buffer(f"bias{layer}", torch.zeros(outputs))
            side //= 2
        self.register_buffer("weight4", torch.zeros(len(UNITS), CHANNELS[-1] * side**2))
        self.register_buffer("bias4", torch.zeros(len(UNITS)))

    def forward(self, faces: Tensor) -> Tensor:
        """Return tilts and positions, (B, 2)."""
        x = faces
        for layer in range(len(CHANNELS) - 1):
            weight, bias = self.get_buffer(f"weight{layer}"), self.get_buffer(f"bias{layer}")
            x = F.leaky_relu(F.conv2d(x, weight, bias, padding=1), LEAKY_RELU_SLOPE)
            x = F.avg_pool2d(x, 2)
        return F.linear(x.flatten(1), self.weight4, self.bias4)

    def learn(
        self,
        photos: Iterable[Tensor],
        *,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Learn from photos, batches (B, 3, side, side) in [-1, 1]; a function of them alone.

        `on_progress` is called with steps done and in total.
        """
        faces = torch.cat([seen(batch) for batch in photos])
        found = [symmetry_axes(chunk) for chunk in faces.split(_CHUNK)]
        axes, correlation = (torch.cat(part) for part in zip(*found, strict=True))
        trust = ((correlation - UNSURE) / (SURE - UNSURE)).clamp(0, 1)
        rng = torch.Generator().manual_seed(0)
        weights = {name: torch.zeros_like(buffer) for name, buffer in self.named_buffers()}
        for layer in range(len(CHANNELS) - 1):  # He's initialization
            weight = weights[f"weight{layer}"]
            weight.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=rng)
        optimizer = torch.optim.Adam(
            [weight.requires_grad_() for weight in weights.values()], LEARNING_RATE
        )
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * min((step + 1) / 100, 1 - step / STEPS)
            chosen = torch.randint(len(faces), (BATCH_SIZE,), generator=rng)
            varied, targets = _varied(faces[chosen], axes[chosen], rng)
            outputs = torch.func.functional_call(self, weights, varied)
            errors = F.smooth_l1_loss(outputs, targets / torch.tensor(UNITS), reduction="none")
            loss = (errors.sum(1) * trust[chosen]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            on_progress(step + 1, STEPS)
        with torch.no_grad():
            for name, buffer in self.named_buffers():
                buffer.copy_(weights[name])


def seen(images: Tensor) -> Tensor:
    """Return images (B, 3, side, side), of 64 pixels or more, as (B, 3, 64, 64)."""
    return F.avg_pool2d(images, images.shape[-1] // SEEN_SIDE)


def _interpolation(wanted: Tensor, pixels: Tensor) -> Tensor:
    """Return weights of linear interpolation: 1 where both agree, 0 from a difference of 1 on."""
    return (1 - (wanted - pixels).abs()).clamp_min(0)


@torch.no_grad()
def symmetry_axes(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Return the axes at which faces (B, 3, 64, 64) agree best with their mirror images.

    Tilts in degrees and positions in 128ths of the side, (B, 2), and the correlations there, (B,):
    of the difference of two blurs of the gray image, in the region of the face.
    """
    gray = faces.mean(1, keepdim=True)
    band = convolve_each(gray, _gaussian(FINE)) - convolve_each(gray, _gaussian(COARSE))
    weight = torch.zeros(SEEN_SIDE, SEEN_SIDE)
    weight[COMPARED] = 1.0
    weight[EYES] = 2.0
    weight /= weight.sum()
    axes = torch.tensor(list(itertools.product(TILTS, POSITIONS)), dtype=torch.float32)
    correlations = torch.stack(
        [_correlation(band, _reflected(band, *axis), weight) for axis in axes.tolist()], 1
    )
    unusual = (axes / torch.tensor(USUAL_STDS)).square().sum(1) / 2
    best = (correlations - USUAL_WEIGHT * unusual).argmax(1)
    return axes[best], correlations.gather(1, best[:, None])[:, 0]


def _gaussian(std: float) -> list[float]:
    places = torch.arange(-math.ceil(3 * std), math.ceil(3 * std) + 1)
    line = torch.exp(-((places / std) ** 2) / 2)
    return (line / line.sum()).tolist()


def _reflected(maps: Tensor, tilt: float, position: float) -> Tensor:
    """Return maps reflected at an axis that crosses the height of the eyes at `position`."""
    normal = torch.tensor([math.cos(math.radians(tilt)), math.sin(math.radians(tilt))])
    turn = torch.eye(2) - 2 * torch.outer(normal, normal)
    crossing = torch.tensor([position, EYE_HEIGHT - 64]) / 64
    matrix = torch.cat([turn, (crossing - turn @ crossing)[:, None]], 1)
    grid = F.affine_grid(matrix[None], [1, 1, SEEN_SIDE, SEEN_SIDE], align_corners=False)
    grid = grid.expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def _correlation(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Return the correlation of maps (B, 1, H, W) over positions that weigh `weight`, (B,)."""
    a, b = (x - (x * weight).sum((2, 3), keepdim=True) for x in (a, b))
    product, square_a, square_b = ((x * weight).sum((1, 2, 3)) for x in (a * b, a * a, b * b))
    return product / (square_a * square_b).clamp_min(MIN_VARIANCE**2).sqrt()


def _varied(faces: Tensor, axes: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return faces mirrored, tilted, moved and lit at random, and their axes."""
    count = len(faces)
    mirror = (torch.rand(count, generator=rng) < 0.5).float() * 2 - 1
    tilt = TILT_STD * torch.randn(count, generator=rng)
    shift = SHIFT_STD * torch.randn(count, generator=rng)
    cosine, sine = tilt.deg2rad().cos(), tilt.deg2rad().sin()
    # Where each pixel of the result comes from, in halves of the side.
    rows = [
        torch.stack([mirror * cosine, -mirror * sine, shift / 64], 1),
        torch.stack([sine, cosine, torch.zeros(count)], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(faces.shape), align_corners=False)
    varied = F.grid_sample(faces, grid, padding_mode="border", align_corners=False)
    contrast = 1 + 0.2 * torch.randn(count, 1, 1, 1, generator=rng)
    brightness = 0.2 * torch.randn(count, 3, 1, 1, generator=rng)
    tilts, positions = axes.unbind(1)
    changed = [mirror * tilts - tilt, mirror * (positions - shift) * cosine]
    return varied * contrast + brightness, torch.stack(changed, 1)
