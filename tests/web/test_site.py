"""The static site that `catgan web` writes."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest
from artifacts import CARD, SIDE, SIZE, artifact, write
from browser import without

import catgan
from catgan.errors import CatganError
from catgan.web import site
from catgan.web.site import write_site

PAGE = Path(site.__file__).parent / "page"


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """A package with a fake runtime, where a build would put the real one."""
    package = tmp_path / "package"
    (package / "runtime").mkdir(parents=True)
    (package / "page").symlink_to(PAGE)
    for name in ("ort.mjs", "LICENSE"):
        (package / "runtime" / name).write_text(name)
    (package / "runtime" / "ort.wasm.gz").write_bytes(gzip.compress(b"\0asm"))
    monkeypatch.setattr(site, "_HERE", package)
    return package


def test_site_is_complete_and_describes_generator(tmp_path, cats, runtime):
    out = tmp_path / "deep" / "site"
    written = write_site(out, cats)
    files = [path for path in out.rglob("*") if path.is_file()]
    total = sum(path.stat().st_size for path in files)
    assert (written.files, written.bytes) == (len(files), total)
    description = json.loads((out / "generator.json").read_text())
    assert (description["latent_size"], description["resolution"]) == (SIZE, SIDE)
    assert description["license"] == "MIT"
    for part in ("model", "runtime"):
        data = (out / description[part]["name"]).read_bytes()
        assert description[part]["bytes"] == len(data)
        assert hashlib.sha256(data).hexdigest().startswith(description[part]["version"])
    assert (out / "generator.onnx").read_bytes() == cats.model


def test_site_credits_lineage(tmp_path, runtime):
    ancestor = {"name": "first", "recipe": "r", "images": 7, "data": "old photos", "credit": "Ann"}
    terms = "MIT; of the weights it was started from: CC BY-NC 4.0"
    card = {"lineage": [ancestor | {"license": "CC BY-NC 4.0"}]}
    data = CARD["data"] | {"license": terms}
    file = write(tmp_path / "cats.onnx", artifact(**card, data=data))
    write_site(tmp_path / "site", catgan.load(file))
    description = json.loads((tmp_path / "site" / "generator.json").read_text())
    assert description["began"] == "first (7 images seen of old photos, CC BY-NC 4.0)"
    assert description["license"] == terms


def test_browser_runtime_has_no_telemetry():
    """The Python builds of ONNX Runtime contain a collector's URL; the web build must not."""
    directory = Path(site.__file__).parent / "runtime"
    if not (directory / "ort.wasm.gz").is_file():
        without("ONNX Runtime Web (`make web-runtime` fetches it)")
    script = (directory / "ort.mjs").read_text()
    program = gzip.decompress((directory / "ort.wasm.gz").read_bytes())
    urls = set(re.findall(r"(?:https?|wss?)://[^\s\"'`]+", script))
    assert urls == {"https://web.dev/cross-origin-isolation-guide/"}  # in a warning's text
    assert not re.search(r"sendBeacon|WebSocket|localStorage|indexedDB", script)
    assert not re.search(rb"OneCollector|events\.data|(?i:telemetry)", program)


def test_page_references_only_files_of_the_site(tmp_path, cats, runtime):
    write_site(tmp_path / "site", cats)
    text = (tmp_path / "site" / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"?]+)[^"]*"', text):
        assert (tmp_path / "site" / name).is_file(), name
    for path in PAGE.iterdir():
        urls = set(re.findall(r"https?://[^\s\"'`]+", path.read_text()))
        assert urls <= {"http://www.w3.org/2000/svg"}, path
    assert "style=" not in text
    assert "<style" not in text
    assert not re.search(r"\son\w+=", text)


def test_only_an_existing_site_is_overwritten(tmp_path, cats, runtime):
    out = tmp_path / "site"
    write_site(out, cats)
    write_site(out, cats)
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out in (other, tmp_path / "file"):
        with pytest.raises(CatganError, match="not a site that"):
            write_site(out, cats)
    assert (other / "index.html").read_text() == "mine"
    with pytest.raises(CatganError, match="cannot be written"):
        write_site(tmp_path / "file" / "site", cats)


def test_references_between_files_are_versioned(tmp_path, cats, runtime):
    """Otherwise a browser could run the worker of an earlier site with the page of this one."""
    write_site(tmp_path / "site", cats)
    texts = {name: (tmp_path / "site" / name).read_text() for name in ("index.html", "app.js")}
    found = re.findall(r'"(?:\./)?(app\.js|style\.css|worker\.js|latents\.js)(.*?)"', str(texts))
    assert sorted(name for name, _ in found) == ["app.js", "latents.js", "style.css", "worker.js"]
    (version,) = {query for _, query in found}
    assert re.fullmatch(r"\?[0-9a-f]{16}", version)
    worker = (tmp_path / "site" / "worker.js").read_text()
    assert f'"./runtime/ort.js{version}"' in worker

    (runtime / "runtime" / "ort.mjs").write_text("newer")
    write_site(tmp_path / "site", cats)
    assert version not in (tmp_path / "site" / "index.html").read_text()


def test_interrupted_write_is_completed_by_the_next(tmp_path, cats, runtime, monkeypatch):
    written, write = [], site.write_durably

    def fail_after_three(path, data):
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path.name)
        write(path, data)

    out = tmp_path / "site"
    with monkeypatch.context() as patch:
        patch.setattr(site, "write_durably", fail_after_three)
        with pytest.raises(CatganError, match="cannot be written"):
            write_site(out, cats)
    assert len(list(out.iterdir())) == 3
    write_site(out, cats)
    assert (out / "generator.onnx").is_file()
    # Rewriting a site replaces the description last, after the files it names.
    written.clear()
    monkeypatch.setattr(site, "write_durably", lambda path, data: written.append(path.name))
    write_site(out, cats)
    assert written.count("generator.json") == 1
    assert written[-1] == "generator.json"


def test_headers_file_has_page_s_policy(tmp_path, cats, runtime):
    write_site(tmp_path / "site", cats)
    first, *rest = (tmp_path / "site" / "_headers").read_text().splitlines()
    headers = dict(line.strip().split(": ", 1) for line in rest)
    assert first == "/*"
    policy = headers["Content-Security-Policy"]
    page = (PAGE / "index.html").read_text()
    assert 'content="{}"'.format(policy.removesuffix("; frame-ancestors 'self'")) in page
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy


def test_package_without_runtime_is_reported(tmp_path, cats, monkeypatch):
    monkeypatch.setattr(site, "_HERE", tmp_path)
    with pytest.raises(CatganError, match="make web-runtime"):
        write_site(tmp_path / "site", cats)


def _luminance(color):
    channels = [int(color[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a, b):
    lighter, darker = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_colors_meet_wcag_contrast():
    """WCAG 2.2 requires a contrast of 4.5 for text and of 3 for controls."""
    style = (PAGE / "style.css").read_text()
    for root in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        colors = dict(re.findall(r"--([\w-]+): #([0-9a-f]{3,6})", root))
        colors = {k: v if len(v) == 6 else "".join(2 * c for c in v) for k, v in colors.items()}
        for text, background in (
            ("ink", "paper"), ("soft", "paper"), ("soft", "card"), ("ink", "card"),
            ("ink", "line"), ("on-accent", "accent"), ("paper", "ink"),
        ):  # fmt: skip
            assert _contrast(colors[text], colors[background]) >= 4.5, (text, background)
        for edge in ("edge", "accent"):
            assert _contrast(colors[edge], colors["paper"]) >= 3, edge


def test_dangling_symlink_is_rejected(cats, tmp_path, runtime):
    (tmp_path / "site").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CatganError, match=r"cannot be written \(.*site is not a folder\)"):
        write_site(tmp_path / "site", cats)
