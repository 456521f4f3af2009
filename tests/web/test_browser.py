"""The page in a real Chromium, compared with Python."""

from __future__ import annotations

import base64
import io
import re
import threading

import numpy as np
import pytest
from artifacts import artifact, write
from browser import served
from PIL import Image
from small_runs import make_run

import catgan
from catgan.generation.interpolation import slerp
from catgan.generation.latents import latents
from catgan.web.site import write_site

CANVAS = "document.getElementById('cat')"
DONE = "document.getElementById('status').getAttribute('aria-busy') === 'false'"
STATUS = "document.getElementById('status').textContent"


@pytest.fixture
def page(chromium, site_url):
    chromium.events.clear()
    chromium.screen(1200, 900)
    chromium.open("about:blank")
    chromium.wait("location.href === 'about:blank'")
    yield chromium
    assert chromium.complaints() == []  # includes violations of the content security policy


def pixels(page, canvas=CANVAS):
    """Return the pixels of a canvas, (H, W, 3)."""
    encoded = page.run(f"{canvas}.toDataURL('image/png')").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


def open_and_wait(page, url):
    page.open(url)
    page.wait(DONE)


def shows(page, expected):
    """Wait for the image; return whether it equals `expected` up to two steps of 255."""
    page.wait(DONE)
    return abs(pixels(page).astype(int) - expected).max() <= 2


def test_seed_7_equals_python_s(page, site_url, cats):
    open_and_wait(page, f"{site_url}/#seed=7")
    assert shows(page, cats.sample([7])[0])
    assert page.run("document.title") == "Cat 7 does not exist"
    assert "Nobody" in page.run("document.getElementById('terms').textContent")


def test_page_credits_lineage(page, tmp_path):
    ancestor = {"recipe": "r", "images": 7, "data": "old photos", "license": "CC BY-NC 4.0"}
    for lineage, terms in (
        ([ancestor | {"name": "<b>first</b>", "credit": "Ann"}], "license: MIT. Its training "
         "started from <b>first</b> (7 images seen of old photos, CC BY-NC 4.0). Made with catgan"),
        ([], "license: MIT. Made with catgan"),
    ):  # fmt: skip
        file = write(tmp_path / f"{len(lineage)}.onnx", artifact(lineage=lineage))
        write_site(tmp_path / f"site-{len(lineage)}", catgan.load(file))
        with served(tmp_path / f"site-{len(lineage)}") as url:
            open_and_wait(page, f"{url}/#seed=7")
            assert terms in page.run("document.getElementById('terms').textContent")
            page.open("about:blank")
            page.wait("location.href === 'about:blank'")


def test_latents_equal_python_s(page, site_url):
    open_and_wait(page, f"{site_url}/#seed=7")
    seeds = [*range(200), 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1]
    script = "import('./latents.js').then(m => %s.map(s => Array.from(m.latent(BigInt(s), 255))))"
    in_browser = np.array(page.run(script % [str(seed) for seed in seeds]))
    in_python = latents(seeds, 255)
    # Both round from float64; a last bit may differ where the logarithms' last bits do.
    assert (in_browser == in_python).mean() > 0.9999
    assert np.allclose(in_browser, in_python, rtol=2e-7, atol=1e-12)


def test_interpolation_equals_python_s(page, site_url, cats):
    open_and_wait(page, f"{site_url}/#seed=7&view=morph&to=9")
    page.wait("document.getElementById('status').textContent.includes('frames in')")
    page.run("document.getElementById('play').click()")
    assert page.run("document.getElementById('play').textContent") == "Play"
    z = cats.latents([7, 9])
    for frame in (0, 7, 23):
        page.run(
            f"(p => {{ p.value = {frame}; p.dispatchEvent(new Event('input')); }})"
            "(document.getElementById('position'))"
        )
        assert shows(page, cats.synthesize(slerp(*z, frame / 23)[None])[0])


def test_truncation_equals_python_s(page, site_url, cats):
    open_and_wait(page, f"{site_url}/#seed=7&variety=60")
    assert shows(page, cats.sample([7], 0.6)[0])
    page.run(
        "(v => { v.value = 30; v.dispatchEvent(new Event('input')); })"
        "(document.getElementById('variety'))"
    )
    assert shows(page, cats.sample([7], 0.3)[0])
    page.wait("location.hash.includes('variety=30')")


def test_grid_has_sixteen_images_that_link_to_their_seeds(page, site_url, cats):
    open_and_wait(page, f"{site_url}/#seed=30&view=grid")
    page.wait("document.getElementById('status').textContent.includes('Choose')")
    expected = cats.sample(range(30, 46))
    for index in (0, 15):
        canvas = f"document.querySelectorAll('#grid canvas')[{index}]"
        assert abs(pixels(page, canvas).astype(int) - expected[index]).max() <= 2
    page.run("document.querySelectorAll('#grid button')[3].click()")
    page.wait("location.hash === '#seed=33'")
    assert shows(page, expected[3])
    page.run("history.back()")
    page.wait("location.hash.includes('view=grid')")


def test_keyboard_controls(page, site_url, cats):
    open_and_wait(page, f"{site_url}/#seed=7")
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
    page.wait("location.hash.includes('view=grid')")
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


def test_invalid_seed_in_field_or_url_is_reported(page, site_url, cats):
    open_and_wait(page, f"{site_url}/#seed=%3Cscript%3E&view=no&variety=900")
    assert shows(page, cats.sample([7])[0])
    page.run(
        "(s => { s.value = 'tom'; s.dispatchEvent(new Event('change')); })"
        "(document.getElementById('seed'))"
    )
    assert page.run("document.getElementById('seed').getAttribute('aria-invalid')") == "true"
    assert "whole number" in page.run("document.getElementById('status').textContent")
    page.open(f"{site_url}/#seed={2**63 - 1}")
    page.wait(f"document.getElementById('status').textContent.startsWith('Cat {2**63 - 1},')")
    assert shows(page, cats.sample([2**63 - 1])[0])


def test_saved_file_has_native_resolution(page, site_url, cats):
    open_and_wait(page, f"{site_url}/#seed=7")
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
    # A save during generation waits for the new image, and does not save the old one.
    click = "document.getElementById('download').click();"
    name, encoded = page.run(
        script.replace(click, f"document.getElementById('next').click(); {click}")
    )
    assert name == "cat8.png"
    saved = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))
    assert abs(saved.astype(int) - cats.sample([8])[0]).max() <= 2


@pytest.mark.parametrize("width", [360, 390, 1200])
@pytest.mark.parametrize("view", ["cat", "morph", "grid"])
def test_page_fits_screen(page, site_url, width, view):
    page.screen(width, 700, phone=width < 1000)
    open_and_wait(page, f"{site_url}/#seed={2**63 - 1}&view={view}")
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    small = page.run(
        "[...document.querySelectorAll('.panel button')].filter(e => e.offsetHeight && "
        "e.offsetHeight < 44).map(e => e.id)"
    )
    assert small == []


@pytest.mark.parametrize("view", ["cat", "morph", "grid"])
def test_every_control_has_accessible_name(page, site_url, view):
    open_and_wait(page, f"{site_url}/#seed=7&view={view}")
    page.send("Accessibility.enable")
    names = {}
    for node in page.send("Accessibility.getFullAXTree")["nodes"]:
        focusable = any(
            each["name"] == "focusable" and each["value"].get("value")
            for each in node.get("properties", [])
        )
        role = node["role"]["value"]
        if focusable and not node["ignored"] and role != "RootWebArea":
            names.setdefault(role, []).append(node["name"].get("value", "").strip())
    page.send("Accessibility.disable")
    assert all(all(found) for found in names.values()), names
    assert set(names["radio"]) == {"One", "Morph", "Grid"}
    assert "Seed" in names["textbox"]
    assert any(name.startswith("Variety") for name in names["slider"])
    if view == "grid":
        assert {f"Cat {seed}" for seed in range(7, 23)} <= set(names["button"])
    assert page.run("document.documentElement.lang") == "en"
    assert page.run("document.querySelectorAll('h1').length") == 1
    zoom = page.run("document.querySelector('meta[name=viewport]').content")
    assert not re.search("user-scalable|maximum-scale", zoom)


# The WCAG 2.2 contrast of each visible text with its background.
CONTRASTS = """(() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const background = (e) => {
    for (; e; e = e.parentElement) {
      const color = numbers(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  return [...document.body.querySelectorAll('*')]
    .filter(e => e.checkVisibility({ visibilityProperty: true }))
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || e.value)
    .map(e => {
      const colors = [numbers(getComputedStyle(e).color), background(e)];
      const [a, b] = colors.map(luminance);
      return [e.textContent.trim() || e.id, (Math.max(a, b) + .05) / (Math.min(a, b) + .05)];
    });
})()"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_contrast(page, site_url, dark):
    page.screen(1200, 900, dark=dark)
    open_and_wait(page, f"{site_url}/#seed=7&view=morph")
    contrasts = page.run(CONTRASTS)
    assert len(contrasts) > 15
    assert [each for each in contrasts if each[1] < 4.5] == []


def test_keyboard_focus_is_visible(page, site_url):
    open_and_wait(page, f"{site_url}/#seed=7&view=morph")
    seen = set()
    for _ in range(12):
        page.press("Tab")
        focused, style, width = page.run(
            "(() => { const e = document.activeElement;"
            "const shown = e.type === 'radio' ? e.nextElementSibling : e;"
            "const style = getComputedStyle(shown);"
            "return [e.id || e.name, style.outlineStyle, parseFloat(style.outlineWidth)]; })()"
        )
        if focused:
            seen.add(focused)
            assert (style, width) == ("solid", 3), focused
    assert {"new", "view", "seed", "play", "position", "variety", "download", "share"} <= seen


def test_reduced_motion_is_respected(page, site_url):
    page.screen(1200, 900, calm=True)
    open_and_wait(page, f"{site_url}/#seed=7&view=morph")
    assert page.run("document.getElementById('play').textContent") == "Play"
    page.run("new Promise(done => setTimeout(done, 400))")
    assert page.run("document.getElementById('position').value") == "0"
    page.run("document.getElementById('play').click()")
    page.wait("document.getElementById('position').value !== '0'")


def test_controls_are_inert_until_generator_is_loaded(chromium, cats, tmp_path):
    write_site(tmp_path / "site", cats)
    gate = threading.Event()
    chromium.events.clear()
    with served(tmp_path / "site", gates={"/generator.onnx": gate}) as url:
        chromium.screen(1200, 900)
        chromium.open(f"{url}/#seed=7")
        chromium.wait("document.getElementById('terms').textContent")
        chromium.run(
            "document.querySelectorAll('button, input').forEach(e => {"
            "e.click(); e.dispatchEvent(new Event('input', { bubbles: true })); })"
        )
        for key in ("n", "2", "3", "s", "ArrowRight"):
            chromium.press(key)
        chromium.run("document.getElementById('panel').requestSubmit()")
        chromium.run("new Promise(done => setTimeout(done, 500))")  # URL updates are delayed
        assert chromium.run("location.hash") == "#seed=7"
        gate.set()
        chromium.wait(DONE)
        assert shows(chromium, cats.sample([7])[0])
        chromium.press("ArrowRight")
        chromium.wait(f"{STATUS}.startsWith('Cat 8,')")
        assert shows(chromium, cats.sample([8])[0])
    assert chromium.complaints() == []


def test_morph_endpoints_differ(page, site_url):
    open_and_wait(page, f"{site_url}/#seed=7&view=morph&to=7")
    assert page.run("document.getElementById('ends').textContent") == "7 and 8"


def test_seeds_wrap_around_after_largest(page, site_url, cats):
    open_and_wait(page, f"{site_url}/#seed={2**63 - 2}&view=grid")
    expected = cats.sample([2**63 - 2, 2**63 - 1, *range(14)])
    for index in (1, 2, 3, 15):
        canvas = f"document.querySelectorAll('#grid canvas')[{index}]"
        assert abs(pixels(page, canvas).astype(int) - expected[index]).max() <= 2
    page.press("ArrowRight")
    page.wait("location.hash.startsWith('#seed=14&')")
    page.press("ArrowLeft")
    page.wait(f"location.hash.startsWith('#seed={2**63 - 2}&')")


def test_url_updates_are_rate_limited(page, site_url):
    """Safari ends a page's script at the hundredth change within 30 seconds."""
    open_and_wait(page, f"{site_url}/#seed=7")
    changes, seconds = page.run(
        "new Promise(done => { let changes = 0; const began = performance.now();"
        "for (const name of ['pushState', 'replaceState']) {"
        "  const real = history[name].bind(history);"
        "  history[name] = (...args) => { changes += 1; real(...args); };"
        "}"
        "let left = 100;"
        "const timer = setInterval(() => {"
        "  dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' }));"
        "  const end = () => done([changes, (performance.now() - began) / 1000]);"
        "  if (--left === 0) { clearInterval(timer); setTimeout(end, 1000); }"
        "}, 10); })"
    )
    assert 2 <= changes <= 3 * seconds + 1  # a hundred keys, at whatever speed of this machine
    assert page.run("location.hash") == "#seed=107"
    page.run(
        "dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' }));"
        "dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' }));"
        "document.getElementById('share').click()"
    )
    assert page.run("location.hash") == "#seed=109"  # the copied link is the current one


# A second worker, under the policy of its own response.
PROBE = """onmessage = ({ data }) => fetch(data, { mode: 'no-cors' })
  .then(() => postMessage('sent'), () => postMessage('rejected'));"""


def test_site_headers_restrict_worker(chromium, cats, tmp_path):
    """A worker follows the policy of its own response, not the page's."""
    write_site(tmp_path / "site", cats)
    (tmp_path / "site" / "probe.js").write_text(PROBE)
    lines = (tmp_path / "site" / "_headers").read_text().splitlines()[1:]
    headers = dict(line.strip().split(": ", 1) for line in lines)
    with served(tmp_path / "site") as elsewhere:
        for given, expected in (({}, "sent"), (headers, "rejected")):
            with served(tmp_path / "site", headers=given) as url:
                chromium.events.clear()
                open_and_wait(chromium, f"{url}/#seed=7")
                assert shows(chromium, cats.sample([7])[0])
                assert chromium.complaints() == []
                response = chromium.run(
                    "new Promise(done => { const probe = new Worker('probe.js');"
                    f"probe.onmessage = e => done(e.data); probe.postMessage('{elsewhere}'); }})"
                )
                assert response == expected


def test_missing_generator_is_reported(chromium, cats, tmp_path):
    write_site(tmp_path / "site", cats)
    (tmp_path / "site" / "generator.onnx").unlink()
    with served(tmp_path / "site") as url:
        chromium.open(url)
        chromium.wait("document.getElementById('loading-text').textContent.startsWith('No cat')")
        assert "404" in chromium.run("document.getElementById('loading-text').textContent")
        assert chromium.run("document.getElementById('controls').disabled")


@pytest.mark.parametrize("recipe", ["dcgan-128", "projected-128"])
def test_real_networks_draw_the_same(chromium, tmp_path, monkeypatch, recipe):
    from catgan.exporters import export

    monkeypatch.setattr(export, "SEEDS", 8)
    run = make_run(tmp_path / "run", recipe)
    done = export.export_run(
        run, tmp_path / "a.onnx", precision="float16", note=print, on_progress=lambda *_: None
    )
    cats = catgan.load(done.path)
    write_site(tmp_path / "site", cats)
    with served(tmp_path / "site") as url:
        for seed in (7, 8):
            open_and_wait(chromium, f"{url}/#seed={seed}")
            chromium.wait(f"document.getElementById('status').textContent.includes('{seed},')")
            assert shows(chromium, cats.sample([seed])[0])
