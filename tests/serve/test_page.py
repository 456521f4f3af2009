"""The server's web page in a real Chromium."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from browser import browser, without
from PIL import Image
from serving import serving

from catgan.web import site

pytest.importorskip("uvicorn", reason="the extra serve is not installed: NOT tested")

RUNTIME = Path(site.__file__).parent / "runtime" / "ort.wasm.gz"
ABOUT = "document.getElementById('about').textContent"
STATUS = "document.getElementById('status').textContent"
DONE = "document.getElementById('status').getAttribute('aria-busy') === 'false'"


@pytest.fixture(scope="module")
def server(tiny_path):
    with serving(tiny_path) as running:
        yield running


@pytest.fixture
def page(tmp_path):
    with browser(tmp_path / "profile") as opened_page:
        opened_page.screen(1200, 900)
        yield opened_page


@pytest.fixture
def plain_page(tmp_path):
    """A page in a browser without WebAssembly."""
    with browser(tmp_path / "profile", "--js-flags=--jitless") as opened_page:
        yield opened_page


def pixels(page):
    encoded = page.run("document.getElementById('cat').toDataURL('image/png')").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


def test_browser_generates_seed_7(page, server, cats):
    if not RUNTIME.is_file():
        without("ONNX Runtime Web (`make web-runtime` fetches it)")
    page.open(f"{server.url}/#seed=7")
    page.wait(DONE)
    assert abs(pixels(page).astype(int) - cats.sample([7])[0]).max() <= 2
    assert "in your browser" in page.run(ABOUT)
    assert page.complaints() == []


@pytest.mark.parametrize(("width", "height", "phone"), [(1200, 900, False), (390, 844, True)])
def test_server_generates_if_browser_cannot(plain_page, server, cats, width, height, phone):
    page = plain_page
    page.screen(width, height, phone=phone)
    page.open(f"{server.url}/#seed=7&variety=60")
    page.wait(DONE)
    assert (pixels(page) == cats.sample([7], 0.6)[0]).all()
    assert "on the server" in page.run(ABOUT)
    page.open(f"{server.url}/#seed=3&to=9&view=morph")
    page.wait(f"{STATUS}.includes('frames in')")
    page.run("document.getElementById('play').click()")
    page.open(f"{server.url}/#seed=30&view=grid")
    page.wait(f"{STATUS}.includes('Choose')")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
