"""What changes in the course of a run, as pure functions of the images seen."""

from __future__ import annotations

from catgan.config import OptimizerConfig


def generator_learning_rate(config: OptimizerConfig, images: int) -> float:
    """Return the generator's learning rate after `images` images.

    It is 0 for `generator_freeze_images`, then rises linearly over `generator_ramp_images`.
    """
    thawed = images - config.generator_freeze_images
    if thawed < 0:
        return 0.0
    share = min(thawed / config.generator_ramp_images, 1.0) if config.generator_ramp_images else 1.0
    return config.generator_learning_rate * share


def due(interval: int, images: int, batch_size: int) -> bool:
    """Return whether a multiple of `interval` images was passed by the batch that ends at `images`.

    Of a batch of several multiples, one counts.
    """
    return images // interval > (images - batch_size) // interval
