"""The one place that imports Keras: with its torch backend, and nothing written in the home."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from types import ModuleType

from catgan.errors import CatganError

MINIMUM = (3, 15, 1)  # SECURITY.md says why


def load_keras() -> ModuleType:
    """Import and return Keras.

    Keras takes its backend from the environment or from `~/.keras/keras.json`, which it writes
    where it is missing. Exporting needs no other framework than torch, which is there, and leaves
    no file behind. A Keras that the process imported before keeps its backend.

    Raises:
        CatganError: the installed Keras is too old.
    """
    keras = sys.modules.get("keras") or _imported()
    numbers = tuple(int(part) for part in keras.__version__.split(".")[:3] if part.isdecimal())
    if numbers < MINIMUM:
        raise CatganError(
            f"Keras {keras.__version__} is too old: pip install -U "
            f"'keras>={'.'.join(map(str, MINIMUM))}'"
        )
    return keras


def _imported() -> ModuleType:
    with tempfile.TemporaryDirectory() as home:
        settings = {"KERAS_BACKEND": "torch", "KERAS_HOME": home}
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            return importlib.import_module("keras")
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
