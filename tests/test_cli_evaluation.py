"""`catgan evaluate` and `catgan compare` as a person meets them."""

from __future__ import annotations

import functools
import json
import shutil
from unittest import mock

import numpy as np
import pytest
from command_line import catgan
from PIL import Image

from catgan.evaluation.path_length import path_length

torch = pytest.importorskip("torch")

TINY = [
    "network.resolution=32", "network.channels=4", "network.maximum_channels=8",
    "network.latent_size=8", "training.batch_size=8", "training.images=16",
    "output.checkpoint_images=8", "output.checkpoints_kept=2",
    "output.log_images=16", "output.sheet_seeds=4", "output.score_samples=0",
]  # fmt: skip
RAW = ("--against", "cats", "--extractor", "raw-64")


def photos(directory, seeds):
    directory.mkdir(parents=True)
    for seed in seeds:
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(directory / f"{seed:03d}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A dataset and a run with two checkpoints, at 8 and at 16 images; the first is the best."""
    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("CATGAN_CACHE_DIR", str(home / "cache"))
        photos(home / "photos", range(30))
        catgan("prepare", "photos", "cats", "--size", 32)
        settings = [word for setting in TINY for word in ("--set", setting)]
        catgan("train", "cats", "-o", "run", *settings)
    (home / "run" / "checkpoints" / "best").write_text("000000008")
    return home


@pytest.fixture
def home(trained, tmp_path, monkeypatch):
    """A copy of `trained` to work in."""
    home = tmp_path / "home"
    shutil.copytree(trained, home)
    monkeypatch.chdir(home)
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(home / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    few = functools.partial(path_length, paths=20)  # a thousand take seconds
    monkeypatch.setattr("catgan.evaluation.evaluate.path_length", few)
    return home


def refuse(*_, **__):
    raise AssertionError("this costs minutes, and nothing has been checked")


def record(path):
    return json.loads(path.read_text())


def test_latest_and_best_are_told_apart_and_both_kept(home):
    text = catgan("evaluate", "run", *RAW, "--samples", 24)
    assert "run at 16 images (latest): FD-raw-64" in text
    text = catgan("evaluate", "run", *RAW, "--samples", 24, "--checkpoint", "best")
    assert "run at 8 images (best): FD-raw-64" in text
    latest, best = (home / "run/evaluation/raw-64" / name for name in ("000000016", "000000008"))
    for place, images, pointer in ((latest, 16, "latest"), (best, 8, "best")):
        found = record(place / "evaluation.json")
        assert found["checkpoint"] == {"images": images, "pointers": [pointer]}
        assert f"{images} images ({pointer})" in (place / "evaluation.html").read_text()
    # Another number of samples is another evaluation; the same one is written again.
    catgan("evaluate", "run", *RAW, "--samples", 30)
    catgan("evaluate", "run", *RAW, "--samples", 24)
    assert record(latest / "evaluation.json")["fingerprint"]["generated_count"] == 24
    second = latest.with_name("000000016-2")
    assert record(second / "evaluation.json")["fingerprint"]["generated_count"] == 30
    assert sorted(p.name for p in latest.parent.iterdir()) == [
        "000000008", "000000016", "000000016-2",
    ]  # fmt: skip


def test_a_checkpoint_is_read_once(home):
    """Also so that what is drawn is of the checkpoint that is named, while the run goes on."""
    from catgan.training.checkpoint import read_checkpoint  # needs torch

    with mock.patch("catgan.training.checkpoint.read_checkpoint", wraps=read_checkpoint) as read:
        catgan("evaluate", "run", *RAW, "--samples", 24)
    assert read.call_count == 1


def test_folders_are_scored_under_their_own_names(home):
    photos(home / "made", range(100, 124))
    text = catgan("evaluate", "made", *RAW)
    assert text.splitlines()[-1] == "report   evaluation/raw-64/made/evaluation.html"
    assert record(home / "evaluation/raw-64/made/evaluation.json")["checkpoint"] is None
    catgan("evaluate", "made", *RAW, "-o", "there")
    assert (home / "there" / "evaluation.html").exists()


def test_options_of_runs_are_refused_for_other_images(home):
    photos(home / "made", range(100, 124))
    for option in (("--samples", 24), ("--checkpoint", "best")):
        assert "made is not a run" in catgan("evaluate", "made", *RAW, *option, code=2)


def test_a_comparison_keeps_every_evaluation_and_reads_them_back(home, monkeypatch):
    shutil.copytree(home / "run", home / "other" / "run")
    text = catgan("compare", "run", "other/run", *RAW, "--samples", 24)
    assert "home/run at 16 images" in text  # two of one name, told apart
    assert "other/run at 16 images" in text
    assert "floor" in text
    page = (home / "comparison" / "comparison-raw-64.html").read_text()
    assert ">other/run <" in page
    records = sorted((home / "comparison" / "raw-64").glob("*/evaluation.json"))
    assert [path.parent.name for path in records] == ["home-run-000000016", "other-run-000000016"]
    assert all((path.parent / "evaluation.html").exists() for path in records)

    # From the records alone: neither network nor reals are looked at.
    for name in ("extractors.load_extractor", "reference.measure_reference", "evaluate.evaluate"):
        monkeypatch.setattr(f"catgan.evaluation.{name}", refuse)
    again = catgan("compare", *records, "--against", "cats", "-o", "again")
    assert [line for line in again.splitlines() if "0." in line] == [
        line for line in text.splitlines() if "0." in line and "scored" not in line
    ]
    assert (home / "again" / "comparison-raw-64.html").exists()


def test_checkpoints_of_one_run_are_compared(home):
    for checkpoint in ("best", "latest"):
        catgan("evaluate", "run", *RAW, "--samples", 24, "--checkpoint", checkpoint)
    records = (home / "run/evaluation/raw-64").glob("*/evaluation.json")
    text = catgan("compare", *records, *RAW)
    assert "run at 8 images (best)" in text
    assert "run at 16 images (latest)" in text
    mixed = home / "run/evaluation/raw-64/000000008/evaluation.json"
    assert "run at 16 images" in catgan("compare", "run", mixed, *RAW, "--samples", 24)


def test_what_cannot_be_compared_is_refused_before_any_work(home, monkeypatch):
    catgan("evaluate", "run", *RAW, "--samples", 24, "-o", "old")
    photos(home / "made", range(100, 130))
    catgan("prepare", "made", "dogs", "--size", 32)
    (home / "file").write_text("")
    old = "old/evaluation.json"
    monkeypatch.setattr("catgan.evaluation.features.extract_features", refuse)
    for words, reason in (
        ((old, "--against", "dogs"), f"{old} cannot be compared: its dataset is"),
        ((old, "--against", "photos"), f"{old} cannot be compared: its dataset is"),
        ((old, *RAW, "--samples", 30), "24 images, not 30 as asked"),
        ((old, "--against", "cats", "--extractor", "lite2"), "name is raw-64, not lite2"),
        ((old, "--against", "cats", "--resize", "clean"), "leave out --resize"),
        (
            (old, "run", *RAW, "--resize", "clean", "--samples", 24),
            "resize is area, not clean-2 as asked",
        ),
        ((old, "run", *RAW), "number of samples differs (24 and 5,000)"),
        (("made", "run", *RAW, "--samples", 24), "made has 30 images, not 24"),
        ((old, "run", *RAW), "old/run at 16 images (latest) and run/run at 16 images (latest)"),
        (("made", "made/", *RAW), "made is named twice"),
        (("run", "nowhere", *RAW), "nowhere does not exist"),
        (("run", "made", *RAW, "-o", "file"), "file: cannot be written (Not a directory)"),
        (("run", *RAW, "--extractor", "raw-65"), "raw-65"),
        ((old, "--against", "nowhere"), "nowhere"),
    ):
        assert reason in catgan("compare", *words, code=2)
    assert not (home / "comparison").exists()


def test_evaluate_checks_its_output_before_any_work(home, monkeypatch):
    (home / "file").write_text("")
    monkeypatch.setattr("catgan.evaluation.features.extract_features", refuse)
    text = catgan("evaluate", "run", *RAW, "-o", "file/below", code=2)
    assert "file/below: cannot be written (Not a directory)" in text


def test_what_was_scored_before_a_failure_is_kept(home):
    photos(home / "broken", range(100, 124))
    (home / "broken" / "123.png").write_bytes(b"nonsense")
    text = catgan("compare", "run", "broken", *RAW, "--samples", 24, code=2)
    assert "123.png: cannot be scored" in text
    kept = record(home / "comparison/raw-64/run-000000016/evaluation.json")
    assert kept["generated"] == "run"


def test_a_users_own_network(home):
    class Small(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)

    torch.jit.script(Small()).save("own network.pt")
    arguments = ("--against", "cats", "--extractor", "own network.pt")
    text = catgan("evaluate", "run", *arguments, "--samples", 24, "--input-size", 16)
    assert "FD-own network.pt" in text
    place = home / "run/evaluation/own-network.pt/000000016/evaluation.json"
    identity = record(place)["fingerprint"]["extractor"]
    assert (identity["input_size"], identity["feature_size"]) == (16, 12)
    text = catgan("compare", place, *arguments)
    assert "FD-own network.pt" in text
    assert "for extractor files" in catgan("evaluate", "run", *RAW, "--input-size", 16, code=2)
