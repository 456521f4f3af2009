"""Eigenfaces: the main differences between faces, computed before any training.

Sirovich and Kirby, "Low-dimensional procedure for the characterization of human faces", 1987; Turk
and Pentland, "Eigenfaces for recognition", 1991. At 32 pixels a side, aligned faces with their
surroundings are well described by a mean image and some hundreds of principal components, computed
in seconds. A generator built on them has layout, colors and contrast from its first step, and a
different face for each noise. The coefficients are batch-normalized, whatever the generator's
layers add to them. So over all images each keeps the standard deviation that it has in photos, and
training learns which coefficients occur together.

Two properties of photos are modeled besides:

- Some photos have more of everything than others, which have a plain wall or grass behind the cat;
  independent Gaussian coefficients do not show this. So all coefficients of an image are multiplied
  by one number, log-normal over images (a Gaussian scale mixture: Wainwright and Simoncelli, "Scale
  mixtures of Gaussians and the statistics of natural images", 1999).
- The strongest coefficients are uncorrelated in photos, being principal components, while the
  layers' contributions correlate them. The remaining correlation is measured at intervals during
  training and removed at inference (Huang et al., "Decorrelated Batch Normalization", CVPR 2018,
  remove it in training, too).

Uncorrelated coefficients can still depend on each other; a correction learned after training
(`networks/projected/correction.py`) brings this, too, closer to photos.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from catgan.networks.layers.filters import upsampling_matrix
from catgan.networks.projected.correction import Correction

MAX_SIDE = 32  # pixels, of the low-resolution images
MAX_PIXEL = 0.95  # photos' pixels are clipped to this: tanh never reaches 1
MIN_COMPONENT_STD = 1e-4
DECORRELATED_COMPONENTS = 64  # the strongest ones
RIDGE = 1e-3  # added to the variances of the strongest coefficients, in case they are zero
PRIOR_IMAGES = 100  # weight, in images, of the known statistics in `adapt`
MIN_STRENGTH = 0.1  # lower limit of an image's strength, relative to the root mean square


class Eigenfaces(nn.Module):
    """Map noise (B, latent_size) and details (B, 3, resolution, resolution) to images in (-1, 1).

    An image's low-resolution part is the image of `side` pixels that comes nearest to it when it is
    upsampled; everything here is before tanh. Noise gives the coefficients; its last number sets
    the strength of all of them. `log_strength_std` is the standard deviation of the logarithm of
    that strength over images. Mean, components, standard deviations and `log_strength_std` are part
    of the state, and zero before `learn`. So are the mean of the strongest coefficients and the
    matrix that decorrelates them, which do nothing before `decorrelate`. With a `correction_width`
    there is a `correction` of the decorrelated coefficients, which does nothing before it is
    learned.

    With `doublings` the low-resolution images are those of resolution / 2 ** doublings, upsampled
    to that and then by two as many times. For details that were upsampled in the same steps, the
    low-resolution part is the one found at the lower resolution. So the images are, before tanh,
    those of the lower resolution, upsampled.
    """

    upsampling: Tensor
    fitting: Tensor
    mean: Tensor
    components: Tensor
    stds: Tensor
    log_strength_std: Tensor
    coefficient_mean: Tensor
    decorrelation: Tensor

    def __init__(
        self, resolution: int, latent_size: int, doublings: int = 0, correction_width: int = 0
    ) -> None:
        super().__init__()
        base = resolution // 2**doublings
        self.side = min(base // 4, MAX_SIDE)
        numbers = 3 * self.side**2
        self.count = min(latent_size - 1, numbers)
        upsampling = upsampling_matrix(self.side, base)
        fitting = torch.linalg.pinv(upsampling)
        for doubling in range(doublings):
            doubled = upsampling_matrix(base * 2**doubling, base * 2 ** (doubling + 1))
            upsampling, fitting = doubled @ upsampling, fitting @ torch.linalg.pinv(doubled)
        self.register_buffer("upsampling", upsampling.float().contiguous(), persistent=False)
        self.register_buffer("fitting", fitting.float().contiguous(), persistent=False)
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("components", torch.zeros(self.count, numbers))
        self.register_buffer("stds", torch.zeros(self.count))
        self.register_buffer("log_strength_std", torch.zeros(()))
        self.norm = nn.BatchNorm2d(self.count, affine=False)
        strongest = min(DECORRELATED_COMPONENTS, self.count)
        self.register_buffer("coefficient_mean", torch.zeros(strongest))
        self.register_buffer("decorrelation", torch.eye(strongest))
        self.correction = Correction(self.count, correction_width) if correction_width else None

    def forward(self, style: Tensor, details: Tensor) -> Tensor:
        """Return images whose coefficients are the normalized sum of those of style and details."""
        # In this order of factors an exported graph stores the components once.
        of_details = (self.components @ self._low_res_part(details).flatten(1).T).T
        scaled = of_details / self.stds.clamp_min(MIN_COMPONENT_STD)
        coefficients = self._coefficients(style) + scaled
        coefficients = self.norm(coefficients[:, :, None, None])[:, :, 0, 0]
        if not self.training:
            coefficients = self.decorrelated(coefficients)
            if self.correction is not None:
                coefficients = self.correction(coefficients)
        change = (coefficients * self.stds - of_details) @ self.components
        change = self._as_images(self.mean + change)
        return torch.tanh(details + self.upsampling @ change @ self.upsampling.T)

    def low_res(self, style: Tensor) -> Tensor:
        """Return the low-resolution images (B, 3, side, side) of the style (B, latent_size)."""
        return self.to_low_res_images(self._coefficients(style))

    def decorrelated(self, coefficients: Tensor) -> Tensor:
        """Return coefficients (B, count) of `norm` without the correlations that were measured."""
        strongest, others = coefficients.tensor_split([len(self.coefficient_mean)], 1)
        strongest = (strongest - self.coefficient_mean) @ self.decorrelation.T
        return torch.cat([strongest, others], 1)

    def coefficients_of(self, images: Tensor) -> Tensor:
        """Return the coefficients (B, count), in standard deviations, of images in [-1, 1]."""
        change = self._low_res_before_tanh(images).flatten(1) - self.mean
        return change @ self.components.T / self.stds.clamp_min(MIN_COMPONENT_STD)

    def to_low_res_images(self, coefficients: Tensor) -> Tensor:
        """Return low-resolution images (B, 3, side, side), before tanh, of coefficients."""
        return self._as_images(self.mean + (coefficients * self.stds) @ self.components)

    def _coefficients(self, style: Tensor) -> Tensor:
        """Return coefficients (B, count), of mean 0 and std 1 over all images."""
        strength = torch.exp(self.log_strength_std * style[:, -1:] - self.log_strength_std.square())
        return style[:, : self.count] * strength

    @torch.no_grad()
    def decorrelate(self, coefficients: Tensor) -> None:
        """Set the decorrelation of inference from coefficients (many, count) as `norm` gives them.

        Coefficients like these then come out uncorrelated, of mean 0 and standard deviation 1. Of
        all matrices that do so, this one removes from each coefficient only what it has in common
        with stronger ones.
        """
        strongest = coefficients[:, : len(self.coefficient_mean)].cpu().double()
        moments = torch.cov(strongest.T, correction=0).view(2 * self.coefficient_mean.shape)
        # `_ex` does not raise: a run that diverged is stopped elsewhere.
        root, _ = torch.linalg.cholesky_ex(moments + RIDGE * torch.eye(len(moments)))
        unit = torch.eye(len(root), dtype=root.dtype)
        self.coefficient_mean.copy_(strongest.mean(0))
        self.decorrelation.copy_(torch.linalg.solve_triangular(root, unit, upper=False))

    @torch.no_grad()
    def learn(self, chunks: Iterable[Tensor]) -> None:
        """Compute all statistics from images in [-1, 1] and their mirror images.

        The low-resolution images of all are in memory at once, 12 kB each. From fewer images than
        components, `log_strength_std` comes out too small, and from some tens of images it is 0.
        """
        unmirrored: list[Tensor] = []
        total, products = torch.zeros_like(self.mean), torch.zeros(2 * self.mean.shape)
        for images in chunks:
            low_res = self._low_res_before_tanh(images)
            unmirrored.append(low_res.flatten(1))
            vectors = torch.cat([low_res, low_res.flip(3)]).flatten(1)
            total += vectors.sum(0)
            products += vectors.T @ vectors
        count = 2 * sum(map(len, unmirrored))
        mean = total / count
        covariance = products / count - mean.outer(mean)
        # By random projections (Halko et al., SIAM Review 2011): a full SVD would take minutes.
        oversampled = min(self.count + 24, len(mean))
        _, variances, components = torch.svd_lowrank(covariance, q=oversampled, niter=4)
        self.mean.copy_(mean)
        self.components.copy_(components[:, : self.count].T)
        self.stds.copy_(variances[: self.count].sqrt())
        coefficients = (torch.cat(unmirrored) - mean) @ self.components.T
        self.log_strength_std.copy_(self._log_strength_variance(coefficients).sqrt())

    @torch.no_grad()
    def adapt(self, chunks: Iterable[Tensor]) -> None:
        """Move all statistics but the components toward those of other images.

        So every number of z keeps the meaning that it had for layers trained with it. The more
        images, the further the statistics move: the known statistics count as `PRIOR_IMAGES` images
        (shrinkage), since a few photos say little about 255 standard deviations.
        """
        low_res_images = [self._low_res_before_tanh(images) for images in chunks]
        vectors = torch.cat(
            [torch.cat([low_res, low_res.flip(3)]).flatten(1) for low_res in low_res_images]
        )
        weight = len(vectors) / 2 / (len(vectors) / 2 + PRIOR_IMAGES)
        coefficients = (vectors - vectors.mean(0)) @ self.components.T
        log_strength_variance = self._log_strength_variance(coefficients)
        self.mean.lerp_(vectors.mean(0), weight)
        self.stds.copy_(self.stds.square().lerp_(coefficients.square().mean(0), weight).sqrt())
        self.log_strength_std.copy_(
            self.log_strength_std.square().lerp_(log_strength_variance, weight).sqrt()
        )

    def _log_strength_variance(self, coefficients: Tensor) -> Tensor:
        """Return the variance over images of the logarithm of their strength, a scalar."""
        squares = (coefficients / self.stds.clamp_min(MIN_COMPONENT_STD)).square().mean(1)
        variance = squares.clamp_min(MIN_STRENGTH**2).log().var(correction=0) / 4
        # Even with equal strengths, the mean of `count` squares has a variance of 2 / count.
        return (variance - 1 / (2 * self.count)).clamp_min(0)

    def _as_images(self, numbers: Tensor) -> Tensor:
        return numbers.unflatten(1, (3, self.side, self.side))

    def _low_res_before_tanh(self, images: Tensor) -> Tensor:
        """Return the low-resolution part of images in [-1, 1], before tanh."""
        return self._low_res_part(images).clamp(-MAX_PIXEL, MAX_PIXEL).atanh()

    def _low_res_part(self, images: Tensor) -> Tensor:
        return self.fitting @ images.contiguous() @ self.fitting.T
