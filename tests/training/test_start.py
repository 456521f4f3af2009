from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from processors import PLAIN, seen_as

from catgan.config import load_recipe, override
from catgan.data.dataset.dataset import Dataset
from catgan.data.synthetic.procedural import write_procedural_cats
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
    assert str(first.run.path) == "runs/procedural-cats-lsgan-64"
    assert str(second.run.path) == "runs/procedural-cats-lsgan-64-2"
    assert first.dataset.identity == cats.identity
    assert first.reals is None
    assert f"{len(cats.indices('train'))} images of procedural-cats" in start.describe_plan(first)


def test_a_run_is_named_after_its_source_in_unicode(tmp_path):
    for name in ("thirty", "Fotos mit Müll", "nul"):  # with the same content
        (tmp_path / name).mkdir()
        for index in range(6):
            pixels = np.random.default_rng(index).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    first, second, third = (new(tmp_path / name) for name in ("thirty", "Fotos mit Müll", "nul"))
    assert str(second.run.path) == "runs/Fotos-mit-Müll-lsgan-64"
    assert second.run.facts()["dataset"]["name"] == "Fotos mit Müll"
    assert "images of Fotos mit Müll;" in start.describe_plan(second)
    assert second.dataset.identity == first.dataset.identity
    assert third.run.path.name == "_nul-lsgan-64"
    resumed = start.resume_run(second.run.path, None, [], "cpu", silent)
    assert resumed.dataset.name == "Fotos mit Müll"


@pytest.mark.parametrize(
    ("name", "path"), [("con.2026", "_con.2026-r"), ("a: b?", "a-b-r"), ("cats.", "cats-r")]
)
def test_run_names_are_valid_on_every_system(name, path):
    assert start._free_run_path(name, "r").name == path


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


def test_few_images_give_a_note(cats):
    assert new(cats.path).notes == []
    assert "only" in new(cats.path, "training.batch_size=64").notes[0]


def test_too_few_images_to_score_give_a_note(cats):
    (note,) = new(cats.path, "output.score_samples=12").notes
    assert "fewer than 100: checkpoints are not scored" in note


def test_few_photos_from_scratch_give_a_note_about_the_bundled_generator(tmp_path):
    write_procedural_cats(tmp_path / "cats", 12, 128)
    settings = ["network.channels=4", "network.maximum_channels=8", NO_SCORES]
    plan = start.new_run(tmp_path / "cats", None, settings, tmp_path / "run", "cpu", silent)
    assert any("--from bundled" in note for note in plan.notes)


def test_resume_finds_its_data_and_may_train_longer(cats, tmp_path):
    plan = new(cats.path, out=tmp_path / "run")
    resumed = start.resume_run(plan.run.path, None, ["training.images=99"], "cpu", silent)
    assert resumed.config == override(plan.config, ["training.images=99"])
    assert resumed.run.config() == resumed.config
    assert resumed.resume
    assert resumed.notes == []
    assert resumed.dataset.identity == cats.identity


def test_resume_rejects_other_settings_and_data(cats, tmp_path):
    plan = new(cats.path, out=tmp_path / "run")
    with pytest.raises(CatganError, match=r"must keep training\.batch_size"):
        start.resume_run(plan.run.path, None, ["training.batch_size=8"], "cpu", silent)
    write_procedural_cats(tmp_path / "other", 30, 32)
    with pytest.raises(CatganError, match="differs"):
        start.resume_run(plan.run.path, tmp_path / "other", [], "cpu", silent)
    shutil.copytree(cats.path, tmp_path / "resplit")
    description = tmp_path / "resplit" / "dataset.json"
    description.write_text(description.read_text().replace('"holdout"', '"train"'))
    assert Dataset.open(tmp_path / "resplit").identity == cats.identity
    with pytest.raises(CatganError, match="in its split"):
        start.resume_run(plan.run.path, tmp_path / "resplit", [], "cpu", silent)


def test_moved_data_can_be_named(cats, tmp_path):
    shutil.copytree(cats.path, tmp_path / "here")
    plan = new(tmp_path / "here", out=tmp_path / "run")
    (tmp_path / "here").rename(tmp_path / "there")
    with pytest.raises(CatganError, match="does not exist"):
        start.resume_run(plan.run.path, None, [], "cpu", silent)
    resumed = start.resume_run(plan.run.path, tmp_path / "there", [], "cpu", silent)
    assert resumed.dataset.identity == Dataset.open(tmp_path / "there").identity


def test_another_machine_gives_a_note(cats, tmp_path, monkeypatch):
    plan = new(cats.path, out=tmp_path / "run")
    monkeypatch.setattr(start.torch, "get_num_threads", lambda: 77)
    notes = start.resume_run(plan.run.path, None, [], "cpu", silent).notes
    assert len(notes) == 1
    assert "77 now" in notes[0]
    assert "not bit for bit" in notes[0]


def test_real_statistics_are_cached(tmp_path):
    write_procedural_cats(tmp_path / "cats", 130, 32)
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


# -- what is found out before the work -------------------------------------------------------------


def never(*_, **__):
    pytest.fail("work was begun that could not be used")


def test_an_existing_path_is_rejected_before_preparation(cats, tmp_path, monkeypatch):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(start, "open_data", never)
    for name, why in (("taken", "is not empty"), ("file", "cannot be written")):
        with pytest.raises(CatganError, match=why):
            new(cats.path, out=tmp_path / name)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "taken"]


def test_a_failed_preparation_creates_no_run(tmp_path):
    with pytest.raises(CatganError, match="does not exist"):
        new(tmp_path / "nowhere", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_impossible_precision_is_rejected_before_preparation(cats, monkeypatch):
    with seen_as(PLAIN):
        monkeypatch.setattr(start, "open_data", never)
        with pytest.raises(CatganError, match="bfloat16 is impossible here"):
            new(cats.path, "training.precision=bfloat16")


def test_a_bfloat16_run_resumes_in_float32_on_another_machine(cats, tmp_path):
    plan = new(cats.path, out=tmp_path / "run")
    begun_elsewhere(plan.run, precision="bfloat16")
    with seen_as(PLAIN):
        resumed = start.resume_run(plan.run.path, None, [], "cpu", silent)
        assert resumed.precision == torch.float32
        assert any("precision: bfloat16 when the run began, float32" in n for n in resumed.notes)


def test_requested_bfloat16_on_resume_is_rejected_if_impossible(cats, tmp_path):
    plan = new(cats.path, "training.precision=float32", out=tmp_path / "run")
    with (
        seen_as(PLAIN),
        pytest.raises(CatganError, match="bfloat16 is impossible here"),
    ):
        start.resume_run(plan.run.path, None, ["training.precision=bfloat16"], "cpu", silent)


def test_another_number_of_samples_gives_a_note(cats, tmp_path):
    plan = new(cats.path, out=tmp_path / "run")
    asked = ["output.score_samples=500"]
    notes = start.resume_run(plan.run.path, None, asked, "cpu", silent).notes
    assert any("500 samples" in note and "not compared" in note for note in notes)


def begun_elsewhere(run, **facts):
    """Change the run's record of the machine where it began."""
    record = json.loads((run.path / "run.json").read_text())
    record["machine"] |= facts
    (run.path / "run.json").write_text(json.dumps(record))


def test_a_failed_resume_releases_the_lock(cats, tmp_path):
    plan = new(cats.path, out=tmp_path / "run")
    with pytest.raises(CatganError, match="must keep"):
        start.resume_run(plan.run.path, None, ["training.batch_size=8"], "cpu", silent)
    assert not (plan.run.path / ".lock.json").exists()


@pytest.mark.parametrize("player", ["discriminator", "generator"])
def test_an_unknown_loss_is_rejected_before_the_run_is_made(tmp_path, cats, player):
    with pytest.raises(CatganError, match="no loss 'mst': choose from bce, mse, hinge"):
        new(cats.path, f"loss.{player}=mst", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_complete_configuration_is_trained_as_it_is(tmp_path, cats):
    config = override(load_recipe("lsgan-64"), [*SMALL, NO_SCORES, "recipe=mine"])
    plan = start.new_run(cats.path, config, ["training.batch_size=4"], None, "cpu", silent)
    assert plan.config == override(config, ["training.batch_size=4"])
    assert plan.run.path.name == "procedural-cats-mine"
