"""Augmentation before the discriminator: differentiable, and a pure function of its random numbers.

Real and generated images are augmented alike, so that the augmentations do not leak into the
generated images (Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training",
NeurIPS 2020). Random numbers are sampled on the CPU; the arithmetic runs on the images' device.
Images are (B, 3, H, W) float, with black and white at `pixel_range`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from catgan.config import AugmentConfig
from catgan.errors import CatganError, quoted
from catgan.training.streams import BatchRandom, Stream, torch_generator

# Rec. 601 luma, what "gray" means in a saturation change.
LUMA = (0.299, 0.587, 0.114)
# DiffAugment's largest shift and its square, as fractions of the side.
TRANSLATION = 1 / 8
CUTOUT = 1 / 2


@dataclass(frozen=True)
class Augmentation:
    """One augmentation.

    Attributes:
        apply: maps images (B, 3, H, W), the value of the setting, random numbers and the pixel
            range to images of the same shape.
        cacheable: whether features of real images may be cached. It may be true only if each image
            either stays as it is or changes in one fixed way, so that the same pixels recur.
    """

    apply: Callable[[Tensor, Any, BatchRandom, tuple[float, float]], Tensor]
    cacheable: bool


def augment(
    images: Tensor,
    config: AugmentConfig,
    random: BatchRandom,
    pixel_range: tuple[float, float],
) -> Tensor:
    """Apply all augmentations of `config`, in the order of `AUGMENTATIONS`.

    Raises:
        CatganError: a setting is not in `AUGMENTATIONS`.
    """
    for augmentation, setting in _enabled(config):
        images = augmentation.apply(images, setting, random, pixel_range)
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

    Raises:
        CatganError: a setting is not in `AUGMENTATIONS`.
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
    if not views:
        return augment(images, config, random, pixel_range), None
    view_ids = views * indices
    for number, (augmentation, setting) in enumerate(_enabled(config)):
        before, images = images, augmentation.apply(images, setting, random, pixel_range)
        changed = (images != before).flatten(1).any(1)
        view_ids = view_ids + 2**number * changed.to(indices.device)
    return images, view_ids


def views_of_each(config: AugmentConfig) -> int:
    """Return how many augmentations one training image has, or 0 if there is no limit.

    Raises:
        CatganError: a setting is not in `AUGMENTATIONS`.
    """
    if config.views:
        return config.views
    enabled = _enabled(config)
    if not all(augmentation.cacheable for augmentation, _ in enabled):
        return 0
    # Two also if none is enabled: the size of the cache decides what is cached, which affects the
    # last bits of features, and a run of an earlier version must resume bit-equal.
    return 2 ** max(len(enabled), 1)


def _enabled(config: AugmentConfig) -> list[tuple[Augmentation, Any]]:
    """Return the augmentations that are not off, in order, each with the value of its setting."""
    settings = dataclasses.asdict(config)
    del settings["views"]  # which says how often real images are augmented, not how
    for name in settings:
        if name not in AUGMENTATIONS:
            raise CatganError(
                f"no augmentation {quoted(name)}: choose from {', '.join(AUGMENTATIONS)}"
            )
    return [
        (augmentation, settings[name])
        for name, augmentation in AUGMENTATIONS.items()
        if settings[name]
    ]


def flip(images: Tensor, on: bool, random: BatchRandom, pixel_range: tuple[float, float]) -> Tensor:
    """Mirror each image with probability one half."""
    mirrored = random.uniform(len(images)) < 0.5
    no_shift = [0] * len(images)
    return _Move.apply(images, mirrored.tolist(), no_shift, no_shift, 0.0)


def zoom(
    images: Tensor, fraction: float, random: BatchRandom, pixel_range: tuple[float, float]
) -> Tensor:
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


def crop(
    images: Tensor, fraction: float, random: BatchRandom, pixel_range: tuple[float, float]
) -> Tensor:
    """Shift each image by up to `fraction` of the side; the border is reflected."""
    side = images.shape[-1]
    max_shift = max(1, round(fraction * side))
    return _window(F.pad(images, [max_shift] * 4, mode="reflect"), side, max_shift, random)


def color_jitter(
    images: Tensor, strength: float, random: BatchRandom, pixel_range: tuple[float, float]
) -> Tensor:
    """Change brightness, contrast and saturation by a factor of up to 1 +- `strength`."""
    low, high = pixel_range
    change = _uniform(images, random, 3) * strength
    images = color(images, 0.0, 1 + change[0], 1 + change[1], low, scale=1 + change[2])
    return images.clamp(low, high)


def diffaugment_color(
    images: Tensor, on: bool, random: BatchRandom, pixel_range: tuple[float, float]
) -> Tensor:
    """Change brightness, saturation and contrast, as in DiffAugment."""
    low, high = pixel_range
    brightness, saturation, contrast = _uniform(images, random, 3)
    # The paper's ranges, for pixels in [-1, 1]: +-0.5, 0 to 2, 0.5 to 1.5.
    offset = brightness * 0.25 * (high - low)
    return color(images, offset, 1 + 0.5 * contrast, 1 + saturation, low)


def sharpness(
    images: Tensor, probability: float, random: BatchRandom, pixel_range: tuple[float, float]
) -> Tensor:
    """Blend some images with their blur, or away from it, by a factor from 0 (blurred) to 2."""
    selected = random.uniform(len(images)) < probability
    factor = torch.where(selected, 2 * random.uniform(len(images)), 1.0)
    kernel = torch.tensor([1.0, 2.0, 1.0], device=images.device, dtype=images.dtype) / 4
    weight = (kernel[:, None] * kernel).expand(images.shape[1], 1, 3, 3)
    blurred = F.conv2d(F.pad(images, [1] * 4, mode="reflect"), weight, groups=images.shape[1])
    return torch.lerp(blurred, images, _per_image(factor, images)).clamp(*pixel_range)


def translate(
    images: Tensor, on: bool, random: BatchRandom, pixel_range: tuple[float, float]
) -> Tensor:
    """Shift by up to 1/8 of the side, as in DiffAugment; the border is filled with gray."""
    max_shift = max(1, round(TRANSLATION * images.shape[-1]))
    down, right = random.integers(-max_shift, max_shift + 1, 2, len(images)).tolist()
    return _Move.apply(images, [False] * len(images), down, right, _gray(pixel_range))


def cutout(
    images: Tensor, on: bool, random: BatchRandom, pixel_range: tuple[float, float]
) -> Tensor:
    """Fill a square of half the side with gray, centered anywhere, as in DiffAugment."""
    side = images.shape[-1]
    half = CUTOUT * side / 2
    center = side * random.uniform(2, len(images))
    # A pixel is covered when its middle lies within half a square's side of the center.
    first = (center - half + 0.5).floor().clamp(0, side).long().tolist()
    last = (center + half - 0.5).ceil().clamp(0, side).long().tolist()
    squares = list(zip(first[0], last[0], first[1], last[1], strict=True))
    return _Fill.apply(images, squares, _gray(pixel_range))


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


# A new augmentation is a function, a line here and a field of `AugmentConfig`, whose value is false
# where it is off. They are applied in this order.
AUGMENTATIONS = {
    "flip": Augmentation(flip, cacheable=True),
    "zoom": Augmentation(zoom, cacheable=False),
    "crop": Augmentation(crop, cacheable=False),
    "color_jitter": Augmentation(color_jitter, cacheable=False),
    "sharpness": Augmentation(sharpness, cacheable=False),
    "diffaugment_color": Augmentation(diffaugment_color, cacheable=False),
    "diffaugment_translation": Augmentation(translate, cacheable=False),
    "diffaugment_cutout": Augmentation(cutout, cacheable=False),
}


def _gray(pixel_range: tuple[float, float]) -> float:
    """Return the middle of the pixel range."""
    low, high = pixel_range
    return (low + high) / 2


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
