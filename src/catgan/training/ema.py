"""Exponential moving average (EMA) of the generator's weights, used for sampling.

Karras et al., "Progressive Growing of GANs", ICLR 2018; Yazici et al., "The Unusual Effectiveness
of Averaging in GAN Training", ICLR 2019.
"""

from __future__ import annotations

import torch
from torch import nn


def ema_decay(batch_size: int, images_seen: int, half_life: int, ramp: float) -> float:
    """Return the decay of one step, such that a weight halves in `half_life` images.

    Early on the half-life is `ramp` times the images seen, so that the random initial weights fade
    quickly.
    """
    return 0.5 ** (batch_size / max(min(half_life, ramp * images_seen), 1e-8))


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `average` toward `model`: average parameters and batch statistics, copy the rest.

    The rest is constant, a counter, or calibrated for one set of weights: an average of
    calibrations would fit no weights at all.
    """
    average_state, model_state = average.state_dict(), model.state_dict()
    averaged = [name for name, _ in model.named_parameters()]
    averaged += [name for name in average_state if name.endswith(("running_mean", "running_var"))]
    torch._foreach_lerp_(
        [average_state[name] for name in averaged],
        [model_state[name] for name in averaged],
        1 - decay,
    )
    for name in average_state.keys() - set(averaged):
        average_state[name].copy_(model_state[name])
