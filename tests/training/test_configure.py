"""The networks of a run that starts from existing weights; no weights are needed here."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from catgan.config import Config, load_recipe, override
from catgan.errors import CatganError
from catgan.generation.card import Ancestor
from catgan.network_config import DcganConfig, LsganConfig, ProjectedConfig
from catgan.training.configure import configure, default_recipe
from catgan.training.starting_point import StartingPoint
from catgan.training.transfer import FREEZE_IMAGES


def source(network, recipe="mine"):
    return StartingPoint(network, {}, None, [Ancestor("tom", recipe, 9, "cats", "MIT", "nobody")])


PROJECTED = source(ProjectedConfig(32, 9, 8, 16))


@pytest.mark.parametrize(
    ("network", "recipe", "expected"),
    [
        (ProjectedConfig(), "projected-128", "transfer"),
        (ProjectedConfig(), "mine", "transfer"),
        (LsganConfig(), "quick-64", "quick-64"),
        (DcganConfig(), "dcgan-128", "dcgan-128"),
        (DcganConfig(), "mine", "transfer"),
    ],
)
def test_the_default_recipe_is_transfer_in_its_family(network, recipe, expected):
    assert default_recipe(source(network, recipe)) == expected


@pytest.mark.parametrize(("resolution", "expected"), [(32, 128), (64, 128), (128, 256), (256, 256)])
def test_the_backbone_sees_images_upsampled_at_most_once(resolution, expected):
    network = configure("transfer", [], source(ProjectedConfig(resolution))).network
    assert network == ProjectedConfig(resolution, feature_resolution=expected)


@pytest.mark.parametrize("has_them", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_the_generator_is_frozen_longer_for_new_eye_heads(has_them, asked):
    """Also where the source's network has eye heads that its discriminator lacks (the package)."""
    weights = {"heads.0": torch.zeros(1)} | ({"eye_heads.0": torch.zeros(1)} if has_them else {})
    network = ProjectedConfig(128, feature_resolution=256, eye_heads=True)
    starting = dataclasses.replace(source(network), discriminator=weights)
    config = configure("transfer", [f"network.eye_heads={asked}".lower()], starting)
    assert config.network.eye_heads == asked
    recipe = load_recipe("transfer").optimizer.generator_freeze_images
    assert recipe > FREEZE_IMAGES
    expected = recipe if asked and not has_them else FREEZE_IMAGES
    assert config.optimizer.generator_freeze_images == expected


@pytest.mark.parametrize("asked", [False, True])
def test_eye_heads_may_change_with_the_resolution(asked):
    settings = ["network.resolution=64", f"network.eye_heads={asked}".lower()]
    network = configure("transfer", settings, PROJECTED).network
    assert (network.resolution, network.refinements, network.eye_heads) == (64, 1, asked)


def test_resolution_and_feature_resolution_may_change_at_once():
    """256 fits the doubled networks, and not the source's own."""
    settings = ["network.resolution=64", "network.feature_resolution=256"]
    doubled = ProjectedConfig(64, 9, 8, 16, feature_resolution=256, refinements=1)
    assert configure("transfer", settings, PROJECTED).network == doubled
    recipe = override(Config(network=PROJECTED.network), settings)
    assert configure(recipe, [], PROJECTED).network == doubled


@pytest.mark.parametrize(
    ("starting", "settings", "remedy"),
    [
        (
            PROJECTED,
            ["network.channels=9"],
            "or double the resolution with --set network.resolution=64",
        ),
        (PROJECTED, ["network.family=dcgan"], "with --set network.resolution=64"),
        (PROJECTED, ["network.family=lsgan", "network.resolution=64"], "network.resolution=64"),
        (PROJECTED, ["network.resolution=128"], "with --set network.resolution=64"),
        (source(LsganConfig()), ["network.family=dcgan"], "leave out --set network.*"),
        (source(LsganConfig()), ["network.resolution=128"], "leave out --set network.*"),
        (
            source(ProjectedConfig(256)),
            ["network.channels=9"],
            "for network.feature_resolution and network.eye_heads",
        ),
    ],
)
def test_other_networks_than_the_source_has_are_rejected(starting, settings, remedy):
    """By name of a recipe, and as a complete configuration."""
    recipe = "transfer" if starting.network.family == "projected" else "lsgan-64"
    for each in (recipe, Config(network=starting.network)):
        with pytest.raises(CatganError) as error:
            configure(each, settings, starting)
        assert "a run that starts from tom keeps its networks: " in str(error.value)
        assert str(error.value).endswith(remedy)


def test_a_complete_configuration_of_another_family_is_rejected():
    with pytest.raises(CatganError, match="keeps its networks"):
        configure(load_recipe("dcgan-128"), [], PROJECTED)


def test_a_setting_of_another_family_than_the_source_is_rejected():
    with pytest.raises(CatganError, match=r"the projected family has no network\.dropout; leave"):
        configure("transfer", ["network.dropout=0.5"], PROJECTED)
