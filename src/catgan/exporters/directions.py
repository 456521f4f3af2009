"""Find interpretable directions in the latent space without labels, by PCA.

GANSpace (Härkönen et al., NeurIPS 2020): the principal components of the generator's first feature
maps, or of its low-resolution base images, over many z; then, by least squares, the direction of z
that moves along each component.
"""

from __future__ import annotations

import numpy as np
import torch

from catgan.errors import CatganError
from catgan.generation.card import Direction
from catgan.generation.latents import latents
from catgan.networks.base import BaseGenerator

COUNT = 10
SAMPLES = 2048  # of z; several times the latent size


def find_directions(
    generator: BaseGenerator, latent_size: int, names: dict[int, str]
) -> tuple[Direction, ...]:
    """Return the first `COUNT` directions, in descending order of explained variance.

    `generator` is on the CPU. `names` maps numbers of directions to names. A direction is a unit
    vector, so moving by 1 along it is one standard deviation of z.

    Raises:
        CatganError: `names` has a number without a direction.
    """
    count = min(COUNT, latent_size)
    for number, name in names.items():
        if number >= count:
            raise CatganError(
                f"--direction {number}={name}: expected a direction from 0 to {count - 1}"
            )
    z = latents(range(SAMPLES), latent_size)
    with torch.no_grad():
        base = generator.low_res_base(generator.map(torch.from_numpy(z)))
    features = base.flatten(1).double().numpy()
    features -= features.mean(0)
    # PCA by the Gram matrix of the samples, which are fewer than the features.
    variances, scores = np.linalg.eigh(features @ features.T)
    order = np.argsort(variances)[::-1][:count]
    slopes, *_ = np.linalg.lstsq(z.astype(np.float64), scores[:, order], rcond=None)
    total = max(float(variances.sum()), 1e-30)
    directions = []
    for number, slope in enumerate(slopes.T):
        # PCA leaves the sign open: fix it, so that each export has the same directions.
        sign = np.sign(slope[np.abs(slope).argmax()]) or 1.0
        vector = (sign * slope / max(float(np.linalg.norm(slope)), 1e-30)).astype(np.float32)
        share = float(variances[order[number]]) / total
        directions.append(Direction(names.get(number, ""), round(share, 6), vector))
    return tuple(directions)
