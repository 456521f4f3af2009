from __future__ import annotations

import dataclasses

import pytest
import tomli_w

from catgan.config import (
    Config,
    changed_settings,
    check_length,
    check_resumable,
    from_table,
    from_toml,
    load_recipe,
    override,
    recipe_names,
    to_toml,
)
from catgan.errors import CatganError
from catgan.network_config import LsganConfig


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


@pytest.mark.parametrize("name", ["projected-128", "transfer"])
def test_a_projected_recipe_is_what_its_networks_and_losses_need(name):
    config = load_recipe(name)
    assert (config.network.family, config.network.resolution) == ("projected", 128)
    assert (config.loss.discriminator, config.loss.generator) == ("relativistic", "relativistic")
    assert 0 < config.loss.penalty_final <= config.loss.penalty


def test_losses_are_both_relativistic_or_neither():
    both = override(Config(), ["loss.discriminator=relativistic", "loss.generator=relativistic"])
    assert both.loss.discriminator == both.loss.generator == "relativistic"
    with pytest.raises(CatganError, match="both be relativistic"):
        override(both, ["loss.generator=bce"])


def test_a_penalty_needs_a_final_value():
    for final in ("0", "1e-7"):
        with pytest.raises(CatganError, match=r"loss\.penalty_final"):
            override(Config(), ["loss.penalty=10", f"loss.penalty_final={final}"])
    assert override(Config(), ["loss.penalty=10", "loss.penalty_final=1"]).loss.penalty == 10
    assert override(Config(), ["loss.penalty=0", "loss.penalty_final=0"]).loss.penalty_final == 0


@pytest.mark.parametrize(
    ("name", "value", "default"),
    [("penalty_final", 1.0, 0.0), ("penalty_images", 9, 1), ("penalty_every", 4, 1)],
)
def test_penalty_settings_need_a_penalty(name, value, default):
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
def test_classic_configurations_hold_unused_defaults(name):
    """Configurations on disk hold them and must keep loading."""
    text = to_toml(load_recipe(name))
    for line in ("penalty_final = 0.0", "penalty_images = 1", "penalty_every = 1"):
        assert line in text
    assert from_toml(text, "a run") == load_recipe(name)


# -- families of networks ------------------------------------------------------------------------

OWN_SETTINGS = {
    "dcgan": {"dropout": 0.25},
    "lsgan": {},
    "projected": {"feature_resolution": 256, "refinements": 1},
}
OWN = [(family, key) for family, settings in OWN_SETTINGS.items() for key in settings]


def of_family(family):
    return override(Config(), [f"network.family={family}"])


@pytest.mark.parametrize(("owner", "key"), OWN)
@pytest.mark.parametrize("family", OWN_SETTINGS)
def test_a_setting_of_one_family_is_accepted_by_that_family_only(family, owner, key):
    value = OWN_SETTINGS[owner][key]
    table = {"network": {"family": family, key: value}}
    if family == owner:
        assert getattr(from_table(table, "a run").network, key) == value
        assert (
            getattr(override(of_family(family), [f"network.{key}={value}"]).network, key) == value
        )
        return
    reason = (
        f"unknown setting 'network.{key}': the {family} family has no network.{key}; leave it out, "
        f"or use network.family={owner}"
    )
    with pytest.raises(CatganError) as error:
        from_table(table, "a run")
    assert str(error.value) == f"a run: {reason}"
    for each in (value, getattr(of_family(owner).network, key)):  # its default as well
        with pytest.raises(CatganError) as error:
            override(of_family(family), [f"network.{key}={each}"])
        assert str(error.value) == f"--set 'network.{key}={each}': {reason}"


@pytest.mark.parametrize(("owner", "key"), OWN)
def test_a_setting_of_a_family_has_a_type_and_a_default(owner, key):
    with pytest.raises(CatganError, match=f"number for network.{key}, got 'big'$"):
        override(of_family(owner), [f"network.{key}=big"])
    table = {"network": {"family": owner}}
    assert from_table(table, "a run") == of_family(owner)


@pytest.mark.parametrize("old", OWN_SETTINGS)
@pytest.mark.parametrize("new", OWN_SETTINGS)
def test_another_family_keeps_what_both_have(old, new):
    settings = ["resolution=128", "latent_size=7", "channels=5", "maximum_channels=6"]
    settings += [f"{key}={value}" for key, value in OWN_SETTINGS[old].items()]
    before = override(of_family(old), [f"network.{each}" for each in settings])
    after = override(before, [f"network.family={new}"])
    assert after.network.family == new
    if new == old:
        assert after == before
        return
    shared = {
        "family": new,
        "resolution": 128,
        "latent_size": 7,
        "channels": 5,
        "maximum_channels": 6,
    }
    assert dataclasses.asdict(after.network) == dataclasses.asdict(of_family(new).network) | shared
    assert dataclasses.replace(after, network=before.network) == before


def test_the_order_of_family_and_settings_does_not_matter():
    settings = ["network.dropout=0.5", "network.family=dcgan", "network.channels=9"]
    for each in (settings, settings[::-1]):
        network = override(load_recipe("projected-128"), each).network
        assert (network.family, network.dropout, network.channels) == ("dcgan", 0.5, 9)
    assert override(Config(), ["network.family=x", "network.family=dcgan"]) == of_family("dcgan")


def test_a_setting_that_only_the_former_family_has_is_rejected_where_asked_for():
    settings = ["network.dropout=0.5", "network.family=projected"]
    for each in (settings, settings[::-1]):
        with pytest.raises(
            CatganError, match=r"the projected family has no network\.dropout; leave"
        ):
            override(load_recipe("dcgan-128"), each)


@pytest.mark.parametrize(
    ("family", "name", "expected"),
    [
        ("projected", "network.refinement", "; did you mean 'network.refinements'?"),
        ("lsgan", "network.refinement", ": the lsgan family has no network.refinements; leave it"),
        ("lsgan", "dropout", ": the lsgan family has no network.dropout; leave it out, or use"),
        ("dcgan", "dropout", "; did you mean 'network.dropout'?"),
        ("projected", "network.resolutoin", "; did you mean 'network.resolution'?"),
        (
            "dcgan",
            "network",
            "its settings are family, resolution, latent_size, channels, maximum_channels, dropout",
        ),
    ],
)
def test_suggestions_are_of_the_family(family, name, expected):
    with pytest.raises(CatganError) as error:
        override(of_family(family), [f"{name}=1"])
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", ["dcgam", 3, ["dcgan"], None, True])
def test_an_unknown_family_is_rejected(family):
    with pytest.raises(CatganError) as error:
        from_table({"network": {"family": family, "dropout": 0.5}}, "a run")
    assert str(error.value).startswith(f"a run: invalid network.family = {family!r}")
    assert str(error.value).endswith("(choose from dcgan, lsgan, projected)")


# As every configuration stored until 2026-11-30 holds them, in run, checkpoint and artifact.
STORED = {"dropout": 0.0, "feature_resolution": 128, "refinements": 0}


@pytest.mark.parametrize("name", recipe_names())
def test_a_configuration_stored_with_the_settings_of_all_families_loads(name):
    config = load_recipe(name)
    table = dataclasses.asdict(config)
    table["network"] = STORED | table["network"]
    assert set(STORED) < set(table["network"])
    assert from_table(table, "a run") == config
    assert from_toml(tomli_w.dumps(table), "a run") == config


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [("lsgan", "dropout", 0.1), ("dcgan", "refinements", 1), ("lsgan", "feature_resolution", 256)],
)
def test_a_stored_setting_of_another_family_has_its_former_default(family, key, value):
    table = {"network": {"family": family, **STORED, key: value}}
    with pytest.raises(CatganError, match=f"^a run: .*the {family} family has no network.{key}"):
        from_table(table, "a run")
    with pytest.raises(CatganError, match=r"^a run: unknown setting 'loss\.dropout'"):
        from_table({"loss": {"dropout": 0.0}}, "a run")


def test_no_family_is_the_default_one():
    assert from_table({"network": {"channels": 3}}, "a run").network == LsganConfig(channels=3)


def test_a_resumed_run_keeps_its_family():
    old = of_family("dcgan")
    new = override(old, ["network.family=projected"])
    assert changed_settings(old, new) == {"network.family": ("dcgan", "projected")}
    with pytest.raises(
        CatganError, match=r"must keep network\.family = 'dcgan' \(got 'projected'\)"
    ):
        check_resumable(old, new)
    with pytest.raises(CatganError, match=r"must keep network\.dropout = 0\.0 \(got 0\.5\)"):
        check_resumable(old, override(old, ["network.dropout=0.5"]))


# -- overrides -----------------------------------------------------------------------------------


def test_overrides_read_toml_values_and_unquoted_strings():
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
        ("network.channels=big", "a whole number"),
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
def test_invalid_toml_is_one_line_that_names_the_file(text, words):
    with pytest.raises(CatganError) as error:
        from_toml(text, "mine.toml")
    assert words in str(error.value)
    assert "mine.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_recipe_suggests_a_known_one():
    with pytest.raises(CatganError, match="lsgan-64"):
        load_recipe("lsgan64")


def test_a_resumed_run_may_train_longer_but_not_otherwise():
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


def test_an_invalid_value_names_its_file():
    with pytest.raises(
        CatganError, match=r"^runs/x/config.toml: invalid network\.resolution = 33: exp"
    ):
        from_toml("[network]\nresolution = 33", "runs/x/config.toml")


def test_the_last_of_two_values_wins():
    assert override(Config(), ["training.seed=1", "training.seed=2"]).training.seed == 2


def test_a_run_may_not_end_before_the_images_seen():
    old = Config()
    for images, seen in ((160, 160), (161, 160), (1, 0), (old.training.images, 10**9)):
        check_length(old, override(old, [f"training.images={images}"]), seen)
    with pytest.raises(
        CatganError, match=r"training\.images = 1 is less than the 160 images .*400,000"
    ):
        check_length(old, override(old, ["training.images=1"]), 160)


@pytest.mark.parametrize(("before", "after"), [(0, 100), (100, 0)])
def test_a_resumed_run_keeps_its_kind_of_scores(before, after):
    old, new = (
        override(Config(), [f"training.early_stopping_images={each}"]) for each in (before, after)
    )
    with pytest.raises(CatganError, match="decides what scores are taken against"):
        check_resumable(old, new)
    check_resumable(old, old)


def test_a_resumed_run_may_change_its_patience():
    old, new = (override(Config(), [f"training.early_stopping_images={n}"]) for n in (100, 200))
    check_resumable(old, new)
