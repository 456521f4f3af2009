"""The reference pages are what tools/reference.py writes, and that says what it should."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from catgan.config import Config, override

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_are_current(reference):
    for name, text in reference.pages().items():
        committed = (ROOT / "docs" / "reference" / name).read_text("utf-8")
        assert committed == text, f"docs/reference/{name}: run python tools/reference.py"


def test_every_command_and_option_is_described(reference):
    page = reference.command_page()
    group = reference.get_command(reference.app)
    for name, command in group.commands.items():
        assert f"\n## catgan {name}\n" in page
        for parameter in command.params:
            assert parameter.help, (name, parameter.name)
            if parameter.param_type_name == "option":
                assert f"`{parameter.opts[0]}`" in page, (name, parameter.name)


def test_every_setting_is_listed_with_its_default(reference):
    page = reference.settings_page()
    assert "| `training.batch_size` | integer | `64` | 2 to 65,536 |" in page
    for family in ("dcgan", "lsgan", "projected"):
        config = override(Config(), [f"network.family={family}"])
        for key in reference._flat(config):
            assert (
                key == "recipe" or page.count(f"\n| `{key}` | ", 0, page.index("## Recipes")) == 1
            )


def test_settings_are_listed_with_their_family(reference):
    page = reference.settings_page()
    shared, dcgan, lsgan, projected = re.findall(
        r"^##\S* (?:\[network\]|network\.family = \w+)\n(.*?)(?=^##)",
        page,
        re.DOTALL | re.MULTILINE,
    )
    assert "| `network.family` | `dcgan`, `lsgan`, `projected` | `lsgan` |" in shared
    assert "| 1 to 4,096; 2 to 4,096 of the projected family |" in shared
    assert re.findall(r"^\| `(.*?)`", dcgan, re.MULTILINE) == ["network.dropout"]
    assert "No settings of its own." in lsgan
    assert re.findall(r"^\| `(.*?)`", projected, re.MULTILINE)[:3] == [
        "network.feature_resolution",
        "network.eye_heads",
        "network.refinements",
    ]
    assert "| `network.dropout` | 0.3 | | | | |" in page  # only dcgan-128 has it


def test_comments_above_and_beside_a_field_describe_it(reference):
    comments = reference._comments(reference.config.OptimizerConfig)
    assert comments["generator_freeze_images"].startswith("For a run that starts from existing")
    assert comments["generator_ramp_images"]
