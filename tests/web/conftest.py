"""Fixtures: a site in a real browser. `browser.py` skips or fails the tests without one."""

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
        without("ONNX Runtime Web (`make web-runtime` fetches it)")
    with browser(tmp_path_factory.mktemp("profile")) as browser_page:
        yield browser_page


@pytest.fixture(scope="session")
def cats(tmp_path_factory):
    return catgan.load(write(tmp_path_factory.mktemp("artifact") / "cats.onnx"))


@pytest.fixture(scope="session")
def site_url(chromium, cats, tmp_path_factory):
    """The URL of a site with the tiny artifact."""
    out = tmp_path_factory.mktemp("site") / "site"
    write_site(out, cats)
    with served(out) as url:
        yield url
