"""Augmentation before the discriminator: differentiable, and a pure function of its random numbers.

Real and generated images are augmented alike, so that the augmentations do not leak into the
generated images (Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training",
NeurIPS 2020). Random numbers are sampled on the CPU; the arithmetic runs on the images' device.
Images are (B, 3, H, W) float, with black and white at `pixel_range`.
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
    random: BatchRandom,
    pixel_range: tuple[float, float],
) -> Tensor:
    """Apply all augmentations of `config`, in a fixed order."""
    low, high = pixel_range
    if config.flip:
        images = flip(images, random)
    if config.zoom:
        images = zoom(images, config.zoom, random)
    if config.crop:
        images = crop(images, config.crop, random)
    if config.color_jitter:
        change = _uniform(images, random, 3) * config.color_jitter
        images = color(images, 0.0, 1 + change[0], 1 + change[1], low, scale=1 + change[2])
        images = images.clamp(low, high)
    if config.sharpness:
        images = sharpness(images, config.sharpness, random).clamp(low, high)
    if config.diffaugment_color:
        brightness, saturation, contrast = _uniform(images, random, 3)
        # The paper's ranges, for pixels in [-1, 1]: +-0.5, 0 to 2, 0.5 to 1.5.
        offset = brightness * 0.25 * (high - low)
        images = color(images, offset, 1 + 0.5 * contrast, 1 + saturation, low)
    if config.diffaugment_translation:
        images = translate(images, 0.125, (low + high) / 2, random)
    if config.diffaugment_cutout:
        images = cutout(images, 0.5, (low + high) / 2, random)
    return images


def augment_reals(
    images: Tensor,
    indices: Tensor,
    config: AugmentConfig,
    random: BatchRandom,
    pixel_range: tuple[float, float],
    seed: int,
) -> tuple[Tensor, Tensor | None]:
    """Augment training images (B, 3, H, W) with dataset indices `indices` (B,).

    With `config.views` each image gets one of its own fixed augmentations, which are determined by
    the run's `seed`; `random` chooses which.

    Returns:
        The augmented images, and the id of each view, or None where views never recur. Ids are
        below `views_of_each(config)` times the number of training images; equal ids mean equal
        pixels.
    """
    views = views_of_each(config)
    if config.views:
        view_ids = views * indices + random.integers(0, views, len(images))
        single_images = [
            augment(
                image,
                config,
                BatchRandom(torch_generator(seed, Stream.VIEWS, view_id)),
                pixel_range,
            )
            for image, view_id in zip(images.split(1), view_ids.tolist(), strict=True)
        ]
        return torch.cat(single_images), view_ids
    augmented = augment(images, config, random, pixel_range)
    if not views:
        return augmented, None
    mirrored = (augmented != images).flatten(1).any(1)
    return augmented, 2 * indices + mirrored.to(indices.device)


def views_of_each(config: AugmentConfig) -> int:
    """Return how many augmentations one training image has, or 0 if there is no limit."""
    if config.views:
        return config.views
    return 2 if dataclasses.replace(config, flip=True) == AugmentConfig(flip=True) else 0


def flip(images: Tensor, random: BatchRandom) -> Tensor:
    """Mirror each image with probability one half."""
    mirrored = random.uniform(len(images)) < 0.5
    no_shift = [0] * len(images)
    return _Move.apply(images, mirrored.tolist(), no_shift, no_shift, 0.0)


def zoom(images: Tensor, fraction: float, random: BatchRandom) -> Tensor:
    """Enlarge a random square window of each image; its side is up to `fraction` smaller.

    The window lies inside the image, so no border has to be filled.
    """
    size, right, down = random.uniform(3, len(images))
    half = (1 - fraction * size).to(images.device, images.dtype)  # the full image has 1
    x, y = ((2 * at - 1).to(half) * (1 - half) for at in (right, down))
    zero = torch.zeros_like(half)
    windows = torch.stack([half, zero, x, zero, half, y], 1).view(-1, 2, 3)
    grid = F.affine_grid(windows, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def crop(images: Tensor, fraction: float, random: BatchRandom) -> Tensor:
    """Shift each image by up to `fraction` of the side; the border is reflected."""
    side = images.shape[-1]
    max_shift = max(1, round(fraction * side))
    return _window(F.pad(images, [max_shift] * 4, mode="reflect"), side, max_shift, random)


def translate(images: Tensor, fraction: float, fill: float, random: BatchRandom) -> Tensor:
    """Shift by up to `fraction` of the side, as in DiffAugment; the border is filled."""
    max_shift = max(1, round(fraction * images.shape[-1]))
    down, right = random.integers(-max_shift, max_shift + 1, 2, len(images)).tolist()
    return _Move.apply(images, [False] * len(images), down, right, fill)


def cutout(images: Tensor, fraction: float, fill: float, random: BatchRandom) -> Tensor:
    """Fill a square of `fraction` of the side, centered anywhere, as in DiffAugment."""
    side = images.shape[-1]
    half = fraction * side / 2
    center = side * random.uniform(2, len(images))
    # A pixel is covered when its middle lies within half a square's side of the center.
    first = (center - half + 0.5).floor().clamp(0, side).long().tolist()
    last = (center + half - 0.5).ceil().clamp(0, side).long().tolist()
    squares = list(zip(first[0], last[0], first[1], last[1], strict=True))
    return _Fill.apply(images, squares, fill)


def sharpness(images: Tensor, probability: float, random: BatchRandom) -> Tensor:
    """Blend some images with their blur, or away from it, by a factor from 0 (blurred) to 2."""
    selected = random.uniform(len(images)) < probability
    factor = torch.where(selected, 2 * random.uniform(len(images)), 1.0)
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
    """Change brightness, then saturation about each pixel's gray, then contrast about the mean.

    `contrast`, `saturation`, `offset` and `scale` are one number per image (B, 1, 1, 1). Brightness
    is multiplied by `scale` about black, then `offset` is added. The mean is that of the image.
    """
    batch, channels, height, width = images.shape
    luma = torch.tensor(LUMA, device=images.device, dtype=images.dtype)
    # All three are linear in a pixel's color: one matrix and one shift per image, in one pass.
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


def _uniform(images: Tensor, random: BatchRandom, count: int) -> Tensor:
    """Return `count` numbers in [-1, 1] per image, (count, B, 1, 1, 1) on the images' device."""
    numbers = random.uniform(count, len(images)) * 2 - 1
    return numbers[..., None, None, None].to(images.device, images.dtype)


def _per_image(numbers: Tensor, images: Tensor) -> Tensor:
    dtype = torch.bool if numbers.dtype == torch.bool else images.dtype
    return numbers.to(images.device, dtype).view(-1, 1, 1, 1)


def _window(padded: Tensor, side: int, max_shift: int, random: BatchRandom) -> Tensor:
    """Return a random square of `side` from each padded image; corners are 0 to 2 * max_shift."""
    batch = len(padded)
    corner = random.integers(0, 2 * max_shift + 1, 2, batch)[..., None]
    rows = (corner[0] + torch.arange(side)).to(padded.device)
    columns = (corner[1] + torch.arange(side)).to(padded.device)
    which = torch.arange(batch, device=padded.device)[:, None, None]
    windows = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return windows.permute(0, 3, 1, 2)


class _Move(torch.autograd.Function):
    """Mirror some images, then shift each `down` and `right`, and fill the border.

    One image at a time: that copies the batch once, while indexing takes many times as long.
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
        ctx.moves = mirrored, down, right
        moved = torch.full_like(images, fill)
        for index, (mirror, *shift) in enumerate(zip(mirrored, down, right, strict=True)):
            source, target = _overlap(images.shape[-2], *shift)
            image = images[index].flip(2) if mirror else images[index]
            moved[index][target] = image[source]
        return moved

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        back = torch.zeros_like(gradients[0])
        for index, (mirrored, down, right) in enumerate(zip(*ctx.moves, strict=True)):
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
    """Return the slices of the part that stays in view, before and after a shift."""
    source = [slice(max(-shift, 0), side - max(shift, 0)) for shift in (down, right)]
    target = [slice(max(shift, 0), side - max(-shift, 0)) for shift in (down, right)]
    return (slice(None), *source), (slice(None), *target)
