from __future__ import annotations

import dataclasses

import pytest

from catgan.config import (
    Config,
    changed_settings,
    check_resumable,
    from_toml,
    load_recipe,
    override,
    recipe_names,
    to_toml,
)
from catgan.errors import CatganError


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_survives_toml_and_knows_its_name(name):
    config = load_recipe(name)
    assert config.recipe == name
    assert from_toml(to_toml(config), "round trip") == config


def test_the_classic_recipes_are_as_published():
    lsgan, dcgan = load_recipe("lsgan-64"), load_recipe("dcgan-128")
    assert (lsgan.network.resolution, lsgan.network.latent_size) == (64, 100)
    assert (lsgan.loss.discriminator, lsgan.loss.generator) == ("mse", "bce")
    assert lsgan.augment.crop > 0
    assert lsgan.augment.colour_jitter > 0
    assert lsgan.augment.sharpness > 0
    assert dcgan.network.resolution == 128
    assert (dcgan.loss.discriminator, dcgan.loss.generator) == ("bce", "bce")
    assert dcgan.network.dropout > 0


def test_overrides_read_toml_values_and_bare_words():
    config = override(
        Config(),
        ["loss.generator=mse", "training.batch_size = 8", "optimizer.beta1=0", "recipe=mine"],
    )
    assert config.loss.generator == "mse"
    assert config.training.batch_size == 8
    assert config.optimizer.beta1 == 0.0
    assert isinstance(config.optimizer.beta1, float)
    assert config.recipe == "mine"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.batchsize=8", "training.batch_size"),
        ("batch_size=8", "training.batch_size"),
        ("trianing.images=8", "training.images"),
        ("network=8", "network"),
        ("training.batch_size", "section.key=value"),
        ("training.batch_size=", "section.key=value"),
        ("training.batch_size=many", "a whole number"),
        ("training.batch_size=2.5", "a whole number"),
        ("training.batch_size=true", "a whole number"),
        ("training.batch_size=1", "from 2"),
        ("optimizer.generator_learning_rate=nan", "a number"),
        ("augment.flip=1", "true or false"),
        ("loss.generator=mst", "'mse'"),
        ("network.resolution=100", "try 128"),
        ("network.resolution=512", "try 256"),
        ("network.resolution=-3", "try 32"),
        ("network.family=dcgam", "'dcgan'"),
        ("network.dropout=0.5", "lsgan"),
        ("network.maximum_channels=5", "128"),
        ("training.seed=-1", "from 0"),
    ],
)
def test_a_bad_override_is_one_line_that_helps(assignment, words):
    with pytest.raises(CatganError) as error:
        override(Config(), [assignment])
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("network = 3", "table"),
        ("[network]\nresolution = 64\n[nettwork]\n", "nettwork"),
        ("[network]\nresolutoin = 64", "network.resolution"),
        ("[network", "not valid TOML"),
        ("a = " + "[" * 5000, "not valid TOML"),
    ],
)
def test_bad_toml_is_one_line_that_names_the_place(text, words):
    with pytest.raises(CatganError) as error:
        from_toml(text, "mine.toml")
    assert words in str(error.value)
    assert "mine.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_suggests_a_known_one():
    with pytest.raises(CatganError, match="lsgan-64"):
        load_recipe("lsgan64")


def test_a_resumed_run_may_be_longer_but_not_another():
    old = Config()
    check_resumable(old, override(old, ["training.images=9999999", "output.log_images=64"]))
    new = override(old, ["training.batch_size=8"])
    assert changed_settings(old, new) == {"training.batch_size": (64, 8)}
    with pytest.raises(CatganError, match=r"training\.batch_size"):
        check_resumable(old, new)


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().recipe = "x"
