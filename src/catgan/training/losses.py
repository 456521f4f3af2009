"""Adversarial objectives, as scalars of the discriminator's raw outputs (any shape, float32).

- bce: binary cross-entropy, non-saturating (Goodfellow et al., "Generative Adversarial Nets",
  NeurIPS 2014).
- mse: least squares with targets 1 and 0 (Mao et al., "Least Squares GANs", ICCV 2017).
- hinge: (Lim and Ye, "Geometric GAN", 2017).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(kind: str, real: Tensor, generated: Tensor) -> Tensor:
    """What the discriminator lowers: the mean over real plus the mean over generated outputs."""
    real, generated = real.float(), generated.float()
    if kind == "bce":  # softplus(-x) = -log sigmoid(x), without overflow
        return F.softplus(-real).mean() + F.softplus(generated).mean()
    if kind == "mse":
        return (real - 1).square().mean() + generated.square().mean()
    return F.relu(1 - real).mean() + F.relu(1 + generated).mean()  # hinge


def generator_loss(kind: str, generated: Tensor) -> Tensor:
    """What the generator lowers."""
    generated = generated.float()
    if kind == "bce":
        return F.softplus(-generated).mean()
    if kind == "mse":
        return (generated - 1).square().mean()
    return -generated.mean()  # hinge


def decision_threshold(kind: str) -> float:
    """The output above which the discriminator calls an image real."""
    return 0.5 if kind == "mse" else 0.0
