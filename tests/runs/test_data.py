"""The dataset that a run, a dataset or photos mean."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from catgan.config import load_recipe, override
from catgan.data.dataset import cache
from catgan.data.dataset.dataset import Dataset
from catgan.errors import CatganError
from catgan.runs import data as data_module
from catgan.runs.data import (
    changed_data,
    check_pixels,
    data_of,
    open_data,
    split_identity,
)
from catgan.runs.directory import RunDirectory


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "EMBEDDED_COUNT", 30)


def silent(*_):
    pass


def make_run(path, dataset, source):
    """A run that says it was trained on `dataset`, without a checkpoint."""
    config = override(load_recipe("lsgan-64"), ["network.resolution=32"])
    about = {"name": dataset.name, "images": len(dataset), "identity": dataset.identity}
    about["split"] = split_identity(dataset)
    facts = {"source": source and str(source), "dataset": about, "machine": {}}
    RunDirectory.create(path, config, facts)
    return path


@pytest.mark.parametrize("procedural", [False, True])
def test_run_without_photos_means_its_generated_cats(tmp_path, procedural):
    trained_on = open_data(None, 32, silent, procedural=procedural)
    assert trained_on.name == ("procedural-cats" if procedural else "generated-cats")
    run = make_run(tmp_path / "run", trained_on, None)
    found = data_of(run, 64, silent)
    assert found.path == trained_on.path
    assert changed_data(run, found) is None


def test_photos_and_datasets_are_the_same_as_for_training(tmp_path, cats):
    (tmp_path / "photos").mkdir()
    for index in range(5):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
    found = data_of(tmp_path / "photos", 32, silent)
    assert (found.name, found.resolution) == ("photos", 32)
    assert found.path == open_data(tmp_path / "photos", 32, silent).path
    assert data_of(cats.path, 64, silent).resolution == 32  # whatever size is requested
    assert changed_data(cats.path, found) is None  # no run


def test_changed_images_or_split_are_reported(tmp_path, cats):
    shutil.copytree(cats.path, tmp_path / "cats")
    run = make_run(tmp_path / "run", cats, tmp_path / "cats")
    description = tmp_path / "cats" / "dataset.json"
    description.write_text(description.read_text().replace('"holdout"', '"train"'))
    text = changed_data(run, data_of(run, 32, silent))
    assert text.startswith("run was trained on other images than these, or with another split")
    assert text.endswith("60 of procedural-cats then, 60 of procedural-cats now")


def test_missing_or_invalid_source_is_a_one_line_error(tmp_path, cats):
    run = make_run(tmp_path / "run", cats, tmp_path / "gone")
    with pytest.raises(
        CatganError, match=r"trained on .*gone, which no longer exists: name a dataset"
    ):
        data_of(run, 32, silent)
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "source": 5}))
    with pytest.raises(CatganError, match=r"run\.json cannot be read \(source is not a string\)"):
        data_of(run, 32, silent)


def test_changed_pixels_are_an_error_with_the_right_remedy(tmp_path, cats):
    shutil.copytree(cats.path, tmp_path / "cats")
    cached = open_data(None, 32, silent, procedural=True)
    for path in (tmp_path / "cats", cached.path):
        with (path / "images.npy").open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x55")
    with pytest.raises(CatganError, match="has changed on disk: prepare it again"):
        data_of(tmp_path / "cats", 32, silent)
    run = make_run(tmp_path / "run", Dataset.open(cached.path), None)
    with pytest.raises(CatganError, match="delete it, and it is made again"):
        data_of(run, 32, silent)


def test_large_data_are_read_again_only_if_their_file_has_changed(tmp_path, cats, monkeypatch):
    shutil.copytree(cats.path, tmp_path / "cats")
    dataset = Dataset.open(tmp_path / "cats")
    stamp, images = json.loads(json.dumps(dataset.stamp())), dataset.path / "images.npy"
    before = images.stat()
    with images.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    os.utime(images, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CatganError, match="has changed on disk"):  # little is always read
        check_pixels(dataset, silent, checked=stamp)
    monkeypatch.setattr(data_module, "MANY_BYTES", dataset.images.nbytes - 1)
    check_pixels(dataset, silent, checked=stamp)
    for other in (None, "", [stamp[0] + 1, stamp[1]]):
        with pytest.raises(CatganError, match="has changed on disk"):
            check_pixels(dataset, silent, checked=other)
    os.utime(images)
    with pytest.raises(CatganError, match="has changed on disk"):
        check_pixels(dataset, silent, checked=stamp)
