"""Colors of the two eyes: a loss that gives generated faces the statistics of photos.

A discriminator on the features of an ImageNet network hardly notices that a cat's left eye is
green and its right one orange; with a generator that it had trained for hours, the irises differed
twice as much as those of photos, and in most faces the same way around. So a few numbers are
computed from each eye, and their means and standard deviations over generated images are drawn
toward those over photos (feature matching: Salimans et al., "Improved Techniques for Training
GANs", NeurIPS 2016). For faces aligned as in AFHQ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from catgan.training.distributed import mean_over_processes

# Where an iris can be, in 64ths of the side: rows, and columns of the eye on the left.
ROWS, COLUMNS = (24, 37), (15, 30)
SOFTNESS = 8.0  # levels of 255 that make a pixel weigh e times as much in a selection
MIN_SQUARE = 1.0  # levels squared, of a variance that is divided by


@dataclass(frozen=True)
class EyeStatistics:
    """Statistics of photos' eyes, in levels of 255: of K numbers of each eye, three tensors (K,).

    `mean` and `variance` are those of the mean of both eyes, `square_difference` is the mean square
    of left minus right. That difference is 0 on average, as training sees mirror images as well.
    """

    mean: Tensor
    variance: Tensor
    square_difference: Tensor


def eye_numbers(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers (B, 16) of the left and of the right eye of images (B, 3, H, W).

    Pixels are from 0 to 255. Four soft selections of an eye's pixels are made: the yellowest, the
    greenest, the darkest and the brightest. The first two mostly find the iris, the third the
    pupil. Each gives brightness, red minus green and yellow minus blue, averaged over it, and how
    much there is of it. The right eye is read from the mirror image.
    """
    return _numbers_of_left_eye(images), _numbers_of_left_eye(images.flip(3))


def _numbers_of_left_eye(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    rows = slice(*(height * n // 64 for n in ROWS))
    columns = slice(*(width * n // 64 for n in COLUMNS))
    red, green, blue = images[:, :, rows, columns].flatten(2).unbind(1)
    brightness = (red + green + blue) / 3
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    colors = torch.stack([brightness, red_green, yellow_blue], 1)  # (B, 3, pixels)
    numbers: list[Tensor] = []
    for likeness in (yellow_blue, -red_green, -brightness, brightness):
        weights = torch.softmax(likeness / SOFTNESS, 1)
        amount = SOFTNESS * torch.logsumexp(likeness / SOFTNESS, 1)
        numbers += [(colors * weights[:, None]).sum(2), amount[:, None]]
    return torch.cat(numbers, 1)


def statistics_of_photos(chunks: Iterable[Tensor]) -> EyeStatistics:
    """Return the statistics of photos (B, 3, H, W), from 0 to 255."""
    eyes = [eye_numbers(chunk) for chunk in chunks]
    left, right = (torch.cat(each).double() for each in zip(*eyes, strict=True))
    statistics = (
        ((left + right) / 2).mean(0),
        ((left + right) / 2).var(0, correction=0).clamp_min(MIN_SQUARE),
        (left - right).square().mean(0).clamp_min(MIN_SQUARE),
    )
    return EyeStatistics(*(each.float() for each in statistics))


def eye_color_loss(images: Tensor, photos: EyeStatistics) -> Tensor:
    """Return how far the statistics of a batch (B, 3, H, W), from 0 to 255, are from photos'.

    Of each number, the mean of both eyes and their difference count, each by the squared
    2-Wasserstein distance between normal distributions, in units of the photos' variance. The
    batch is that of all processes, each of which has an equal part. Returns the sum, a scalar.
    """
    left, right = eye_numbers(images)
    shift, difference = (left + right) / 2 - photos.mean, left - right
    moments = torch.stack([shift, shift.square(), difference, difference.square()]).mean(1)
    mean, square, mean_difference, square_difference = mean_over_processes(moments)
    variance = (square - mean.square()).clamp_min(MIN_SQUARE)
    variance_of_difference = (square_difference - mean_difference.square()).clamp_min(MIN_SQUARE)
    unit = photos.square_difference
    of_means = mean.square() / photos.variance + mean_difference.square() / unit
    of_spreads = ((variance / photos.variance).sqrt() - 1).square()
    of_differences = ((variance_of_difference / unit).sqrt() - 1).square()
    return (of_means + of_spreads + of_differences).sum()
