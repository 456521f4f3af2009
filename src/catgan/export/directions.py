"""Directions in which a generator's cats change, found without labels.

GANSpace (Härkönen et al., NeurIPS 2020): the principal components of the generator's first maps,
over many z, and for each the direction of z that moves along it, by least squares.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from catgan.generation.card import Direction
from catgan.generation.latents import latents
from catgan.networks.shapes import TwoPartGenerator

COUNT = 10
SAMPLES = 2048  # of z; several times a latent's length


def find_directions(
    generator: TwoPartGenerator, latent_size: int, names: dict[int, str]
) -> tuple[Direction, ...]:
    """The first `COUNT` directions, those with the largest share of the variance first.

    `names` are given to directions by their number, by someone who looked at them. The generator
    is on the CPU. A direction has length one: going 1 along it is one standard deviation of z.
    """
    z = latents(range(SAMPLES), latent_size)
    maps = _first_maps(generator, torch.from_numpy(z)).flatten(1).double().numpy()
    maps -= maps.mean(0)
    variances, scores = np.linalg.eigh(maps @ maps.T)  # of the samples: fewer than the numbers
    order = np.argsort(variances)[::-1][: min(COUNT, latent_size)]
    slopes, *_ = np.linalg.lstsq(z.astype(np.float64), scores[:, order], rcond=None)
    total = max(float(variances.sum()), 1e-30)
    found = []
    for number, slope in enumerate(slopes.T):
        sign = (
            np.sign(slope[np.abs(slope).argmax()]) or 1.0
        )  # or a direction could point either way
        vector = (sign * slope / max(float(np.linalg.norm(slope)), 1e-30)).astype(np.float32)
        share = float(variances[order[number]]) / total
        found.append(Direction(names.get(number, ""), round(share, 6), vector))
    return tuple(found)


class _FoundError(Exception):
    """Carries the first maps out of a generator that need not go on."""

    def __init__(self, maps: Tensor) -> None:
        super().__init__()
        self.maps = maps


@torch.no_grad()
def _first_maps(generator: TwoPartGenerator, z: Tensor) -> Tensor:
    """What the first convolution makes of the style; all that z does before it is in there."""

    def leave(module: nn.Module, inputs: object, output: Tensor) -> None:
        raise _FoundError(output)

    layers = [
        module
        for module in generator.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    training = generator.training
    generator.eval()
    hooks = [layer.register_forward_hook(leave) for layer in layers]
    try:
        generator.synthesise(generator.map(z))
    except _FoundError as found:
        return found.maps.float()
    finally:
        for hook in hooks:
            hook.remove()
        generator.train(training)
    raise AssertionError("a generator has convolutions")
