"""A site in a real browser; skipped, visibly, without Chromium or the runtime for browsers."""

from __future__ import annotations

from pathlib import Path

import pytest
from artefacts import write
from browser import CHROMIUM, browser, served

import catgan
from catgan.web import site
from catgan.web.site import write_site

RUNTIME = Path(site.__file__).parent / "runtime" / "ort.wasm.gz"
needs_runtime = pytest.mark.skipif(
    not RUNTIME.is_file(), reason="no runtime for browsers: `make web-runtime` fetches it"
)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    if not RUNTIME.is_file():
        pytest.skip("no runtime for browsers: `make web-runtime` fetches it")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def cats(tmp_path_factory):
    return catgan.load(write(tmp_path_factory.mktemp("artefact") / "cats.onnx"))


@pytest.fixture(scope="session")
def address(chromium, cats, tmp_path_factory):
    """The address of a site of the tiny artefact."""
    out = tmp_path_factory.mktemp("site") / "site"
    write_site(out, cats)
    with served(out) as url:
        yield url
