"""Augmentation in front of the discriminator: differentiable, and pure in its draws.

Real and generated images are treated alike, so that what is done to them does not show up in what
is generated (Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS
2020). Every amount is drawn on the CPU; the arithmetic happens on the
images' device. Images are (B, 3, H, W) float, with black and white at `pixel_range`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from catgan.config import AugmentConfig
from catgan.training.streams import BatchRandom, Stream, torch_generator

# Rec. 601 luma, what "gray" means in a saturation change.
LUMA = (0.299, 0.587, 0.114)


def augment(
    images: Tensor,
    config: AugmentConfig,
    draws: BatchRandom,
    pixel_range: tuple[float, float],
) -> Tensor:
    """All augmentations that `config` asks for, in a fixed order."""
    low, high = pixel_range
    if config.flip:
        images = flip(images, draws)
    if config.zoom:
        images = zoom(images, config.zoom, draws)
    if config.crop:
        images = crop(images, config.crop, draws)
    if config.color_jitter:
        random = _uniform(images, draws, 3) * config.color_jitter
        images = color(images, 0.0, 1 + random[0], 1 + random[1], low, scale=1 + random[2])
        images = images.clamp(low, high)
    if config.sharpness:
        images = sharpness(images, config.sharpness, draws).clamp(low, high)
    if config.diffaugment_color:
        brightness, saturation, contrast = _uniform(images, draws, 3)
        # The paper's ranges, for pixels in [-1, 1]: +-0.5, 0 to 2, 0.5 to 1.5.
        offset = brightness * 0.25 * (high - low)
        images = color(images, offset, 1 + 0.5 * contrast, 1 + saturation, low)
    if config.diffaugment_translation:
        images = translate(images, 0.125, (low + high) / 2, draws)
    if config.diffaugment_cutout:
        images = cutout(images, 0.5, (low + high) / 2, draws)
    return images


def augment_reals(
    images: Tensor,
    chosen: Tensor,
    config: AugmentConfig,
    draws: BatchRandom,
    pixel_range: tuple[float, float],
    seed: int,
) -> tuple[Tensor, Tensor | None]:
    """Augment training images (B, 3, H, W), whose numbers are `chosen` (B,).

    With `config.views` each gets one of its own augmentations, which are decided by the run's
    `seed`; `draws` say which.

    Returns:
        The pictures, and where one can come again, the name of each: a number below
        `views_of_each(config)` times the number of training images, the same only for the same.
    """
    views = views_of_each(config)
    if config.views:
        names = views * chosen + draws.integers(0, views, len(images))
        own = [
            augment(
                image, config, BatchRandom(torch_generator(seed, Stream.VIEWS, name)), pixel_range
            )
            for image, name in zip(images.split(1), names.tolist(), strict=True)
        ]
        return torch.cat(own), names
    pictures = augment(images, config, draws, pixel_range)
    if not views:
        return pictures, None
    mirrored = (pictures != images).flatten(1).any(1)
    return pictures, 2 * chosen + mirrored.to(chosen.device)


def views_of_each(config: AugmentConfig) -> int:
    """Return how many augmentations there are of one training image, or 0 where they never end."""
    if config.views:
        return config.views
    return 2 if dataclasses.replace(config, flip=True) == AugmentConfig(flip=True) else 0


def flip(images: Tensor, draws: BatchRandom) -> Tensor:
    """Mirror each image with probability one half."""
    mirrored = draws.uniform(len(images)) < 0.5
    still = [0] * len(images)
    return _Move.apply(images, mirrored.tolist(), still, still, 0.0)


def zoom(images: Tensor, fraction: float, draws: BatchRandom) -> Tensor:
    """Enlarge a random square window of each image, its side up to `fraction` less, to the whole.

    The window lies inside the image, so no border has to be invented.
    """
    size, right, down = draws.uniform(3, len(images))
    half = (1 - fraction * size).to(images.device, images.dtype)  # of the grid's half side, 1
    x, y = ((2 * at - 1).to(half) * (1 - half) for at in (right, down))
    zero = torch.zeros_like(half)
    windows = torch.stack([half, zero, x, zero, half, y], 1).view(-1, 2, 3)
    grid = F.affine_grid(windows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def crop(images: Tensor, fraction: float, draws: BatchRandom) -> Tensor:
    """Shift each image by up to `fraction` of the side, the border continued by reflection."""
    side = images.shape[-1]
    reach = max(1, round(fraction * side))
    return _window(F.pad(images, [reach] * 4, mode="reflect"), side, reach, draws)


def translate(images: Tensor, fraction: float, fill: float, draws: BatchRandom) -> Tensor:
    """DiffAugment's translation: shift by up to `fraction` of the side, the border filled."""
    reach = max(1, round(fraction * images.shape[-1]))
    down, right = draws.integers(-reach, reach + 1, 2, len(images)).tolist()
    return _Move.apply(images, [False] * len(images), down, right, fill)


def cutout(images: Tensor, fraction: float, fill: float, draws: BatchRandom) -> Tensor:
    """DiffAugment's cutout: a square of `fraction` of the side, centered anywhere, filled."""
    side = images.shape[-1]
    half = fraction * side / 2
    center = side * draws.uniform(2, len(images))
    # A pixel is covered when its middle lies within half a square's side of the center.
    first = (center - half + 0.5).floor().clamp(0, side).long().tolist()
    last = (center + half - 0.5).ceil().clamp(0, side).long().tolist()
    squares = list(zip(first[0], last[0], first[1], last[1], strict=True))
    return _Fill.apply(images, squares, fill)


def sharpness(images: Tensor, probability: float, draws: BatchRandom) -> Tensor:
    """Blend some images with their blur, or away from it, by a factor from 0 (blurred) to 2."""
    chosen = draws.uniform(len(images)) < probability
    factor = torch.where(chosen, 2 * draws.uniform(len(images)), 1.0)
    kernel = torch.tensor([1.0, 2.0, 1.0], device=images.device, dtype=images.dtype) / 4
    weight = (kernel[:, None] * kernel).expand(images.shape[1], 1, 3, 3)
    blurred = F.conv2d(F.pad(images, [1] * 4, mode="reflect"), weight, groups=images.shape[1])
    return torch.lerp(blurred, images, _per_image(factor, images))


def color(
    images: Tensor,
    offset: Tensor | float,
    contrast: Tensor,
    saturation: Tensor,
    black: float,
    scale: Tensor | float = 1.0,
) -> Tensor:
    """Brightness, then saturation about each pixel's gray, then contrast about the image's mean.

    `contrast`, `saturation`, `offset` and `scale` are one number an image (B, 1, 1, 1); brightness
    is `scale` about black, then plus `offset`.
    """
    batch, channels, height, width = images.shape
    luma = torch.tensor(LUMA, device=images.device, dtype=images.dtype)
    # All three are linear in a pixel's color: one matrix and one shift an image, and one pass.
    saturation, contrast = saturation.view(-1, 1, 1), contrast.view(-1, 1, 1)
    scale = torch.as_tensor(scale, device=images.device, dtype=images.dtype).view(-1, 1, 1)
    saturate = saturation * torch.eye(3, device=images.device, dtype=images.dtype)
    saturate = saturate + (1 - saturation) * luma[:, None]  # rows: from, columns: to
    shift = black * (1 - scale) + torch.as_tensor(offset, device=images.device).view(-1, 1, 1)
    pixels = images.permute(0, 2, 3, 1).reshape(batch, -1, channels)
    mean = (scale * pixels.mean(1, keepdim=True) @ saturate).mean(2, keepdim=True) + shift
    shift = contrast * shift + (1 - contrast) * mean
    pixels = torch.baddbmm(shift.expand(batch, 1, 3), pixels, contrast * scale * saturate)
    return pixels.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _uniform(images: Tensor, draws: BatchRandom, count: int) -> Tensor:
    """`count` numbers in [-1, 1] for each image, (count, B, 1, 1, 1) on the images' device."""
    numbers = draws.uniform(count, len(images)) * 2 - 1
    return numbers[..., None, None, None].to(images.device, images.dtype)


def _per_image(numbers: Tensor, images: Tensor) -> Tensor:
    dtype = torch.bool if numbers.dtype == torch.bool else images.dtype
    return numbers.to(images.device, dtype).view(-1, 1, 1, 1)


def _window(padded: Tensor, side: int, reach: int, draws: BatchRandom) -> Tensor:
    """A square of `side` from each padded image, its corner drawn from 0 to 2 * reach."""
    batch = len(padded)
    corner = draws.integers(0, 2 * reach + 1, 2, batch)[..., None]
    rows = (corner[0] + torch.arange(side)).to(padded.device)
    columns = (corner[1] + torch.arange(side)).to(padded.device)
    which = torch.arange(batch, device=padded.device)[:, None, None]
    windows = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return windows.permute(0, 3, 1, 2)


class _Move(torch.autograd.Function):
    """Mirror some images, then shift each `down` and `right`, and fill what comes in.

    An image at a time: one copy of the batch, where indexing takes many times as long.
    """

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        mirrored: list[bool],
        down: list[int],
        right: list[int],
        fill: float,
    ) -> Tensor:
        ctx.random = mirrored, down, right
        moved = torch.full_like(images, fill)
        for index, random in enumerate(zip(mirrored, down, right, strict=True)):
            source, target = _overlap(images.shape[-2], *random[1:])
            image = images[index].flip(2) if random[0] else images[index]
            moved[index][target] = image[source]
        return moved

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        back = torch.zeros_like(gradients[0])
        for index, (mirrored, down, right) in enumerate(zip(*ctx.random, strict=True)):
            source, target = _overlap(back.shape[-2], down, right)
            back[index][source] = gradients[0][index][target]
            if mirrored:
                back[index] = back[index].flip(2)
        return back, None, None, None, None


class _Fill(torch.autograd.Function):
    """Fill a square of each image: (first row, last row + 1, first column, last column + 1)."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, squares: list[tuple[int, int, int, int]], fill: float
    ) -> Tensor:
        ctx.squares = squares
        filled = images.clone()
        for image, (top, bottom, left, right) in zip(filled, squares, strict=True):
            image[:, top:bottom, left:right] = fill
        return filled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Fill.apply(gradients[0], ctx.squares, 0.0), None, None


def _overlap(side: int, down: int, right: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where the part of an image that stays in view lies before and after a shift."""
    source = [slice(max(-shift, 0), side - max(shift, 0)) for shift in (down, right)]
    target = [slice(max(shift, 0), side - max(-shift, 0)) for shift in (down, right)]
    return (slice(None), *source), (slice(None), *target)
