from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import pytest
from runs import FACTS, make_run

import catgan
from catgan.data import cache
from catgan.errors import CatganError
from catgan.training import data, start

TOOL = Path(__file__).parents[2] / "tools" / "embed_generator.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("embed_generator", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def embed(tool):
    return functools.partial(
        tool.embed, checkpoint="latest", name=None, names=[], licence=None, credit=None
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / "run", "projected-128")


@pytest.fixture
def few_seeds(monkeypatch):
    monkeypatch.setattr("catgan.export.export.SEEDS", 8)


def test_an_embedded_generator_draws_informs_and_teaches(
    embed, run, tmp_path, monkeypatch, few_seeds
):
    place = tmp_path / "pretrained"
    place.mkdir()
    path = embed(run, place, name="House cats", names=["0=lighter"])
    assert sorted(each.name for each in place.iterdir()) == [
        "README.md",
        "discriminator.safetensors",
        "generator.onnx",
    ]
    monkeypatch.setattr("catgan.generation.generator.embedded_generator", lambda: path)
    monkeypatch.setattr(data, "embedded_generator", lambda: path)
    cats = catgan.load()
    assert cats.card.name == "House cats"
    assert cats.card.precision == "float16"
    assert cats.card.directions[0].name == "lighter"

    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "EMBEDDED_COUNT", 30)
    settings = ["network.resolution=32", "output.score_samples=0"]
    plan = start.new_run(None, "lsgan-64", settings, tmp_path / "run", "cpu", lambda *_: None)
    assert plan.dataset.name == "generated-cats"
    assert (plan.dataset.images[:3] == cats.sample(range(3))).all()
    assert "Someone" in plan.dataset.credit
    facts = plan.run.facts()["dataset"]
    assert facts["name"] == "generated-cats"
    assert facts["credit"].startswith("Generated")
    # Where the cats are smaller than what is to be trained, they are of no use.
    larger = [*settings, "network.resolution=64"]
    plan = start.new_run(None, "lsgan-64", larger, tmp_path / "larger", "cpu", lambda *_: None)
    assert plan.dataset.name == "drawn-cats"


def test_a_run_on_drawn_cats_goes_on_with_them(run, tmp_path, monkeypatch):
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "EMBEDDED_COUNT", 30)
    monkeypatch.setattr(data, "embedded_generator", lambda: None)
    settings = ["network.resolution=32", "output.score_samples=0"]
    start.new_run(None, "lsgan-64", settings, tmp_path / "run", "cpu", lambda *_: None)
    monkeypatch.setattr(data, "embedded_generator", lambda: tmp_path / "new.onnx")
    plan = start.resume_run(tmp_path / "run", None, [], "cpu", lambda *_: None)
    assert plan.dataset.name == "drawn-cats"


def test_too_large_a_generator_and_one_without_a_licence_are_refused(
    tool, embed, run, tmp_path, monkeypatch, few_seeds
):
    monkeypatch.setattr(tool, "MAX_BYTES", 1_000)
    with pytest.raises(CatganError, match="room"):
        embed(run, tmp_path)
    monkeypatch.setattr(tool, "MAX_BYTES", 10**7)
    monkeypatch.setitem(FACTS["dataset"], "licence", "unknown")
    other = make_run(tmp_path / "other", "dcgan-128")
    with pytest.raises(CatganError, match="licence"):
        embed(other, tmp_path)
    assert not (tmp_path / "generator.onnx").exists()
    path = embed(other, tmp_path, licence="CC0-1.0")
    assert catgan.load(path).card.licence == "CC0-1.0"
