"""The programs in docs/guides/export.md, as they stand there."""

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
    """The block of Python under a heading."""
    section = PAGE.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return block


def run(place, text, **variables):
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=place,
        env=os.environ | {"KERAS_HOME": str(place), "TF_CPP_MIN_LOG_LEVEL": "3"} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(place / "cat.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (32, 32, 3)
    assert pixels.std() > 1


@pytest.fixture
def exported(runs, tmp_path):
    """Makes an export as the guide calls it, and returns its directory."""

    def make(format, name, needs):  # noqa: A002
        missing = [module for module in needs if not find_spec(module)]
        if missing:
            pytest.skip(f"no {', '.join(missing)} here: the guide is NOT tested")
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
    place = exported("keras", "cats.keras", ["keras"])
    run(place, program("Use it from Keras"), KERAS_BACKEND="torch")


def test_from_tensorflow(exported):
    place = exported("keras", "cats.keras", ["keras", "tensorflow"])
    run(place, program("Use it from TensorFlow"), KERAS_BACKEND="tensorflow")
    assert (place / "cats_for_serving" / "saved_model.pb").is_file()


def test_on_a_phone(exported):
    place = exported("litert", "cats.tflite", ["keras", "tensorflow", "ai_edge_litert"])
    run(place, program("On a phone"))


def test_no_program_is_longer_than_ten_lines():
    for title in ("Use it from Keras", "Use it from TensorFlow", "On a phone"):
        assert len(program(title).strip().splitlines()) <= 10
