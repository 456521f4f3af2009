"""Eigenfaces: what differs most between faces, known before any training.

Sirovich and Kirby, "Low-dimensional procedure for the characterization of human faces", 1987; Turk
and Pentland, "Eigenfaces for recognition", 1991. Seen at 32 pixels a side, aligned faces with what
surrounds them are a mean image and some hundreds of principal components, found in seconds. A
generator that begins with them has layout, colours and contrast from its first step, and another
face for each noise. Their amounts are batch-normalised, whatever the generator's layers add to
them: so over all images each keeps the deviation that it has in photos, and which amounts go
together is what training is for.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_PIXELS = 32  # a side of the coarse images
BRIGHTEST = 0.95  # beyond which photos' pixels count as this, of 1, which tanh never reaches
FAINTEST = 1e-4  # deviation that a component counts as having at least


class Eigenfaces(nn.Module):
    """(B, latent_size) noise and (B, 3, resolution, resolution) details -> images in (-1, 1).

    An image's coarse part is the small image, of `side` pixels, that comes nearest to it when it is
    enlarged; all here is before tanh. Mean, components and deviations are part of the state, and
    zero before `learn`.
    """

    enlarging: Tensor
    fitting: Tensor
    mean: Tensor
    components: Tensor
    deviations: Tensor

    def __init__(self, resolution: int, latent_size: int) -> None:
        super().__init__()
        self.side = min(resolution // 4, MOST_PIXELS)
        numbers = 3 * self.side**2
        self.count = min(latent_size, numbers)
        unit = torch.eye(self.side, dtype=torch.float64).unflatten(1, (1, self.side, 1))
        enlarging = F.interpolate(unit, size=(resolution, 1), mode="bicubic").flatten(1).T
        fitting = torch.linalg.pinv(enlarging)
        self.register_buffer("enlarging", enlarging.float().contiguous(), persistent=False)
        self.register_buffer("fitting", fitting.float().contiguous(), persistent=False)
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("components", torch.zeros(self.count, numbers))
        self.register_buffer("deviations", torch.zeros(self.count))
        self.norm = nn.BatchNorm2d(self.count, affine=False)

    def forward(self, style: Tensor, details: Tensor) -> Tensor:
        """Images whose amounts of each component are style's and details' together, normalised."""
        # In this order an exported graph holds the components once.
        found = (self.components @ self._coarse_part(details).flatten(1).T).T
        amounts = style[:, : self.count] + found / self.deviations.clamp_min(FAINTEST)
        amounts = self.norm(amounts[:, :, None, None])[:, :, 0, 0] * self.deviations
        change = self._small(self.mean + (amounts - found) @ self.components)
        return torch.tanh(details + self.enlarging @ change @ self.enlarging.T)

    def coarse(self, style: Tensor) -> Tensor:
        """(B, latent_size) -> (B, 3, side, side): the small images of the style alone."""
        amounts = style[:, : self.count] * self.deviations
        return self._small(self.mean + amounts @ self.components)

    @torch.no_grad()
    def learn(self, portions: Iterable[Tensor]) -> None:
        """Take mean, components and deviations from images in [-1, 1] and their mirror images."""
        count, total, products = 0, torch.zeros_like(self.mean), torch.zeros(2 * self.mean.shape)
        for images in portions:
            coarse = self._coarse_part(images).clamp(-BRIGHTEST, BRIGHTEST).atanh()
            seen = torch.cat([coarse, coarse.flip(3)]).flatten(1)
            count, total = count + len(seen), total + seen.sum(0)
            products += seen.T @ seen
        mean = total / count
        covariance = products / count - mean.outer(mean)
        # By random projections (Halko et al., SIAM Review 2011): all of them would take minutes.
        spare = min(self.count + 24, len(mean))
        _, variances, components = torch.svd_lowrank(covariance, q=spare, niter=4)
        self.mean.copy_(mean)
        self.components.copy_(components[:, : self.count].T)
        self.deviations.copy_(variances[: self.count].sqrt())

    def _small(self, numbers: Tensor) -> Tensor:
        return numbers.unflatten(1, (3, self.side, self.side))

    def _coarse_part(self, images: Tensor) -> Tensor:
        return self.fitting @ images.contiguous() @ self.fitting.T
