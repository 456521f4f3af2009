"""A site in a real browser; browser.py says what happens without one."""

from __future__ import annotations

from pathlib import Path

import pytest
from artifacts import write
from browser import browser, served, without

import catgan
from catgan.web import site
from catgan.web.site import write_site

RUNTIME = Path(site.__file__).parent / "runtime" / "ort.wasm.gz"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    if not RUNTIME.is_file():
        without("ONNX Runtime for browsers (`make web-runtime` fetches it)")
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def cats(tmp_path_factory):
    return catgan.load(write(tmp_path_factory.mktemp("artifact") / "cats.onnx"))


@pytest.fixture(scope="session")
def address(chromium, cats, tmp_path_factory):
    """The address of a site of the tiny artifact."""
    out = tmp_path_factory.mktemp("site") / "site"
    write_site(out, cats)
    with served(out) as url:
        yield url
