"""The reference pages are what tools/reference.py writes, and that says what it should."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

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
    for key in reference._flat(reference.config.Config()):
        assert key == "recipe" or f"| `{key}` |" in page, key


def test_comments_above_and_beside_a_field_describe_it(reference):
    comments = reference._comments(reference.config.OptimizerConfig)
    assert comments["generator_freeze_images"].startswith("For a run that starts from existing")
    assert comments["generator_ramp_images"]
