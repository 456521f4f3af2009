"""Exponential moving average of the generator's weights, the weights that draw the cats.

(Karras et al., "Progressive Growing of GANs", ICLR 2018, and Yazici et al., "The Unusual
Effectiveness of Averaging in GAN Training", ICLR 2019.)
"""

from __future__ import annotations

import torch
from torch import nn


def ema_decay(batch_size: int, images_seen: int, half_life: int, ramp: float) -> float:
    """How much of the average a step keeps, so that a weight fades by half in `half_life` images.

    Early on the half-life is `ramp` of the images seen, so that the first, random weights go fast.
    """
    return 0.5 ** (batch_size / max(min(half_life, ramp * images_seen), 1e-8))


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `average` toward `model`: parameters and batch statistics averaged, all else copied.

    What else a module holds is constant, a counter, or calibrated for one set of weights: an
    average of calibrations belongs to no weights at all.
    """
    ours, theirs = average.state_dict(), model.state_dict()
    averaged = [name for name, _ in model.named_parameters()]
    averaged += [name for name in ours if name.endswith(("running_mean", "running_var"))]
    torch._foreach_lerp_(
        [ours[name] for name in averaged], [theirs[name] for name in averaged], 1 - decay
    )
    for name in ours.keys() - set(averaged):
        ours[name].copy_(theirs[name])
