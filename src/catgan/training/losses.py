"""Adversarial losses: float32 scalars of the discriminator's logits (B, K[, P]).

K heads give each image logits at P positions; losses are averaged over positions, summed over heads
and averaged over images.

- bce: binary cross-entropy, non-saturating (Goodfellow et al., "Generative Adversarial Nets",
  NeurIPS 2014).
- mse: least squares with targets 1 and 0 (Mao et al., "Least Squares GANs", ICCV 2017).
- hinge: (Lim and Ye, "Geometric GAN", 2017).
- relativistic: the logistic loss of the difference between a real and a generated image
  (Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019). It penalizes a generator that
  collapses to one image, which the other losses need not (Huang et al., "The GAN is dead; long
  live the GAN!", NeurIPS 2024).

A loss is a function of the real and the fake logits; a new one is an entry in each of the two
tables below (`examples/custom_loss.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from catgan.config import LossConfig
from catgan.errors import CatganError, quoted

Loss = Callable[[Tensor, Tensor], Tensor]  # (real logits, fake logits) -> scalar


def mean_loss(values: Tensor) -> Tensor:
    """Reduce a loss per logit (B, K[, P]): mean over P, sum over K, mean over images."""
    return values.flatten(2).mean(2).sum(1).mean() if values.dim() > 2 else values.sum(1).mean()


# A new loss is a function in each table; a configuration then selects it by its name.
DISCRIMINATOR_LOSSES: dict[str, Loss] = {
    # softplus(-x) = -log sigmoid(x), without overflow
    "bce": lambda real, fake: mean_loss(F.softplus(-real)) + mean_loss(F.softplus(fake)),
    "mse": lambda real, fake: mean_loss((real - 1).square()) + mean_loss(fake.square()),
    "hinge": lambda real, fake: mean_loss(F.relu(1 - real)) + mean_loss(F.relu(1 + fake)),
    "relativistic": lambda real, fake: mean_loss(F.softplus(fake - real)),
}
GENERATOR_LOSSES: dict[str, Loss] = {
    "bce": lambda real, fake: mean_loss(F.softplus(-fake)),
    "mse": lambda real, fake: mean_loss((fake - 1).square()),
    "hinge": lambda real, fake: -mean_loss(fake),
    "relativistic": lambda real, fake: mean_loss(F.softplus(real - fake)),
}
# Generator losses that ignore the real logits: they save a pass of D, and get an empty tensor.
WITHOUT_REAL_LOGITS = {"bce", "mse", "hinge"}


def discriminator_loss(kind: str, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Return the loss that D minimizes; `CatganError` for an unknown `kind`."""
    require_loss(kind, DISCRIMINATOR_LOSSES)
    return DISCRIMINATOR_LOSSES[kind](real_logits, fake_logits)


def generator_loss(kind: str, real_logits: Callable[[], Tensor], fake_logits: Tensor) -> Tensor:
    """Return the loss that G minimizes. `real_logits` is called unless the loss ignores them.

    They must come from the same D as `fake_logits`: pairs from before and after its step were
    measured to be no better (docs/research/trials.md). No gradient flows into them.

    Raises `CatganError` for an unknown `kind`.
    """
    require_loss(kind, GENERATOR_LOSSES)
    if kind in WITHOUT_REAL_LOGITS:
        return GENERATOR_LOSSES[kind](fake_logits.new_empty(0), fake_logits)
    with torch.no_grad():
        target = real_logits().detach()
    return GENERATOR_LOSSES[kind](target, fake_logits)


def require_loss(kind: object, losses: Mapping[str, Loss]) -> None:
    """Raise `CatganError` unless `kind` is a name in `losses`."""
    if kind not in losses:
        raise CatganError(f"no loss {quoted(kind)}: choose from {', '.join(losses)}")


def require_losses(config: LossConfig) -> None:
    """Raise `CatganError` unless both losses of `config` are in their tables."""
    require_loss(config.discriminator, DISCRIMINATOR_LOSSES)
    require_loss(config.generator, GENERATOR_LOSSES)


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
