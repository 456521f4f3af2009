from __future__ import annotations

import dataclasses

import pytest

from catgan.config import (
    Config,
    changed_settings,
    check_length,
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
    assert lsgan.augment.color_jitter > 0
    assert lsgan.augment.sharpness > 0
    assert dcgan.network.resolution == 128
    assert (dcgan.loss.discriminator, dcgan.loss.generator) == ("bce", "bce")
    assert dcgan.network.dropout > 0


@pytest.mark.parametrize("resolution", [64, 128, 256])
def test_a_projected_recipe_is_what_its_networks_and_losses_need(resolution):
    config = load_recipe(f"projected-{resolution}")
    assert (config.network.family, config.network.resolution) == ("projected", resolution)
    assert (config.loss.discriminator, config.loss.generator) == ("relativistic", "relativistic")
    assert 0 < config.loss.penalty_final <= config.loss.penalty
    assert config.training == load_recipe("projected-128").training


def test_losses_are_both_relativistic_or_neither():
    both = override(Config(), ["loss.discriminator=relativistic", "loss.generator=relativistic"])
    assert both.loss.discriminator == both.loss.generator == "relativistic"
    with pytest.raises(CatganError, match="both be relativistic"):
        override(both, ["loss.generator=bce"])


@pytest.mark.parametrize("family", ["dcgan", "lsgan", "projected"])
def test_dropout_is_dcgan_s_alone(family):
    settings = [f"network.family={family}", "network.dropout=0.3"]
    if family == "dcgan":
        assert override(Config(), settings).network.dropout == 0.3
    else:
        with pytest.raises(CatganError, match=f"no effect on the {family} family"):
            override(Config(), settings)


def test_a_penalty_needs_something_to_fall_to():
    for final in ("0", "1e-7"):
        with pytest.raises(CatganError, match=r"loss\.penalty_final"):
            override(Config(), ["loss.penalty=10", f"loss.penalty_final={final}"])
    assert override(Config(), ["loss.penalty=10", "loss.penalty_final=1"]).loss.penalty == 10
    assert override(Config(), ["loss.penalty=0", "loss.penalty_final=0"]).loss.penalty_final == 0


@pytest.mark.parametrize("family", ["dcgan", "lsgan", "projected"])
def test_a_frozen_network_is_the_projected_family_s_alone(family):
    settings = [f"network.family={family}", "network.feature_resolution=256"]
    if family == "projected":
        assert override(Config(), settings).network.feature_resolution == 256
    else:
        with pytest.raises(CatganError, match=f"no effect on the {family} family.* to 128 or "):
            override(Config(), settings)


@pytest.mark.parametrize("family", ["dcgan", "lsgan", "projected"])
def test_refinements_are_the_projected_family_s_alone(family):
    settings = [f"network.family={family}", "network.refinements=1"]
    if family == "projected":
        assert override(Config(), settings).network.refinements == 1
    else:
        with pytest.raises(CatganError, match=f"no effect on the {family} family.* to 0 or "):
            override(Config(), settings)


@pytest.mark.parametrize(("resolution", "most"), [(32, 0), (64, 1), (128, 2), (256, 3)])
def test_what_is_refined_is_a_generator_of_a_resolution_that_there_is(resolution, most):
    settings = [f"network.resolution={resolution}", "network.feature_resolution=128"]
    recipe = load_recipe("projected-64")
    assert override(recipe, [*settings, f"network.refinements={most}"]).network.refinements == most
    for wrong in (-1, most + 1):
        with pytest.raises(CatganError, match=f"= {resolution}: choose from 0 to {most}$"):
            override(recipe, [*settings, f"network.refinements={wrong}"])


def test_a_configuration_from_before_there_were_refinements_has_none():
    text = to_toml(load_recipe("projected-128"))
    old = text.replace("refinements = 0\n", "")
    assert old != text
    assert from_toml(old, "a run") == load_recipe("projected-128")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["network.latent_size=1"], "choose from 2"),
        (["network.resolution=32", "network.feature_resolution=256"], "set it to 128 or less"),
    ],
)
def test_the_projected_family_s_shapes_must_fit_one_another(settings, words):
    with pytest.raises(CatganError, match=words):
        override(load_recipe("projected-64"), settings)
    others = [*settings, "network.feature_resolution=128", "network.family=dcgan"]
    assert override(Config(), others).network.family == "dcgan"


@pytest.mark.parametrize(
    ("name", "value", "default"),
    [("penalty_final", 1.0, 0.0), ("penalty_images", 9, 1), ("penalty_every", 4, 1)],
)
def test_how_a_penalty_falls_needs_a_penalty(name, value, default):
    with pytest.raises(
        CatganError, match=rf"^without loss\.penalty, loss\.{name} would .*={default}$"
    ):
        override(Config(), [f"loss.{name}={value}"])
    remedy = "loss.penalty_final=0.0, loss.penalty_images=1, loss.penalty_every=1"
    with pytest.raises(CatganError, match=f"{remedy}$"):
        override(load_recipe("projected-128"), ["loss.penalty=0"])
    given = ["loss.penalty=0", *remedy.split(", ")]
    assert override(load_recipe("projected-128"), given).loss.penalty == 0
    settings = ["loss.penalty=10", "loss.penalty_final=1", f"loss.{name}={value}"]
    assert getattr(override(Config(), settings).loss, name) == value


@pytest.mark.parametrize("name", ["dcgan-128", "lsgan-64", "quick-64"])
def test_classic_runs_state_the_defaults_of_what_does_not_concern_them(name):
    """In every configuration on disk: they must go on loading."""
    text = to_toml(load_recipe(name))
    lines = ("feature_resolution = 128", "penalty_final = 0.0", "penalty_every = 1")
    for line in (*lines, "refinements = 0"):
        assert line in text
    assert from_toml(text, "a run") == load_recipe(name)


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
        ("network.resolution=100", "try 128"),
        ("network.resolution=512", "try 256"),
        ("network.resolution=-3", "try 32"),
        ("network.family=dcgam", "'dcgan'"),
        ("network.dropout=0.5", "lsgan"),
        ("network.feature_resolution=64", "one of 128, 256"),
        ("network.feature_resolution=192", "one of 128, 256"),
        ("network.feature_resolution=big", "a whole number"),
        ("loss.generator=relativistic", "both be relativistic"),
        ("loss.discriminator=relativistic", "both be relativistic"),
        ("loss.penalty=-1", "from 0"),
        ("loss.penalty=1e7", "to 1000000"),
        ("loss.penalty=inf", "a number"),
        ("loss.penalty=1", "loss.penalty_final"),
        ("loss.penalty_final=-1", "from 0"),
        ("loss.penalty_images=0", "from 1"),
        ("loss.penalty_images=0.5", "a whole number"),
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
    with pytest.raises(CatganError, match=r"network\.channels.*training\.seed.*may change"):
        check_resumable(old, override(old, ["training.seed=1", "network.channels=7"]))


def test_configurations_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().recipe = "x"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "training.learning_rate",
            "'optimizer.generator_learning_rate' or 'optimizer.discriminator_learning_rate'?",
        ),
        ("learning_rate", "'optimizer.generator_learning_rate' or 'optimizer.disc"),
        ("training.flip", "'augment.flip'?"),
        ("loss.batch_size", "'training.batch_size'?"),
        ("network.beta", "'optimizer.beta1' or 'optimizer.beta2'?"),
        ("training.image", "'training.images'?"),
        ("train.cutout", "'augment.diffaugment_cutout'?"),
        ("network", "a section; its settings are family, resolution"),
    ],
)
def test_a_setting_of_another_section_is_found_by_its_own_name(name, expected):
    with pytest.raises(CatganError) as error:
        override(Config(), [f"{name}=1"])
    assert expected in str(error.value)
    assert "ema_ramp" not in str(error.value)


def test_an_impossible_value_says_in_which_file_it_stands():
    with pytest.raises(CatganError, match=r"^runs/x/config.toml: network\.resolution = 33 is imp"):
        from_toml("[network]\nresolution = 33", "runs/x/config.toml")


def test_of_two_values_the_last_counts():
    assert override(Config(), ["training.seed=1", "training.seed=2"]).training.seed == 2


def test_a_run_may_not_end_before_where_it_is():
    old = Config()
    for images, seen in ((160, 160), (161, 160), (1, 0), (old.training.images, 10**9)):
        check_length(old, override(old, [f"training.images={images}"]), seen)
    with pytest.raises(
        CatganError, match=r"training\.images = 1 is less than the 160 images .*400,000"
    ):
        check_length(old, override(old, ["training.images=1"]), 160)


@pytest.mark.parametrize(("before", "after"), [(0, 100), (100, 0)])
def test_a_resumed_run_keeps_what_its_scores_are_taken_against(before, after):
    old, new = (
        override(Config(), [f"training.early_stopping_images={each}"]) for each in (before, after)
    )
    with pytest.raises(CatganError, match="decides what scores are taken against"):
        check_resumable(old, new)
    check_resumable(old, old)


def test_a_resumed_run_may_wait_longer_for_a_better_score():
    old, new = (override(Config(), [f"training.early_stopping_images={n}"]) for n in (100, 200))
    check_resumable(old, new)
