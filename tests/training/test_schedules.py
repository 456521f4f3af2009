from __future__ import annotations

import pytest

from catgan.config import OptimizerConfig
from catgan.training.schedules import due, generator_learning_rate


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


@pytest.mark.parametrize(("interval", "times"), [(8, 12), (12, 8), (96, 1), (1, 12), (1000, 0)])
def test_what_is_due_comes_as_often_as_its_interval_allows(interval, times):
    assert sum(due(interval, images, 8) for images in range(8, 97, 8)) == times
