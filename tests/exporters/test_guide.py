"""Run the programs in docs/guides/export.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catgan.exporters import export

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "export.md"


def program(title):
    """Return the block of Python under a heading."""
    section = PAGE.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return block


def run(directory, text, **variables):
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=directory,
        env=os.environ | {"KERAS_HOME": str(directory), "TF_CPP_MIN_LOG_LEVEL": "3"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(directory / "cat.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (32, 32, 3)
    assert pixels.std() > 1


@pytest.fixture
def exported(runs, tmp_path):
    """Export under the guide's file name and return the directory."""

    def make(format, name, modules):  # noqa: A002
        missing = [module for module in modules if not find_spec(module)]
        if missing:
            pytest.skip(f"{', '.join(missing)} not installed: the guide is NOT tested")
        export.export_run(
            runs["projected-128"],
            tmp_path / name,
            format=format,
            note=print,
            on_progress=lambda *_: None,
        )
        return tmp_path

    return make


def test_from_keras(exported):
    directory = exported("keras", "cats.keras", ["keras"])
    run(directory, program("Use it from Keras"), KERAS_BACKEND="torch")


def test_from_tensorflow(exported):
    directory = exported("keras", "cats.keras", ["keras", "tensorflow"])
    run(directory, program("Use it from TensorFlow"), KERAS_BACKEND="tensorflow")
    assert (directory / "cats_for_serving" / "saved_model.pb").is_file()


def test_on_a_phone(exported):
    directory = exported("litert", "cats.tflite", ["keras", "tensorflow", "ai_edge_litert"])
    run(directory, program("On a phone"))


def test_programs_have_at_most_ten_lines():
    for title in ("Use it from Keras", "Use it from TensorFlow", "On a phone"):
        assert len(program(title).strip().splitlines()) <= 10
