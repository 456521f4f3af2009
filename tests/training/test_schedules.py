from __future__ import annotations

import pytest

from catgan.config import OptimizerConfig
from catgan.training.schedules import generator_learning_rate


@pytest.mark.parametrize(
    ("images", "share"), [(0, 0), (99, 0), (100, 0), (150, 0.25), (300, 1), (10**9, 1)]
)
def test_the_generator_stands_still_then_gathers_pace(images, share):
    config = OptimizerConfig(
        generator_learning_rate=2e-3, generator_freeze_images=100, generator_ramp_images=200
    )
    assert generator_learning_rate(config, images) == pytest.approx(2e-3 * share)


@pytest.mark.parametrize("images", [0, 1, 10**6])
def test_by_default_the_rate_never_changes(images):
    assert generator_learning_rate(OptimizerConfig(), images) == 2e-4
