from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from catgan.config import override
from catgan.data.dataset import Dataset
from catgan.data.drawn import write_drawn_cats
from catgan.errors import CatganError
from catgan.training import start

SMALL = ["network.resolution=32", "network.channels=4", "training.batch_size=4"]
NO_SCORES = "output.score_samples=0"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def silent(*_):
    pass


def new(source, *settings, out=None):
    return start.new_run(source, "lsgan-64", [*SMALL, NO_SCORES, *settings], out, "cpu", silent)


def test_a_run_is_named_after_data_and_recipe_and_never_over_another(cats):
    first, second = new(cats.path), new(cats.path)
    assert str(first.run.path) == "runs/drawn-cats-lsgan-64"
    assert str(second.run.path) == "runs/drawn-cats-lsgan-64-2"
    assert first.dataset.identity == cats.identity
    assert first.reals is None
    assert f"{len(cats.indices('train'))} images of drawn-cats" in start.first_line(first)


@pytest.mark.parametrize(
    ("name", "path"), [("con.2026", "con_.2026-r"), ("a: b?", "a-b-r"), ("cats.", "cats-r")]
)
def test_the_name_of_a_run_is_one_that_every_system_can_have(name, path):
    assert start._free_name(name, "r").name == path


def test_a_folder_of_photos_is_prepared_once(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    calls = []
    arguments = ("lsgan-64", [*SMALL, NO_SCORES], None, "cpu", lambda *call: calls.append(call))
    plan = start.new_run(folder, *arguments)
    assert calls[-1] == ("preparing", 6, 6)
    assert len(plan.dataset) == 6
    again = start.new_run(folder, *arguments)
    assert len(calls) == len(set(calls))
    assert again.dataset.identity == plan.dataset.identity


def test_few_images_are_said_to_be_few(cats):
    assert new(cats.path).notes == []
    assert "only" in new(cats.path, "training.batch_size=64").notes[0]


def test_resume_finds_its_data_and_may_be_longer(cats, tmp_path):
    plan = new(cats.path, out=tmp_path / "run")
    resumed = start.resume_run(plan.run.path, None, ["training.images=99"], "cpu", silent)
    assert resumed.config == override(plan.config, ["training.images=99"])
    assert resumed.run.config() == resumed.config
    assert resumed.resume
    assert resumed.notes == []
    assert resumed.dataset.identity == cats.identity


def test_resume_refuses_what_would_be_another_run(cats, tmp_path):
    plan = new(cats.path, out=tmp_path / "run")
    with pytest.raises(CatganError, match=r"must keep training\.batch_size"):
        start.resume_run(plan.run.path, None, ["training.batch_size=8"], "cpu", silent)
    write_drawn_cats(tmp_path / "other", 30, 32)
    with pytest.raises(CatganError, match="differs"):
        start.resume_run(plan.run.path, tmp_path / "other", [], "cpu", silent)
    shutil.copytree(cats.path, tmp_path / "resplit")
    description = tmp_path / "resplit" / "dataset.json"
    description.write_text(description.read_text().replace('"holdout"', '"train"'))
    assert Dataset.open(tmp_path / "resplit").identity == cats.identity
    with pytest.raises(CatganError, match="split otherwise"):
        start.resume_run(plan.run.path, tmp_path / "resplit", [], "cpu", silent)


def test_data_that_moved_can_be_named(cats, tmp_path):
    shutil.copytree(cats.path, tmp_path / "here")
    plan = new(tmp_path / "here", out=tmp_path / "run")
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(CatganError, match="is gone"):
        start.resume_run(plan.run.path, None, [], "cpu", silent)
    resumed = start.resume_run(plan.run.path, tmp_path / "there", [], "cpu", silent)
    assert resumed.dataset.identity == Dataset.open(tmp_path / "there").identity


def test_another_machine_is_said_to_be_another(cats, tmp_path, monkeypatch):
    plan = new(cats.path, out=tmp_path / "run")
    monkeypatch.setattr(start.torch, "get_num_threads", lambda: 77)
    notes = start.resume_run(plan.run.path, None, [], "cpu", silent).notes
    assert len(notes) == 1
    assert "77 now" in notes[0]
    assert "not bit for bit" in notes[0]


def test_what_checkpoints_are_scored_against_is_measured_once(tmp_path):
    write_drawn_cats(tmp_path / "cats", 130, 32)
    settings = [*SMALL, "output.score_samples=12"]
    calls = []
    arguments = ("lsgan-64", settings, None, "cpu", lambda *call: calls.append(call))
    plan = start.new_run(tmp_path / "cats", *arguments)
    assert plan.reals.reals.count == len(plan.dataset.indices("train"))
    assert plan.reals.extractor.identity.name == "lite2"
    assert any(call[0] == "measuring" for call in calls)
    before = len(calls)
    again = start.new_run(tmp_path / "cats", *arguments)
    assert len(calls) - before <= 1
    assert np.array_equal(again.reals.vectors, plan.reals.vectors)
