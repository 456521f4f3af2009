"""The page in a real Chromium, against what Python draws."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from browser import served
from PIL import Image
from runs import make_run

import catgan
from catgan.generation.interpolation import slerp
from catgan.generation.latents import latents
from catgan.web.site import write_site

CANVAS = "document.getElementById('cat')"
DRAWN = "document.getElementById('status').textContent.includes('in ')"


@pytest.fixture
def page(chromium, address):
    chromium.events.clear()
    chromium.screen(1200, 900)
    chromium.open("about:blank")
    chromium.wait("location.href === 'about:blank'")
    yield chromium
    assert chromium.complaints() == []  # nothing that the content security policy refused, either


def pixels(page, canvas=CANVAS):
    """What a canvas holds, (H, W, 3)."""
    encoded = page.run(f"{canvas}.toDataURL('image/png')").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


def show(page, url):
    page.open(url)
    page.wait(DRAWN)


def shows(page, expected):
    page.wait(DRAWN)
    return abs(pixels(page).astype(int) - expected).max() <= 2


def test_seed_7_is_the_cat_that_python_draws(page, address, cats):
    show(page, f"{address}/#seed=7")
    assert shows(page, cats.sample([7])[0])
    assert page.run("document.title") == "Cat 7 does not exist"
    assert "Nobody" in page.run("document.getElementById('terms').textContent")


def test_latents_are_the_same_numbers(page, address):
    show(page, f"{address}/#seed=7")
    seeds = [*range(200), 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1]
    script = "import('./latents.js').then(m => %s.map(s => Array.from(m.latent(BigInt(s), 255))))"
    theirs = np.array(page.run(script % [str(seed) for seed in seeds]))
    ours = latents(seeds, 255)
    # Both round from float64; a last bit may differ where the logarithms' last bits do.
    assert (theirs == ours).mean() > 0.9999
    assert np.allclose(theirs, ours, rtol=2e-7, atol=1e-12)


def test_the_way_between_two_is_the_same(page, address, cats):
    show(page, f"{address}/#seed=7&view=morph&to=9")
    page.wait("document.getElementById('status').textContent.includes('frames in')")
    page.run("document.getElementById('play').click()")
    assert page.run("document.getElementById('play').textContent") == "Play"
    z = cats.latents([7, 9])
    for frame in (0, 7, 23):
        page.run(
            f"(p => {{ p.value = {frame}; p.dispatchEvent(new Event('input')); }})"
            "(document.getElementById('position'))"
        )
        assert shows(page, cats.synthesise(slerp(*z, frame / 23)[None])[0])


def test_truncation_is_the_same(page, address, cats):
    show(page, f"{address}/#seed=7&variety=60")
    assert shows(page, cats.sample([7], 0.6)[0])
    page.run(
        "(v => { v.value = 30; v.dispatchEvent(new Event('input')); })"
        "(document.getElementById('variety'))"
    )
    page.wait("location.hash.includes('variety=30')")
    page.wait(f"{CANVAS}.getContext('2d')")
    page.run("new Promise(r => setTimeout(r, 500))")
    assert shows(page, cats.sample([7], 0.3)[0])


def test_a_sheet_holds_sixteen_and_leads_to_each(page, address, cats):
    show(page, f"{address}/#seed=30&view=sheet")
    page.wait("document.getElementById('status').textContent.includes('Choose')")
    expected = cats.sample(range(30, 46))
    for index in (0, 15):
        canvas = f"document.querySelectorAll('#sheet canvas')[{index}]"
        assert abs(pixels(page, canvas).astype(int) - expected[index]).max() <= 2
    page.run("document.querySelectorAll('#sheet button')[3].click()")
    page.wait("location.hash === '#seed=33'")
    assert shows(page, expected[3])
    page.run("history.back()")
    page.wait("location.hash.includes('view=sheet')")


def test_the_keyboard_does_everything(page, address, cats):
    show(page, f"{address}/#seed=7")
    page.press("ArrowRight")
    page.wait("location.hash === '#seed=8' && document.title.includes('8')")
    page.wait("document.getElementById('status').textContent.startsWith('Cat 8,')")
    assert shows(page, cats.sample([8])[0])
    page.press("ArrowLeft")
    page.press("ArrowLeft")
    page.wait("location.hash === '#seed=6'")
    page.press("2")
    page.wait("location.hash.includes('view=morph')")
    page.press("3")
    page.wait("location.hash.includes('view=sheet')")
    page.press("1")
    page.wait("location.hash === '#seed=6'")
    page.press("n")
    page.wait("location.hash !== '#seed=6'")
    stops = []
    for _ in range(9):
        page.press("Tab")
        stops.append(page.run("document.activeElement.id || document.activeElement.name"))
    expected = ["new", "view", "previous", "seed", "next", "variety", "download", "share"]
    assert [stop for stop in stops if stop in expected][:8] == expected


def test_nonsense_in_the_seed_and_in_the_address_is_met_with_words(page, address, cats):
    show(page, f"{address}/#seed=%3Cscript%3E&view=no&variety=900")
    assert shows(page, cats.sample([7])[0])
    page.run(
        "(s => { s.value = 'tom'; s.dispatchEvent(new Event('change')); })"
        "(document.getElementById('seed'))"
    )
    assert page.run("document.getElementById('seed').getAttribute('aria-invalid')") == "true"
    assert "whole number" in page.run("document.getElementById('status').textContent")
    page.open(f"{address}/#seed={2**63 - 1}")
    page.wait(f"document.getElementById('status').textContent.startsWith('Cat {2**63 - 1},')")
    assert shows(page, cats.sample([2**63 - 1])[0])


def test_what_is_saved_is_the_picture_at_its_own_size(page, address, cats):
    show(page, f"{address}/#seed=7")
    script = """new Promise(resolve => {
      const make = URL.createObjectURL;
      URL.createObjectURL = blob => { window.saved = blob; return make(blob); };
      HTMLAnchorElement.prototype.click = async function () {
        const bytes = new Uint8Array(await window.saved.arrayBuffer());
        resolve([this.download, btoa(String.fromCharCode(...bytes))]);
      };
      document.getElementById('download').click();
    })"""
    name, encoded = page.run(script)
    assert name == "cat7.png"
    saved = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))
    assert abs(saved.astype(int) - cats.sample([7])[0]).max() <= 2


def test_every_control_has_a_name_and_nothing_overflows_a_phone(page, address):
    page.screen(360, 640, phone=True)
    show(page, f"{address}/#seed={2**63 - 1}&view=morph")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    unnamed = page.run(
        "[...document.querySelectorAll('button, input')].filter(e => !(e.labels?.length || "
        "e.textContent.trim() || e.getAttribute('aria-label'))).map(e => e.outerHTML)"
        ".filter(html => !html.includes('canvas'))"
    )
    assert unnamed == []
    small = page.run(
        "[...document.querySelectorAll('.panel button')].filter(e => e.offsetHeight && "
        "e.offsetHeight < 44).map(e => e.id)"
    )
    assert small == []


def test_a_generator_that_is_gone_is_said(chromium, cats, tmp_path):
    write_site(tmp_path / "site", cats)
    (tmp_path / "site" / "generator.onnx").unlink()
    with served(tmp_path / "site") as url:
        chromium.open(url)
        chromium.wait("document.getElementById('loading-text').textContent.startsWith('No cat')")
        assert "404" in chromium.run("document.getElementById('loading-text').textContent")


@pytest.mark.parametrize("recipe", ["dcgan-128", "projected-128"])
def test_real_networks_draw_the_same(chromium, tmp_path, monkeypatch, recipe):
    from catgan.export import export

    monkeypatch.setattr(export, "SEEDS", 8)
    run = make_run(tmp_path / "run", recipe)
    done = export.export_run(
        run, tmp_path / "a.onnx", precision="float16", note=print, on_progress=lambda *_: None
    )
    cats = catgan.load(done.path)
    write_site(tmp_path / "site", cats)
    with served(tmp_path / "site") as url:
        for seed in (7, 8):
            show(chromium, f"{url}/#seed={seed}")
            chromium.wait(f"document.getElementById('status').textContent.includes('{seed},')")
            assert shows(chromium, cats.sample([seed])[0])
