from __future__ import annotations

import dataclasses
import typing

import pytest

from catgan.errors import CatganError
from catgan.network_config import (
    RESOLUTIONS,
    BaseNetworkConfig,
    DcganConfig,
    LsganConfig,
    NetworkConfig,
    ProjectedConfig,
)

FAMILIES = typing.get_args(NetworkConfig)


@pytest.mark.parametrize("cls", FAMILIES)
def test_a_family_is_a_frozen_dataclass_with_the_shared_settings_first(cls):
    names = [field.name for field in dataclasses.fields(cls)]
    shared = ["family", "resolution", "latent_size", "channels", "maximum_channels"]
    assert [field.name for field in dataclasses.fields(BaseNetworkConfig)] == shared
    assert names[:5] == shared
    assert dataclasses.asdict(cls())["family"] == cls.family
    with pytest.raises(dataclasses.FrozenInstanceError):
        cls().family = "x"
    with pytest.raises(TypeError, match="family"):
        cls(family=cls.family)


def test_families_have_different_names():
    assert [cls.family for cls in FAMILIES] == ["dcgan", "lsgan", "projected"]
    assert LsganConfig() != DcganConfig()


@pytest.mark.parametrize("cls", FAMILIES)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"resolution": 100}, "try 128"),
        ({"latent_size": 0}, r"invalid network\.latent_size = 0"),
        ({"channels": 4097}, r"invalid network\.channels = 4097"),
        ({"channels": 9, "maximum_channels": 8}, "expected from 9"),
    ],
)
def test_every_family_checks_the_shared_settings(cls, settings, words):
    with pytest.raises(CatganError, match=words):
        cls(**settings)


def test_dropout_has_limits():
    assert DcganConfig(dropout=0.9).dropout == 0.9
    for dropout in (-0.1, 0.91):
        with pytest.raises(CatganError, match=r"network\.dropout = .*expected from 0\.0 to 0\.9$"):
            DcganConfig(dropout=dropout)


@pytest.mark.parametrize("value", [64, 192, 512])
def test_feature_resolution_is_one_of_two(value):
    with pytest.raises(CatganError, match=r"expected one of 128, 256$"):
        ProjectedConfig(256, feature_resolution=value)


@pytest.mark.parametrize(("resolution", "most"), [(32, 0), (64, 1), (128, 2), (256, 3)])
def test_refinements_fit_the_resolution(resolution, most):
    assert ProjectedConfig(resolution, refinements=most).refinements == most
    for wrong in (-1, most + 1):
        with pytest.raises(CatganError, match=f"= {resolution}: expected from 0 to {most}$"):
            ProjectedConfig(resolution, refinements=wrong)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"latent_size": 1}, "of the projected family = 1: expected from 2"),
        ({"resolution": 32, "feature_resolution": 256}, "set it to 128 or less"),
    ],
)
def test_shapes_of_the_projected_family_must_fit(settings, words):
    with pytest.raises(CatganError, match=words):
        ProjectedConfig(**settings)


def test_other_families_take_any_latent_size():
    assert DcganConfig(latent_size=1).latent_size == LsganConfig(latent_size=1).latent_size == 1


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_only_projected_networks_can_be_doubled(resolution):
    assert DcganConfig(resolution).doubled() is None
    assert LsganConfig(resolution).doubled() is None
    doubled = ProjectedConfig(resolution, 9, 8, 7 * 8).doubled()
    if resolution == RESOLUTIONS[-1]:
        assert doubled is None
    else:
        assert doubled == ProjectedConfig(2 * resolution, 9, 8, 7 * 8, refinements=1)


@pytest.mark.parametrize("cls", FAMILIES)
def test_transfer_settings_are_own_settings(cls):
    own = {field.name for field in dataclasses.fields(cls)[5:]}
    assert own >= set(cls().transfer_settings)
    assert bool(cls().transfer_settings) == (cls is ProjectedConfig)
