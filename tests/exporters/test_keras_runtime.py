from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from catgan.errors import CatganError
from catgan.exporters.keras_runtime import load_keras


@pytest.mark.parametrize("version", ["2.15.0", "3.13.1", "3.15.0", "3.15.0.dev20260101"])
def test_a_keras_with_known_holes_is_rejected(monkeypatch, version):
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(__version__=version))
    with pytest.raises(CatganError, match=r"too old: pip install -U 'keras>=3\.15\.1'"):
        load_keras()


@pytest.mark.parametrize("version", ["3.15.1", "3.16.0", "4.0"])
def test_a_newer_keras_is_taken(monkeypatch, version):
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(__version__=version))
    assert load_keras().__version__ == version


@pytest.mark.skipif(not find_spec("keras"), reason="Keras is not installed: NOT tested")
def test_the_backend_is_torch_and_no_settings_are_written(tmp_path):
    program = (
        "import os\n"
        "from catgan.exporters.keras_runtime import load_keras\n"
        "assert load_keras().backend.backend() == 'torch'\n"
        "assert 'KERAS_HOME' not in os.environ\n"
        "assert os.environ['KERAS_BACKEND'] == 'jax'\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_HOME"}
    environment |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".keras").exists()
