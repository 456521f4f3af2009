"""Optional dependencies: which extra of the package to install where one is missing."""

from __future__ import annotations

from importlib.util import find_spec

from catgan.errors import CatganError


def require_training_extra(*also: str) -> None:
    """Raise `CatganError` if the train extra, or one of the modules `also`, is not installed."""
    require_extra("train", "torch", "safetensors", "psutil", "jinja2", *also)


def require_extra(extra: str, *modules: str) -> None:
    """Raise `CatganError`, with what to install, if one of an extra's `modules` is missing."""
    missing = [name for name in modules if not find_spec(name)]
    if missing:
        raise CatganError(
            f"this needs {', '.join(missing)}, not installed: pip install 'catgan[{extra}]'"
        )
