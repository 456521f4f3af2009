"""Import Keras with its torch backend, without writing to the home directory."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from types import ModuleType

from catgan.errors import CatganError

MIN_VERSION = (3, 15, 1)  # older versions have known vulnerabilities: see SECURITY.md


def load_keras() -> ModuleType:
    """Import and return Keras.

    All code of catgan imports Keras here. Keras takes its backend from the environment or from
    `~/.keras/keras.json`, which it creates if missing. Exporting uses torch, which is installed
    anyway, and leaves no file behind. If the process has already imported Keras, its backend stays.

    Raises:
        CatganError: the installed Keras is too old.
    """
    keras = sys.modules.get("keras") or _import_keras()
    numbers = tuple(int(part) for part in keras.__version__.split(".")[:3] if part.isdecimal())
    if numbers < MIN_VERSION:
        raise CatganError(
            f"Keras {keras.__version__} is too old: pip install -U "
            f"'keras>={'.'.join(map(str, MIN_VERSION))}'"
        )
    return keras


def _import_keras() -> ModuleType:
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
