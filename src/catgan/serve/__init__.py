"""Serve cats over HTTP: an ASGI application, and the server of `catgan serve`. No torch."""

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
    """Return an ASGI application that samples from `generator`, by default the bundled one.

    Mount it in another application or run it on any ASGI server. Limits on connections and on the
    time a client takes to send a request are up to that server; `catgan serve` enforces its own.

    Raises:
        CatganError: the extra `serve` is not installed.
    """
    require_serve_extra()
    from catgan.generation.generator import load_generator
    from catgan.serve.models import Models
    from catgan.serve.service import Service
    from catgan.serve.settings import Settings

    settings = settings or Settings()
    models = Models.create([("default", generator or load_generator())])
    return Service(models, settings)


def require_serve_extra() -> None:
    """Raise `CatganError` that says what to install if the extra `serve` is incomplete."""
    missing = [name for name in _MODULES if not find_spec(name)]
    if missing:
        raise CatganError(f"catgan serve needs {', '.join(missing)}: pip install 'catgan[serve]'")
