from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from catgan.data.dataset import cache, prepare
from catgan.data.dataset.cache import cache_directory, open_or_prepare, procedural_dataset
from catgan.data.dataset.dataset import Dataset
from catgan.data.synthetic.procedural import render_cat
from catgan.errors import CatganError


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


def test_cache_directory(monkeypatch, tmp_path):
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.setenv("CATGAN_CACHE_DIR", "~/elsewhere")
    assert cache_directory() == Path.home() / "elsewhere"
    for unset in (lambda: monkeypatch.setenv("CATGAN_CACHE_DIR", ""),
                  lambda: monkeypatch.delenv("CATGAN_CACHE_DIR")):  # fmt: skip
        unset()
        assert cache_directory() == platformdirs.user_cache_path("catgan")


def test_photos_are_prepared_once(photos, tmp_path, monkeypatch, caches):
    seen = []
    first = open_or_prepare(photos, 32, on_progress=lambda *numbers: seen.append(numbers))
    assert len(first) == len(seen) == 40
    assert first.name == "photos"
    monkeypatch.setattr(prepare, "decode", lambda data: pytest.fail("decoded again"))
    shutil.move(photos, tmp_path / "moved")
    second = open_or_prepare(tmp_path / "moved", 32, on_progress=lambda *_: pytest.fail("again"))
    assert second.path == first.path
    assert len(list(caches.iterdir())) == 1


def test_each_content_has_its_own_cached_dataset(photos, caches):
    paths = {open_or_prepare(photos, 32).path}
    next(photos.rglob("*.png")).unlink()
    changed = open_or_prepare(photos, 32)
    assert len(changed) == 39
    paths.add(changed.path)
    archive = shutil.make_archive(str(photos), "zip", photos)
    as_zip = open_or_prepare(archive, 32)
    assert as_zip.identity == changed.identity
    paths.add(as_zip.path)
    (photos / "0" / "large.png").write_bytes(b"not an image")
    paths.add(open_or_prepare(photos, 32).path)
    assert len(paths) == 4 == len(list(caches.iterdir()))


def test_corrupt_cache_is_rebuilt(photos):
    first = open_or_prepare(photos, 32)
    (first.path / "dataset.json").write_text("{")
    assert open_or_prepare(photos, 32).identity == first.identity
    (first.path / "images.npy").unlink()
    assert open_or_prepare(photos, 32).identity == first.identity


def test_dataset_is_opened_in_place(photos, tmp_path, caches):
    prepare.prepare(photos, tmp_path / "d", 32)
    assert open_or_prepare(tmp_path / "d", 32).path == tmp_path / "d"
    assert not caches.exists()
    with pytest.raises(CatganError, match=r"32 x 32.*--size 64") as error:
        open_or_prepare(tmp_path / "d", 64)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [0, 33])
def test_size_is_checked_before_anything_is_read(size):
    with pytest.raises(CatganError, match="try"):
        open_or_prepare("/missing", size)
    with pytest.raises(CatganError, match="try"):
        procedural_dataset(size)


def test_missing_source_and_unwritable_cache(photos, tmp_path, monkeypatch):
    with pytest.raises(CatganError, match="does not exist"):
        open_or_prepare(tmp_path / "missing", 32)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(CatganError, match="Set CATGAN_CACHE_DIR"):
        open_or_prepare(photos, 32)


def test_concurrent_preparation(photos, caches):
    script = (
        "import sys\n"
        "from catgan.data.dataset.cache import open_or_prepare\n"
        "print(open_or_prepare(sys.argv[1], 32).identity)\n"
    )
    command = [sys.executable, "-c", script, str(photos)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)
    ]
    outputs = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len({out for out, _ in outputs}) == 1
    assert {err for _, err in outputs} == {b""}
    assert len(list(caches.iterdir())) == 1


def test_procedural_dataset(monkeypatch):
    monkeypatch.setattr(cache, "EMBEDDED_COUNT", 30)
    seen = []
    dataset = procedural_dataset(32, on_progress=lambda *numbers: seen.append(numbers))
    assert isinstance(dataset, Dataset)
    assert len(dataset) == len(seen) == 30
    assert dataset.name == "procedural-cats"
    assert dataset.license == "MIT"
    assert "drawn procedurally" in dataset.credit
    np.testing.assert_array_equal(dataset.images[17], render_cat(17, 32))
    again = procedural_dataset(32, on_progress=lambda *_: pytest.fail("rendered again"))
    assert again.path == dataset.path
    larger = procedural_dataset(64)
    assert larger.resolution == 64
    assert larger.indices("holdout").tolist() == dataset.indices("holdout").tolist()


def test_dataset_is_named_after_the_path_it_was_opened_by(photos, tmp_path):
    first = open_or_prepare(photos, 32)
    shutil.copytree(photos, tmp_path / "Fotos mit Müll.2024")
    again = open_or_prepare(tmp_path / "Fotos mit Müll.2024", 32)
    assert again.name == "Fotos mit Müll.2024"
    assert (again.path, again.identity) == (first.path, first.identity)
    assert open_or_prepare(photos, 32).name == "photos"


def test_corrupt_cache_that_cannot_be_deleted(photos, caches, monkeypatch):
    first = open_or_prepare(photos, 32)
    (first.path / "dataset.json").write_text("{")
    monkeypatch.setattr(cache.shutil, "rmtree", lambda *_, **__: None)  # as without permission
    with pytest.raises(CatganError, match="could not be replaced: delete it"):
        open_or_prepare(photos, 32)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows accepts unknown users")
def test_cache_in_an_unknown_home_directory(monkeypatch):
    monkeypatch.setenv("CATGAN_CACHE_DIR", "~nobody-of-this-name/cache")
    with pytest.raises(CatganError, match="no such home directory"):
        cache_directory()
