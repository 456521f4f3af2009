"""Truncation: pull a generator's style toward its mean, which trades variety for quality."""

from __future__ import annotations

import torch
from torch import Tensor

from catgan.networks.base import BaseGenerator


@torch.no_grad()
def mean_style(generator: BaseGenerator, z: Tensor) -> Tensor:
    """Return the mean style (1, style_size) over noise `z` (N, latent_size) and its mirror -z.

    With the mirror image it is exactly zero for every odd `map`, such as one that only changes the
    length of z.
    """
    return (generator.map(z) + generator.map(-z)).mean(0, keepdim=True) / 2


def synthesize_truncated(
    generator: BaseGenerator, z: Tensor, truncation: float | Tensor, mean: Tensor
) -> Tensor:
    """Return images of noise `z` with the style at `truncation` times its distance from the `mean`.

    `truncation` ranges from 0, the mean image for every z, to 1, the generator as trained.
    """
    return generator.synthesize(mean + truncation * (generator.map(z) - mean))
