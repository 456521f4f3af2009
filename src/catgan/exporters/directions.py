"""Directions in which a generator's cats change, found without labels.

GANSpace (Härkönen et al., NeurIPS 2020): the principal components of the generator's first maps, or
of the coarse images that it begins with, over many z, and for each the direction of z that moves
along it, by least squares.
"""

from __future__ import annotations

import numpy as np
import torch

from catgan.errors import CatganError
from catgan.generation.card import Direction
from catgan.generation.latents import latents
from catgan.networks.base import BaseGenerator

COUNT = 10
SAMPLES = 2048  # of z; several times a latent's length


def find_directions(
    generator: BaseGenerator, latent_size: int, names: dict[int, str]
) -> tuple[Direction, ...]:
    """The first `COUNT` directions, those with the largest share of the variance first.

    `names` are given to directions by their number, by someone who looked at them; `CatganError`
    for a number that no direction has. The generator is on the CPU. A direction has length one:
    going 1 along it is one standard deviation of z.
    """
    count = min(COUNT, latent_size)
    for number, name in names.items():
        if number >= count:
            raise CatganError(
                f"--direction {number}={name}: there is none of this number: they are 0 to "
                f"{count - 1}"
            )
    z = latents(range(SAMPLES), latent_size)
    with torch.no_grad():
        procedural = generator.low_res_base(generator.map(torch.from_numpy(z)))
    maps = procedural.flatten(1).double().numpy()
    maps -= maps.mean(0)
    variances, scores = np.linalg.eigh(maps @ maps.T)  # of the samples: fewer than the numbers
    order = np.argsort(variances)[::-1][:count]
    slopes, *_ = np.linalg.lstsq(z.astype(np.float64), scores[:, order], rcond=None)
    total = max(float(variances.sum()), 1e-30)
    found = []
    for number, slope in enumerate(slopes.T):
        # Or a direction could point either way, from one export to the next.
        sign = np.sign(slope[np.abs(slope).argmax()]) or 1.0
        vector = (sign * slope / max(float(np.linalg.norm(slope)), 1e-30)).astype(np.float32)
        share = float(variances[order[number]]) / total
        found.append(Direction(names.get(number, ""), round(share, 6), vector))
    return tuple(found)
