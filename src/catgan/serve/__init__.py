"""Cats over HTTP: an ASGI application, and the server that `catgan serve` runs. No torch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from catgan.errors import CatganError

if TYPE_CHECKING:
    from catgan.generation.generator import Generator
    from catgan.serve.service import Service
    from catgan.serve.settings import Settings

_MODULES = ("starlette", "uvicorn", "httptools", "prometheus_client")


def app(generator: Generator | None = None, settings: Settings | None = None) -> Service:
    """Return an ASGI application that draws with `generator`, or with the package's own.

    Mount it in another application or give it to any ASGI server. The limits on connections and
    on the time that a client takes to send a request are the server's affair: `catgan serve` has
    them, another server has its own.

    Raises `CatganError` where the extra `serve` is not installed.
    """
    require_serve_extra()
    from catgan.generation.generator import load_generator
    from catgan.serve.models import Models
    from catgan.serve.service import Service
    from catgan.serve.settings import Settings

    settings = settings or Settings()
    models = Models.of([("default", generator or load_generator())], settings.workers)
    return Service(models, settings)


def require_serve_extra() -> None:
    """Raise `CatganError` with what to install where a module of the extra `serve` is missing."""
    missing = [name for name in _MODULES if not find_spec(name)]
    if missing:
        raise CatganError(
            f"serve needs {', '.join(missing)}, not installed: pip install 'catgan[serve]'"
        )
