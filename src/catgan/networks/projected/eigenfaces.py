"""Eigenfaces: what differs most between faces, known before any training.

Sirovich and Kirby, "Low-dimensional procedure for the characterization of human faces", 1987; Turk
and Pentland, "Eigenfaces for recognition", 1991. Seen at 32 pixels a side, aligned faces with what
surrounds them are a mean image and some hundreds of principal components, found in seconds. A
generator that begins with them has layout, colors and contrast from its first step, and another
face for each noise. Their amounts are batch-normalized, whatever the generator's layers add to
them: so over all images each keeps the deviation that it has in photos, and which amounts go
together is what training is for.

All but one thing: some photos have more of everything than others, a plain wall or grass behind the
cat, and Gaussian amounts, independent of one another, have not. So all amounts of an image are
multiplied by one number, log-normal over images (a Gaussian scale mixture: Wainwright and
Simoncelli, "Scale mixtures of Gaussians and the statistics of natural images", 1999).

And the strongest are not correlated in photos, being principal components, while the layers' share
in them makes them so. What is left of that is measured now and then in the course of training, and
taken away in drawing (Huang et al., "Decorrelated Batch Normalization", CVPR 2018, do so in
training, too).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from catgan.networks.layers.filters import enlarging_matrix

MAX_SIDE = 32  # of the low-resolution images, in pixels
MAX_PIXEL = 0.95  # beyond which photos' pixels count as this, of 1, which tanh never reaches
MIN_COMPONENT_STD = 1e-4  # deviation that a component counts as having at least
DECORRELATED_COMPONENTS = 64  # components that are decorrelated
RIDGE = 1e-3  # added to the strongest amounts' variances, should they be all the same
PRIOR_IMAGES = 100  # that the statistics of a starting point count for, beside new photos
MIN_STRENGTH = 0.1  # strength that an image counts as having at least, of the root mean square


class Eigenfaces(nn.Module):
    """(B, latent_size) noise and (B, 3, resolution, resolution) details -> images in (-1, 1).

    An image's coarse part is the small image, of `side` pixels, that comes nearest to it when it is
    enlarged; all here is before tanh. Noise gives the amounts, its last number how strong they all
    are: `log_strength_std` is the deviation of the logarithm of that over images. Mean, components,
    deviations and spread are part of the state, and zero before `learn`; so are the mean of the
    strongest amounts and the matrix that takes their correlation away, which do nothing before
    `decorrelate`.

    With `doublings` the coarse images are those of resolution / 2 ** doublings, enlarged to that
    and then by two so many times. Of details that were enlarged in the same steps it finds the
    coarse part that it finds of them at the lower resolution, so its images are, before tanh, those
    of the lower resolution enlarged.
    """

    enlarging: Tensor
    fitting: Tensor
    mean: Tensor
    components: Tensor
    stds: Tensor
    log_strength_std: Tensor
    coefficient_mean: Tensor
    decorrelation: Tensor

    def __init__(self, resolution: int, latent_size: int, doublings: int = 0) -> None:
        super().__init__()
        base = resolution // 2**doublings
        self.side = min(base // 4, MAX_SIDE)
        numbers = 3 * self.side**2
        self.count = min(latent_size - 1, numbers)
        enlarging = enlarging_matrix(self.side, base)
        fitting = torch.linalg.pinv(enlarging)
        for doubling in range(doublings):
            doubled = enlarging_matrix(base * 2**doubling, base * 2 ** (doubling + 1))
            enlarging, fitting = doubled @ enlarging, fitting @ torch.linalg.pinv(doubled)
        self.register_buffer("enlarging", enlarging.float().contiguous(), persistent=False)
        self.register_buffer("fitting", fitting.float().contiguous(), persistent=False)
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("components", torch.zeros(self.count, numbers))
        self.register_buffer("stds", torch.zeros(self.count))
        self.register_buffer("log_strength_std", torch.zeros(()))
        self.norm = nn.BatchNorm2d(self.count, affine=False)
        strongest = min(DECORRELATED_COMPONENTS, self.count)
        self.register_buffer("coefficient_mean", torch.zeros(strongest))
        self.register_buffer("decorrelation", torch.eye(strongest))

    def forward(self, style: Tensor, details: Tensor) -> Tensor:
        """Images whose amounts of each component are style's and details' together, normalized."""
        # In this order an exported graph holds the components once.
        found = (self.components @ self._low_res_part(details).flatten(1).T).T
        coefficients = self._coefficients(style) + found / self.stds.clamp_min(MIN_COMPONENT_STD)
        coefficients = self.norm(coefficients[:, :, None, None])[:, :, 0, 0]
        if not self.training:
            strongest, others = coefficients.tensor_split([len(self.coefficient_mean)], 1)
            strongest = (strongest - self.coefficient_mean) @ self.decorrelation.T
            coefficients = torch.cat([strongest, others], 1)
        change = self._as_images(self.mean + (coefficients * self.stds - found) @ self.components)
        return torch.tanh(details + self.enlarging @ change @ self.enlarging.T)

    def low_res(self, style: Tensor) -> Tensor:
        """(B, latent_size) -> (B, 3, side, side): the small images of the style alone."""
        coefficients = self._coefficients(style) * self.stds
        return self._as_images(self.mean + coefficients @ self.components)

    def _coefficients(self, style: Tensor) -> Tensor:
        """(B, latent_size) -> (B, count), of mean 0 and deviation 1 over all images."""
        strength = torch.exp(self.log_strength_std * style[:, -1:] - self.log_strength_std.square())
        return style[:, : self.count] * strength

    @torch.no_grad()
    def decorrelate(self, coefficients: Tensor) -> None:
        """Draw so that amounts like these, (many, count) from `norm`, come out uncorrelated.

        With mean 0 and deviation 1, too. Of the matrices that do it, this is the one that takes
        from each amount only what it has in common with stronger ones.
        """
        strongest = coefficients[:, : len(self.coefficient_mean)].cpu().double()
        moments = torch.cov(strongest.T, correction=0).view(2 * self.coefficient_mean.shape)
        # `_ex`, as a run that diverged is told so elsewhere.
        root, _ = torch.linalg.cholesky_ex(moments + RIDGE * torch.eye(len(moments)))
        unit = torch.eye(len(root), dtype=root.dtype)
        self.coefficient_mean.copy_(strongest.mean(0))
        self.decorrelation.copy_(torch.linalg.solve_triangular(root, unit, upper=False))

    @torch.no_grad()
    def learn(self, chunks: Iterable[Tensor]) -> None:
        """Take mean, components, deviations, spread from images in [-1, 1] and their mirror images.

        The small images of all are in memory at once, 12 kB each. Of fewer images than components,
        the spread comes out too small, and of some tens of images 0.
        """
        every, total, products = [], torch.zeros_like(self.mean), torch.zeros(2 * self.mean.shape)
        for images in chunks:
            low_res = self._low_res_part(images).clamp(-MAX_PIXEL, MAX_PIXEL).atanh()
            every.append(low_res.flatten(1))
            seen = torch.cat([low_res, low_res.flip(3)]).flatten(1)
            total += seen.sum(0)
            products += seen.T @ seen
        count = 2 * sum(map(len, every))
        mean = total / count
        covariance = products / count - mean.outer(mean)
        # By random projections (Halko et al., SIAM Review 2011): all of them would take minutes.
        spare = min(self.count + 24, len(mean))
        _, variances, components = torch.svd_lowrank(covariance, q=spare, niter=4)
        self.mean.copy_(mean)
        self.components.copy_(components[:, : self.count].T)
        self.stds.copy_(variances[: self.count].sqrt())
        coefficients = (torch.cat(every) - mean) @ self.components.T
        squares = (coefficients / self.stds.clamp_min(MIN_COMPONENT_STD)).square().mean(1)
        variance = squares.clamp_min(MIN_STRENGTH**2).log().var(correction=0) / 4
        # Without any spread, the mean of so many squares would still vary, by 2 / count.
        self.log_strength_std.copy_((variance - 1 / (2 * self.count)).clamp_min(0).sqrt())

    @torch.no_grad()
    def adapt(self, chunks: Iterable[Tensor]) -> None:
        """Move mean, deviations and spread toward those of other images; components stay.

        So every number of z goes on to mean what it meant to layers that were trained with it. How
        far they move is a matter of how many images there are: `PRIOR_IMAGES` of what is known
        already count beside them (shrinkage), as a few photos say little of 255 deviations.
        """
        every = [
            self._low_res_part(images).clamp(-MAX_PIXEL, MAX_PIXEL).atanh() for images in chunks
        ]
        seen = torch.cat([torch.cat([low_res, low_res.flip(3)]).flatten(1) for low_res in every])
        weight = len(seen) / 2 / (len(seen) / 2 + PRIOR_IMAGES)
        coefficients = (seen - seen.mean(0)) @ self.components.T
        squares = (coefficients / self.stds.clamp_min(MIN_COMPONENT_STD)).square().mean(1)
        variance = squares.clamp_min(MIN_STRENGTH**2).log().var(correction=0) / 4
        log_strength_std = (variance - 1 / (2 * self.count)).clamp_min(0)
        self.mean.lerp_(seen.mean(0), weight)
        self.stds.copy_(self.stds.square().lerp_(coefficients.square().mean(0), weight).sqrt())
        self.log_strength_std.copy_(
            self.log_strength_std.square().lerp_(log_strength_std, weight).sqrt()
        )

    def _as_images(self, numbers: Tensor) -> Tensor:
        return numbers.unflatten(1, (3, self.side, self.side))

    def _low_res_part(self, images: Tensor) -> Tensor:
        return self.fitting @ images.contiguous() @ self.fitting.T
