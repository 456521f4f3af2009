"""Augmentation in front of the discriminator: differentiable, and pure in its generator.

Real and generated images are treated alike, so that what is done to them does not show up in what
is generated (Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS
2020). Every amount is drawn on the CPU from the generator handed in; the arithmetic happens on the
images' device. Images are (B, 3, H, W) float, with black and white at `pixel_range`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from catgan.config import AugmentConfig

# Rec. 601 luma, what "grey" means in a saturation change.
LUMA = (0.299, 0.587, 0.114)


def augment(
    images: Tensor,
    config: AugmentConfig,
    generator: torch.Generator,
    pixel_range: tuple[float, float],
) -> Tensor:
    """All augmentations that `config` asks for, in a fixed order."""
    low, high = pixel_range
    if config.flip:
        images = flip(images, generator)
    if config.crop:
        images = crop(images, config.crop, generator)
    if config.colour_jitter:
        amounts = _uniform(images, generator, 3) * config.colour_jitter
        images = colour(images, 0.0, 1 + amounts[0], 1 + amounts[1], low, scale=1 + amounts[2])
        images = images.clamp(low, high)
    if config.sharpness:
        images = sharpness(images, config.sharpness, generator).clamp(low, high)
    if config.diffaugment_colour:
        brightness, saturation, contrast = _uniform(images, generator, 3)
        # The paper's ranges, for pixels in [-1, 1]: +-0.5, 0 to 2, 0.5 to 1.5.
        offset = brightness * 0.25 * (high - low)
        images = colour(images, offset, 1 + 0.5 * contrast, 1 + saturation, low)
    if config.diffaugment_translation:
        images = translate(images, 0.125, (low + high) / 2, generator)
    if config.diffaugment_cutout:
        images = cutout(images, 0.5, (low + high) / 2, generator)
    return images


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability one half."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(_per_image(mirrored, images), images.flip(3), images)


def crop(images: Tensor, fraction: float, generator: torch.Generator) -> Tensor:
    """Shift each image by up to `fraction` of the side, the border continued by reflection."""
    side = images.shape[-1]
    reach = max(1, round(fraction * side))
    return _window(F.pad(images, [reach] * 4, mode="reflect"), side, reach, generator)


def translate(images: Tensor, fraction: float, fill: float, generator: torch.Generator) -> Tensor:
    """DiffAugment's translation: shift by up to `fraction` of the side, the border filled."""
    side = images.shape[-1]
    reach = max(1, round(fraction * side))
    return _window(F.pad(images, [reach] * 4, value=fill), side, reach, generator)


def cutout(images: Tensor, fraction: float, fill: float, generator: torch.Generator) -> Tensor:
    """DiffAugment's cutout: a square of `fraction` of the side, centred anywhere, filled."""
    batch, _, height, width = images.shape
    half = fraction * height / 2
    centre = torch.rand(2, batch, generator=generator) * torch.tensor([[height], [width]])
    rows = (torch.arange(height) + 0.5 - centre[0][:, None]).abs() < half
    columns = (torch.arange(width) + 0.5 - centre[1][:, None]).abs() < half
    covered = (rows[:, :, None] & columns[:, None, :])[:, None].to(images.device)
    return images.masked_fill(covered, fill)


def sharpness(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Blend some images with their blur, or away from it, by a factor from 0 (blurred) to 2."""
    chosen = torch.rand(len(images), generator=generator) < probability
    factor = torch.where(chosen, 2 * torch.rand(len(images), generator=generator), 1.0)
    kernel = torch.tensor([1.0, 2.0, 1.0], device=images.device, dtype=images.dtype) / 4
    weight = (kernel[:, None] * kernel).expand(images.shape[1], 1, 3, 3)
    blurred = F.conv2d(F.pad(images, [1] * 4, mode="reflect"), weight, groups=images.shape[1])
    return torch.lerp(blurred, images, _per_image(factor, images))


def colour(
    images: Tensor,
    offset: Tensor | float,
    contrast: Tensor,
    saturation: Tensor,
    black: float,
    scale: Tensor | float = 1.0,
) -> Tensor:
    """Brightness, then saturation about each pixel's grey, then contrast about the image's mean.

    `contrast`, `saturation`, `offset` and `scale` are one number an image (B, 1, 1, 1); brightness
    is `scale` about black, then plus `offset`.
    """
    images = (images - black) * scale + black + offset
    luma = torch.tensor(LUMA, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    grey = (images * luma).sum(1, keepdim=True)
    images = grey + (images - grey) * saturation
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * contrast


def _uniform(images: Tensor, generator: torch.Generator, count: int) -> Tensor:
    """`count` numbers in [-1, 1] for each image, (count, B, 1, 1, 1) on the images' device."""
    numbers = torch.rand(count, len(images), 1, 1, 1, generator=generator) * 2 - 1
    return numbers.to(images.device, images.dtype)


def _per_image(numbers: Tensor, images: Tensor) -> Tensor:
    dtype = torch.bool if numbers.dtype == torch.bool else images.dtype
    return numbers.to(images.device, dtype).view(-1, 1, 1, 1)


def _window(padded: Tensor, side: int, reach: int, generator: torch.Generator) -> Tensor:
    """A square of `side` from each padded image, its corner drawn from 0 to 2 * reach."""
    batch = len(padded)
    corner = torch.randint(0, 2 * reach + 1, (2, batch, 1), generator=generator)
    rows = (corner[0] + torch.arange(side)).to(padded.device)
    columns = (corner[1] + torch.arange(side)).to(padded.device)
    which = torch.arange(batch, device=padded.device)[:, None, None]
    windows = padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]]
    return windows.permute(0, 3, 1, 2)
