"""Colors of the two eyes: a loss that gives generated faces the statistics of photos.

A discriminator on the features of an ImageNet network hardly notices that a cat's left eye is
green and its right one orange; with a generator that it had trained for hours, the irises differed
1.8 times as much as those of photos, and on average in the same direction. So a few features are
computed of each eye, and their means and standard deviations over generated images are pulled
toward those over photos (feature matching: Salimans et al., "Improved Techniques for Training
GANs", NeurIPS 2016). For faces aligned as in AFHQ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from catgan.training.distributed import mean_over_processes, world

# Where an iris can be, in 64ths of the side: rows, and columns of the eye on the left.
ROWS, COLUMNS = (24, 37), (15, 30)
SOFTNESS = 8.0  # levels of 255 that make a pixel weigh e times as much in a selection
MAX_PHOTOS, CHUNK = 4_096, 64  # photos that are compared with, read in chunks
MIN_SQUARE = 1.0  # levels squared, of a variance that is divided by


@dataclass(frozen=True)
class EyeStatistics:
    """Statistics of photos' eyes, in levels of 255: of K features of each eye, three tensors (K,).

    `mean` and `variance` are those of the mean of both eyes, `square_difference` is the mean square
    of left minus right. That difference is 0 on average, as training sees mirror images as well.
    """

    mean: Tensor
    variance: Tensor
    square_difference: Tensor


class EyeColorLoss:
    """`eye_color_loss` of a run, times its weight; 0, and nothing is read, if that is 0.

    Pixels are in `pixel_range`. `load_photos` returns the photos first ... first + count of `total`
    of the run, and something else.
    """

    def __init__(
        self,
        weight: float,
        pixel_range: tuple[float, float],
        load_photos: Callable[[int, int], tuple[Tensor, Tensor]],
        total: int,
    ) -> None:
        self.weight, (self.low, self.high) = weight, pixel_range
        self.photos: EyeStatistics | None = None
        if weight:
            count = min(total, MAX_PHOTOS)
            self.photos = statistics_of_photos(
                self._to_levels(load_photos(first, min(CHUNK, count - first))[0])
                for first in range(0, count, CHUNK)
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Return the loss of generated images (B, 3, H, W), a scalar."""
        if self.photos is None:
            return images.new_zeros(())
        return self.weight * eye_color_loss(self._to_levels(images), self.photos)

    def _to_levels(self, pixels: Tensor) -> Tensor:
        return (pixels - self.low) * (255 / (self.high - self.low))


def eye_features(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the features (B, 16) of the left and of the right eye of images (B, 3, H, W).

    Pixels are from 0 to 255. Four soft selections of an eye's pixels are made: the yellowest, the
    greenest, the darkest and the brightest. The first two mostly find the iris, unless it is blue,
    the third the pupil. Each gives brightness, red minus green and yellow minus blue, averaged over
    it, and the soft maximum by which it selects, which grows with the logarithm of the number of
    pixels. The right eye is read from the mirror image.
    """
    return _features_of_left_eye(images), _features_of_left_eye(images.flip(3))


def _features_of_left_eye(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    rows = slice(*(height * n // 64 for n in ROWS))
    columns = slice(*(width * n // 64 for n in COLUMNS))
    red, green, blue = images[:, :, rows, columns].flatten(2).unbind(1)
    brightness = (red + green + blue) / 3
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    colors = torch.stack([brightness, red_green, yellow_blue], 1)  # (B, 3, pixels)
    features: list[Tensor] = []
    for likeness in (yellow_blue, -red_green, -brightness, brightness):
        weights = torch.softmax(likeness / SOFTNESS, 1)
        soft_maximum = SOFTNESS * torch.logsumexp(likeness / SOFTNESS, 1)
        features += [(colors * weights[:, None]).sum(2), soft_maximum[:, None]]
    return torch.cat(features, 1)


def statistics_of_photos(chunks: Iterable[Tensor]) -> EyeStatistics:
    """Return the statistics of photos (B, 3, H, W), from 0 to 255."""
    eyes = [eye_features(chunk) for chunk in chunks]
    # On the CPU: not every device has float64.
    left, right = (torch.cat(each).cpu().double() for each in zip(*eyes, strict=True))
    statistics = (
        ((left + right) / 2).mean(0),
        ((left + right) / 2).var(0, correction=0).clamp_min(MIN_SQUARE),
        (left - right).square().mean(0).clamp_min(MIN_SQUARE),
    )
    return EyeStatistics(*(each.float().to(eyes[0][0].device) for each in statistics))


def eye_color_loss(images: Tensor, photos: EyeStatistics) -> Tensor:
    """Return how far the statistics of a batch (B, 3, H, W), from 0 to 255, are from photos'.

    Each feature is compared in two forms: as the mean of both eyes, and as left minus right. Each
    form adds the squared 2-Wasserstein distance between normal distributions, in units of the
    photos' variance. The batch is that of all processes, each of which has an equal part. Moments
    are unbiased, so that the expected loss is least near the photos' statistics for any batch size
    from 2; of few images the loss itself can be negative. Returns the sum, a scalar.
    """
    left, right = eye_features(images)
    shift, difference = (left + right) / 2 - photos.mean, left - right
    moments = torch.stack([shift, shift.square(), difference, difference.square()]).mean(1)
    mean, square, mean_difference, square_difference = mean_over_processes(moments)
    count = len(images) * world().processes
    return _distance(mean, square, photos.variance, count) + _distance(
        mean_difference, square_difference, photos.square_difference, count
    )


def _distance(mean: Tensor, square: Tensor, photo_variance: Tensor, count: int) -> Tensor:
    """Return the summed distance of normal distributions (K,) to mean 0 and `photo_variance`.

    `mean` and `square` are the means over `count` images of a feature and of its square.
    """
    unbiased = count / max(count - 1, 1)
    variance = ((square - mean.square()) * unbiased).clamp_min(MIN_SQUARE)
    of_means = (mean.square() - variance / count) / photo_variance
    of_stds = ((variance / photo_variance).sqrt() - 1).square()
    return (of_means + of_stds).sum()
