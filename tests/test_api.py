"""The public API: what `import catgan` offers, and that it does what the command does."""

from __future__ import annotations

import inspect
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processors import PLAIN, seen_as
from test_house import SOURCE
from tiny_runs import TINY, cats  # noqa: F401  # a fixture

import catgan
from catgan.config import load_recipe, override
from catgan.errors import CatganError

SETTINGS = [*TINY, "training.images=80", "output.log_images=40", "output.checkpoint_images=80"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cats):  # noqa: F811
    """A result of `catgan.train`, and the rows that it reported."""
    rows = []
    with seen_as(PLAIN):
        result = catgan.train(
            "lsgan-64",
            cats.path,
            out=tmp_path_factory.mktemp("trained") / "run",
            settings=SETTINGS,
            device="cpu",
            on_progress=rows.append,
        )
    return result, rows


def test_import_is_light():
    script = (
        "import sys, catgan\n"
        "heavy = {'torch', 'onnxruntime', 'numpy', 'PIL', 'rich', 'typer', 'logging'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_no_subpackage_has_the_name_of_a_function():
    """Its first import would replace the function in the package."""
    names = {path.stem for path in SOURCE.iterdir()}
    assert not names & set(catgan.__all__)


@pytest.mark.parametrize("name", [name for name in catgan.__all__ if name != "__version__"])
def test_every_argument_is_typed_and_documented(name):
    function = getattr(catgan, name)
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    assert "Raises:" in function.__doc__
    for argument in signature.parameters.values():
        assert argument.annotation is not inspect.Parameter.empty, argument
        assert argument.name in function.__doc__, argument


def test_the_reference_names_every_argument_and_method():
    from catgan.generation.generator import Generator

    page = (SOURCE.parents[1] / "docs" / "reference" / "python.md").read_text("utf-8")
    for name in catgan.__all__[1:]:
        _, _, section = page.partition(f": `catgan.{name}`\n")
        section = section.partition("\n## ")[0]
        for argument in inspect.signature(getattr(catgan, name)).parameters:
            assert f"`{argument}`" in section, (name, argument)
    for name, method in inspect.getmembers(Generator, inspect.isfunction):
        if not name.startswith("_"):
            for argument in list(inspect.signature(method).parameters)[1:]:
                assert re.search(rf"`{name}\([^`]*\b{argument}\b", page), (name, argument)


def test_train_reports_the_log_and_says_where_the_run_is(trained):
    result, rows = trained
    assert (result.images, result.finished, result.signal) == (80, True, None)
    written = [json.loads(line) for line in (result.path / "log.jsonl").read_text().splitlines()]
    assert rows == written
    assert [row["images"] for row in rows] == [40, 80]
    assert (result.best_score, result.best_images) == (None, None)  # it was not scored


def test_train_gives_what_the_command_gives(trained, home, cats):  # noqa: F811
    from command_line import catgan as command

    result, _ = trained
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    with seen_as(PLAIN):
        command(
            *("train", cats.path, "--recipe", "lsgan-64", "-o", "run", "--device", "cpu"), *settings
        )
    ours, theirs = (
        path / "checkpoints" / "000000080" / "ema.safetensors"
        for path in (result.path, home / "run")
    )
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_stopped_run_is_resumed(home, cats):  # noqa: F811
    config = override(load_recipe("lsgan-64"), SETTINGS)

    def stop(row):
        raise LookupError

    with pytest.raises(LookupError):
        catgan.train(config, cats.path, out="run", device="cpu", on_progress=stop)
    result = catgan.train(resume="run", minutes=0, device="cpu")
    assert (result.path, result.images, result.finished) == (Path("run"), 0, False)
    result = catgan.train(resume="run", device="cpu", settings=["training.images=40"])
    assert (result.images, result.finished) == (40, True)


def test_a_score_is_reported_and_the_best_one_returned(home, cats, monkeypatch, caplog):  # noqa: F811
    from catgan.evaluation.extractors.registry import load_extractor
    from catgan.training import start

    monkeypatch.setattr(start, "load_extractor", lambda name: load_extractor("raw-64"))
    monkeypatch.setattr(start, "MIN_TO_SCORE", {"train": 10, "holdout": 5})
    rows = []
    settings = [*SETTINGS, "output.score_samples=16", "output.checkpoint_images=40"]
    with caplog.at_level(logging.INFO, "catgan"):
        result = catgan.train(
            "lsgan-64", cats.path, settings=settings, device="cpu", on_progress=rows.append
        )
    scores = {row["images"]: row["score"] for row in rows if "score" in row}
    assert set(scores) == {40, 80}
    assert result.best_score == min(scores.values())
    assert scores[result.best_images] == result.best_score
    assert [record.message for record in caplog.records] == list(result.notes)


def test_evaluate_and_export_use_the_run(trained, home, cats):  # noqa: F811
    result, _ = trained
    stages = set()
    evaluation = catgan.evaluate(
        result.path,
        samples=24,
        extractor="raw-64",
        checkpoint=80,
        device="cpu",
        on_progress=lambda stage, done, total: stages.add(stage),
    )
    assert evaluation.fingerprint.generated_count == 24
    assert evaluation.scores.frechet > 0
    assert stages
    assert (result.path / "evaluation/raw-64/000000080/evaluation.json").is_file()

    exported = catgan.export(result.path, "cats.onnx", precision="float32", name="Mine")
    assert exported.path == Path("cats.onnx")
    generator = catgan.load("cats.onnx")
    assert generator.card.name == "Mine"
    assert len(generator.card.scores) == 1
    assert generator.sample(range(3)).shape == (3, 32, 32, 3)


def test_evaluate_writes_nothing_for_images_unless_told_where(home):
    from PIL import Image

    (home / "made").mkdir()
    for seed in range(14):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(home / "made" / f"{seed}.png")
    for out in (None, "there"):
        catgan.evaluate("made", "made", extractor="raw-64", out=out)
        assert (home / "there" / "evaluation.json").is_file() == (out is not None)
    assert not (home / "evaluation").exists()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: catgan.train("lsgan-65"), "unknown recipe 'lsgan-65'"),
        (lambda: catgan.train("lsgan-64", "nowhere"), "nowhere"),
        (lambda: catgan.train("lsgan-64", ""), "data must be a path, not ''"),
        (lambda: catgan.train("lsgan-64", out=3), "out must be a path, not 3"),
        (lambda: catgan.train("lsgan-64", resume="run"), "leave out --recipe"),
        (lambda: catgan.train("lsgan-64", minutes=float("nan")), "minutes = nan"),
        (lambda: catgan.train("lsgan-64", minutes=-1), "minutes = -1"),
        (lambda: catgan.train("lsgan-64", settings=["training.x=1"]), "training.x"),
        (lambda: catgan.train(3), "recipe must be"),
        (lambda: catgan.train("lsgan-64", settings="training.images=1"), "settings must be a list"),
        (lambda: catgan.evaluate("nowhere"), "nowhere"),
        (lambda: catgan.evaluate(None), "images must be a path, not None"),
        (lambda: catgan.export("nowhere"), "nowhere"),
        (lambda: catgan.export("bundled", checkpoint="best"), "already exported"),
        (lambda: catgan.export("nowhere", format="pickle"), "unknown format 'pickle'"),
        (lambda: catgan.load("nowhere.onnx"), "cannot be read"),
    ],
)
def test_every_mistake_is_one_line(home, call, expected):
    with pytest.raises(CatganError) as error:
        call()
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
