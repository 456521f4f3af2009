"""Truncation: a generator's style pulled toward its mean, variety traded for quality."""

from __future__ import annotations

import torch
from torch import Tensor

from catgan.networks.base import BaseGenerator


@torch.no_grad()
def mean_style(generator: BaseGenerator, z: Tensor) -> Tensor:
    """The mean of the style over noise `z` (N, latent_size) and its mirror image: (1, style_size).

    With the mirror image it is exactly zero for every `map` that is odd, as all are that only
    change the length of z.
    """
    return (generator.map(z) + generator.map(-z)).mean(0, keepdim=True) / 2


def draw(generator: BaseGenerator, z: Tensor, truncation: float | Tensor, mean: Tensor) -> Tensor:
    """Images of noise `z`, their style `truncation` times as far from the `mean` as it was.

    `truncation` is from 0, the mean image for every z, to 1, the generator as it was trained.
    """
    return generator.synthesize(mean + truncation * (generator.map(z) - mean))
