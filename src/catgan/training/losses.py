"""Adversarial objectives, as scalars of the discriminator's raw outputs (B, K[, P]), float32.

K judgments of an image are summed, each the average of P places, and images averaged.

- bce: binary cross-entropy, non-saturating (Goodfellow et al., "Generative Adversarial Nets",
  NeurIPS 2014).
- mse: least squares with targets 1 and 0 (Mao et al., "Least Squares GANs", ICCV 2017).
- hinge: (Lim and Ye, "Geometric GAN", 2017).
- relativistic: each real image against a generated one, by the logistic loss of the difference
  (Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019). A generator that draws one
  image only loses this game, as it need not do the others (Huang et al., "The GAN is dead; long
  live the GAN!", NeurIPS 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from catgan.config import LossConfig
from catgan.errors import CatganError, quoted


def discriminator_loss(kind: str, real: Tensor, generated: Tensor) -> Tensor:
    """What the discriminator lowers; `CatganError` for an unknown `kind`."""
    if kind == "bce":  # softplus(-x) = -log sigmoid(x), without overflow
        return _mean(F.softplus(-real)) + _mean(F.softplus(generated))
    if kind == "mse":
        return _mean((real - 1).square()) + _mean(generated.square())
    if kind == "hinge":
        return _mean(F.relu(1 - real)) + _mean(F.relu(1 + generated))
    if kind == "relativistic":
        return _mean(F.softplus(generated - real))
    raise _unknown(kind)


def generator_loss(kind: str, real: Callable[[], Tensor], generated: Tensor) -> Tensor:
    """What the generator lowers; only the relativistic loss asks for the logits of `real` images.

    They must come from the discriminator that gave those of the `generated` ones: pairs from before
    and after its step were measured to be no better (docs/research/trials.md). They get no
    gradient.

    Raises `CatganError` for an unknown `kind`.
    """
    if kind == "bce":
        return _mean(F.softplus(-generated))
    if kind == "mse":
        return _mean((generated - 1).square())
    if kind == "hinge":
        return -_mean(generated)
    if kind == "relativistic":
        with torch.no_grad():
            target = real().detach()
        return _mean(F.softplus(target - generated))
    raise _unknown(kind)


def gradient_penalty(judge: Callable[[list[Tensor]], Tensor], features: Sequence[Tensor]) -> Tensor:
    """Mean over images of the squared gradient of the sum of their judgments at all places.

    R1 on real images, R2 on generated ones (Mescheder et al., "Which Training Methods for GANs do
    actually Converge?", ICML 2018), with respect to what the discriminator sees: the images, or
    projected features, where it needs no pass through the frozen network. `judge` is the
    discriminator from there on; nothing flows back to where `features` came from.
    """
    seen = [feature.detach().requires_grad_() for feature in features]
    outputs = judge(seen)
    gradients = torch.autograd.grad(outputs.sum(), seen, create_graph=True)
    squares = (gradient.float().square().sum() / len(gradient) for gradient in gradients)
    return sum(squares, outputs.new_zeros(()))


def penalty_strength(config: LossConfig, images: int) -> float:
    """The factor of the gradient penalties after `images` images: falls geometrically."""
    done = min(images / config.penalty_images, 1.0)
    return config.penalty * (config.penalty_final / config.penalty) ** done if config.penalty else 0


def _unknown(kind: object) -> CatganError:
    return CatganError(f"no loss {quoted(kind)}: choose from bce, mse, hinge, relativistic")


def _mean(values: Tensor) -> Tensor:
    """Mean over the places of each judgment, sum over judgments, mean over images."""
    return values.flatten(2).mean(2).sum(1).mean() if values.dim() > 2 else values.sum(1).mean()
