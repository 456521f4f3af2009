from __future__ import annotations

import dataclasses

import pytest

from catgan.config import OptimizerConfig, load_recipe
from catgan.networks.build import build_generator
from catgan.training.schedules import (
    due,
    generator_learning_rate,
    generator_parameter_groups,
)


@pytest.mark.parametrize(
    ("images", "fraction"), [(0, 0), (99, 0), (100, 0), (150, 0.25), (300, 1), (10**9, 1)]
)
def test_the_generator_is_frozen_then_ramps_up(images, fraction):
    config = OptimizerConfig(
        generator_learning_rate=2e-3, generator_freeze_images=100, generator_ramp_images=200
    )
    assert generator_learning_rate(config, images, late=False) == pytest.approx(2e-3 * fraction)


@pytest.mark.parametrize(
    ("images", "fraction"), [(299, 0), (300, 0), (350, 0.25), (500, 1), (10**9, 1)]
)
def test_inner_convolutions_follow_later(images, fraction):
    config = OptimizerConfig(
        generator_learning_rate=2e-3,
        generator_freeze_images=100,
        generator_ramp_images=200,
        generator_thaw_images=200,
    )
    assert generator_learning_rate(config, images, late=True) == pytest.approx(2e-3 * fraction)


@pytest.mark.parametrize("images", [0, 1, 10**6])
@pytest.mark.parametrize("late", [False, True])
def test_the_learning_rate_is_constant_by_default(images, late):
    assert generator_learning_rate(OptimizerConfig(), images, late) == 2e-4


@pytest.mark.parametrize("recipe", ["dcgan-128", "lsgan-64", "projected-128"])
def test_every_parameter_is_in_one_group_and_only_inner_convolutions_are_late(recipe):
    generator = build_generator(load_recipe(recipe).network)
    early, late = generator_parameter_groups(generator)
    named = {id(parameter): name for name, parameter in generator.named_parameters()}
    found = [named[id(parameter)] for group in (early, late) for parameter in group["params"]]
    assert sorted(found) == sorted(named.values())
    assert (early["late"], late["late"]) == (False, True)
    assert all(parameter.dim() == 4 for parameter in late["params"])
    last = [parameter for parameter in generator.parameters() if parameter.dim() == 4][-1]
    assert any(parameter is last for parameter in early["params"])
    assert sum(p.numel() for p in late["params"]) > sum(p.numel() for p in early["params"]) / 2


def test_refinements_are_never_in_the_late_group():
    network = dataclasses.replace(load_recipe("projected-128").network, resolution=64)
    plain = build_generator(network)
    refined = build_generator(dataclasses.replace(network, resolution=128, refinements=1))

    def late(generator):
        (_, group), names = generator_parameter_groups(generator), generator.named_parameters()
        named = {id(parameter): name for name, parameter in names}
        return [named[id(parameter)] for parameter in group["params"]]

    assert late(refined) == late(plain)
    assert "to_rgb.weight" not in late(refined)


@pytest.mark.parametrize(("interval", "times"), [(8, 12), (12, 8), (96, 1), (1, 12), (1000, 0)])
def test_due_once_per_interval(interval, times):
    assert sum(due(interval, images, 8) for images in range(8, 97, 8)) == times
