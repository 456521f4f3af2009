"""Every script in examples/ runs, on a few procedural cats, and does what it says."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import catgan as command
from PIL import Image
from small_runs import make_run
from tiny_runs import TINY, cats  # noqa: F401  # a fixture

import catgan
from catgan.generation.latents import latents
from catgan.training import losses

EXAMPLES = Path(__file__).parents[1] / "examples"
SETTINGS = [*TINY, "training.images=80", "output.log_images=40", "output.checkpoint_images=80"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Run a script with its arguments; returns what it prints."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def read(path):
    return np.asarray(Image.open(path))


def test_sample(home, run_example):
    from artifacts import SIDE, write

    write(home / "cats.onnx")
    assert f"tiny cats: {SIDE} px" in run_example("sample", "cats.onnx")
    generator = catgan.load("cats.onnx")
    assert np.array_equal(read("grid.png"), generator.grid(range(16), truncation=0.8))
    z = -latents([3, 9], generator.latent_size)
    assert np.array_equal(read("opposite.png"), generator.sample(latents=z)[0])
    assert np.array_equal(read("halfway.png"), generator.morph(3, 9, frames=8)[4])


def test_train_on_a_folder(home, cats, run_example):  # noqa: F811
    (home / "photos").mkdir()
    for number, pixels in enumerate(cats.images[:24]):
        Image.fromarray(pixels).save(home / "photos" / f"{number}.png")
    text = run_example("train_on_a_folder", "photos", *SETTINGS)
    assert "       80 images  D " in text
    assert "folder: finished after 80 images" in text
    assert np.array_equal(read("cats.png"), catgan.load("cats.onnx").grid(range(16)))


def test_evaluate(home, cats, run_example):  # noqa: F811
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    command("train", cats.path, "--recipe", "lsgan-64", "-o", "run", "--device", "cpu", *settings)
    text = run_example("evaluate", "run", "raw-64", 24)
    assert "FD-raw-64" in text
    assert "of 24 samples" in text
    assert "exact copies of training photos: 0" in text


def test_export_and_use_from_onnx_runtime(home, run_example):
    make_run(home / "run", "lsgan-64")
    text = run_example("export_and_use_from_onnx_runtime", "run")
    assert "My cats, trained on procedural-cats (CC BY-NC 4.0)" in text
    generator = catgan.load("cats.onnx")
    z = np.random.default_rng(7).standard_normal((4, generator.latent_size), dtype=np.float32)
    ours = np.concatenate(generator.sample(latents=z, truncation=0.8), axis=1)
    assert abs(read("cats.png").astype(int) - ours).max() <= 1


def test_custom_loss(home, cats, run_example, monkeypatch):  # noqa: F811
    with monkeypatch.context() as patch:
        for table in ("DISCRIMINATOR_LOSSES", "GENERATOR_LOSSES"):
            patch.setattr(losses, table, dict(getattr(losses, table)))
        text = run_example("custom_loss", cats.path, *SETTINGS)
    assert "catgan sample runs" in text
    assert "wasserstein" not in losses.GENERATOR_LOSSES
    command("sample", "runs/wasserstein", "--seeds", "0-3", "-o", "cats.png")
    assert read("cats.png").shape == (66, 66, 3)
    text = command("train", "--resume", "runs/wasserstein", code=2)
    assert "no loss 'wasserstein'" in text


def test_every_example_has_a_test():
    scripts = {path.stem for path in EXAMPLES.glob("*.py")}
    assert {f"test_{name}" for name in scripts} <= set(globals())
