"""Schedules: pure functions of the images seen."""

from __future__ import annotations

from typing import Any

from torch import nn

from catgan.config import OptimizerConfig


def generator_parameter_groups(generator: nn.Module) -> list[dict[str, Any]]:
    """Return two optimizer groups: all other parameters, then the inner convolutions' weights.

    Gains, normalizations, noise and the RGB layer can change the generator's style without
    unlearning its shapes (Mo et al., "Freeze the Discriminator", 2020, compare such choices;
    Noguchi and Harada, "Image Generation from Small Datasets via Batch Statistics Adaptation", ICCV
    2019, train nothing else). A refinement belongs to the first group as a whole: it starts at zero
    and only adds to what the other layers generate.
    """
    weights = {
        name: module.weight
        for name, module in generator.named_modules()
        if _is_convolution(module) and not name.startswith("refinements.")
    }
    inner = list(weights.values())[:-1]
    inner_ids = set(map(id, inner))
    others = [parameter for parameter in generator.parameters() if id(parameter) not in inner_ids]
    return [{"params": others, "late": False}, {"params": inner, "late": True}]


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.ConvTranspose2d)


def generator_learning_rate(config: OptimizerConfig, images: int, late: bool) -> float:
    """Return the generator's learning rate after `images` images.

    It is 0 for `generator_freeze_images`, then rises linearly over `generator_ramp_images`. For the
    `late` group of parameters the rise starts `generator_thaw_images` later.
    """
    start = config.generator_freeze_images + late * config.generator_thaw_images
    if images < start:
        return 0.0
    ramp = config.generator_ramp_images
    return config.generator_learning_rate * (min((images - start) / ramp, 1.0) if ramp else 1.0)


def due(interval: int, images: int, batch_size: int) -> bool:
    """Return whether the batch that ends at `images` passed a multiple of `interval` images.

    A batch that passes several multiples counts once.
    """
    return images // interval > (images - batch_size) // interval
