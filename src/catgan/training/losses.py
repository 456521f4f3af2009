"""Adversarial losses: float32 scalars of the discriminator's logits (B, K[, P]).

K heads judge each image at P positions; losses are averaged over positions, summed over heads and
averaged over images.

- bce: binary cross-entropy, non-saturating (Goodfellow et al., "Generative Adversarial Nets",
  NeurIPS 2014).
- mse: least squares with targets 1 and 0 (Mao et al., "Least Squares GANs", ICCV 2017).
- hinge: (Lim and Ye, "Geometric GAN", 2017).
- relativistic: the logistic loss of the difference between a real and a generated image
  (Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019). It penalizes a generator that
  collapses to one image, which the other losses need not (Huang et al., "The GAN is dead; long
  live the GAN!", NeurIPS 2024).

A new loss is an entry in each of the two tables below, and a name in `config.LossConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from catgan.config import LossConfig
from catgan.errors import CatganError, quoted

RealLogits = Callable[[], Tensor]  # computes them on demand, as only some losses use them
Loss = TypeVar("Loss")


def _mean(values: Tensor) -> Tensor:
    """Average over the positions of each head, sum over heads, average over images."""
    return values.flatten(2).mean(2).sum(1).mean() if values.dim() > 2 else values.sum(1).mean()


def _without_gradient(real: RealLogits) -> Tensor:
    with torch.no_grad():
        return real().detach()


# softplus(-x) = -log sigmoid(x), without overflow.
DISCRIMINATOR_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": lambda real, fake: _mean(F.softplus(-real)) + _mean(F.softplus(fake)),
    "mse": lambda real, fake: _mean((real - 1).square()) + _mean(fake.square()),
    "hinge": lambda real, fake: _mean(F.relu(1 - real)) + _mean(F.relu(1 + fake)),
    "relativistic": lambda real, fake: _mean(F.softplus(fake - real)),
}
GENERATOR_LOSSES: Mapping[str, Callable[[RealLogits, Tensor], Tensor]] = {
    "bce": lambda real, fake: _mean(F.softplus(-fake)),
    "mse": lambda real, fake: _mean((fake - 1).square()),
    "hinge": lambda real, fake: -_mean(fake),
    "relativistic": lambda real, fake: _mean(F.softplus(_without_gradient(real) - fake)),
}


def discriminator_loss(kind: str, real: Tensor, generated: Tensor) -> Tensor:
    """Return the loss that the discriminator minimizes, from logits of both kinds of images.

    Raises:
        CatganError: `kind` is unknown.
    """
    return _find(DISCRIMINATOR_LOSSES, kind)(real, generated)


def generator_loss(kind: str, real: RealLogits, generated: Tensor) -> Tensor:
    """Return the loss that the generator minimizes; only the relativistic one calls `real`.

    `real` must return logits of the same discriminator that gave `generated`: pairs from before and
    after its step were measured to be no better (docs/projected.md). They get no gradient.

    Raises:
        CatganError: `kind` is unknown.
    """
    return _find(GENERATOR_LOSSES, kind)(real, generated)


def gradient_penalty(
    discriminate: Callable[[list[Tensor]], Tensor], features: Sequence[Tensor]
) -> Tensor:
    """Return the squared norm of the gradient of each image's summed logits, averaged over images.

    R1 on real images, R2 on generated ones (Mescheder et al., "Which Training Methods for GANs do
    actually Converge?", ICML 2018), by the discriminator's inputs: the images, or projected
    features, where no pass through the frozen backbone is needed. `discriminate` maps `features` to
    logits; nothing flows back to where `features` came from.
    """
    inputs = [feature.detach().requires_grad_() for feature in features]
    logits = discriminate(inputs)
    gradients = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    squares = (gradient.float().square().sum() / len(gradient) for gradient in gradients)
    return sum(squares, logits.new_zeros(()))


def penalty_strength(config: LossConfig, images: int) -> float:
    """Return the factor of the gradient penalties after `images` images; it falls geometrically."""
    done = min(images / config.penalty_images, 1.0)
    return config.penalty * (config.penalty_final / config.penalty) ** done if config.penalty else 0


def _find(table: Mapping[str, Loss], kind: str) -> Loss:
    if kind not in table:
        raise CatganError(f"unknown loss {quoted(kind)}: choose from {', '.join(table)}")
    return table[kind]
