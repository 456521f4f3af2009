"""`catgan evaluate` and `catgan compare`, end to end."""

from __future__ import annotations

import functools
import json
import shutil
from unittest import mock

import numpy as np
import pytest
from command_line import catgan
from PIL import Image

from catgan.data.dataset.cache import open_or_prepare
from catgan.evaluation.metrics.path_length import path_length

torch = pytest.importorskip("torch")

TINY = [
    "network.resolution=32", "network.channels=4", "network.maximum_channels=8",
    "network.latent_size=8", "training.batch_size=8", "training.images=16",
    "output.checkpoint_images=8", "output.checkpoints_kept=2",
    "output.log_images=16", "output.grid_seeds=4", "output.score_samples=0",
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
        settings = [arg for setting in TINY for arg in ("--set", setting)]
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


def reject(*_, **__):
    raise AssertionError("this costs minutes, and nothing has been checked")


def record(path):
    return json.loads(path.read_text())


def test_evaluations_of_latest_and_best_are_both_kept(home):
    text = catgan("evaluate", "run", *RAW, "--samples", 24)
    assert "run at 16 images (latest): FD-raw-64" in text
    text = catgan("evaluate", "run", *RAW, "--samples", 24, "--checkpoint", "best")
    assert "run at 8 images (best): FD-raw-64" in text
    latest, best = (home / "run/evaluation/raw-64" / name for name in ("000000016", "000000008"))
    for directory, images, pointer in ((latest, 16, "latest"), (best, 8, "best")):
        found = record(directory / "evaluation.json")
        assert found["checkpoint"] == {"images": images, "pointers": [pointer]}
        assert f"{images} images ({pointer})" in (directory / "evaluation.html").read_text()
    # Another number of samples is another evaluation; the same one is written again.
    catgan("evaluate", "run", *RAW, "--samples", 30)
    catgan("evaluate", "run", *RAW, "--samples", 24)
    assert record(latest / "evaluation.json")["fingerprint"]["generated_count"] == 24
    second = latest.with_name("000000016-2")
    assert record(second / "evaluation.json")["fingerprint"]["generated_count"] == 30
    assert sorted(p.name for p in latest.parent.iterdir()) == [
        "000000008", "000000016", "000000016-2",
    ]  # fmt: skip


def test_checkpoint_is_read_once(home):
    """So the samples are of the checkpoint that is named, even while the run is training."""
    from catgan.runs.checkpoint import read_checkpoint  # needs torch

    with mock.patch("catgan.runs.checkpoint.read_checkpoint", wraps=read_checkpoint) as read:
        catgan("evaluate", "run", *RAW, "--samples", 24)
    assert read.call_count == 1


def test_folders_are_scored_under_their_names(home):
    photos(home / "made", range(100, 124))
    text = catgan("evaluate", "made", *RAW)
    assert text.splitlines()[-1] == "report   evaluation/raw-64/made/evaluation.html"
    assert record(home / "evaluation/raw-64/made/evaluation.json")["checkpoint"] is None
    catgan("evaluate", "made", *RAW, "-o", "there")
    assert (home / "there" / "evaluation.html").exists()


def test_run_options_are_rejected_for_other_images(home):
    photos(home / "made", range(100, 124))
    photos(home / "other", range(200, 224))
    for option in (("--samples", 24), ("--checkpoint", "best"), ("--device", "cpu")):
        assert "made is not a run" in catgan("evaluate", "made", *RAW, *option, code=2)
    for option in (("--checkpoint", "best"), ("--device", "cpu")):
        text = catgan("compare", "made", "other", *RAW, *option, code=2)
        assert "none of these is a run" in text


def test_compare_writes_evaluations_and_reads_them_back(home, monkeypatch):
    shutil.copytree(home / "run", home / "other" / "run")
    text = catgan("compare", "run", "other/run", *RAW, "--samples", 24)
    assert "home/run at 16 images" in text  # two of the same name, distinguished by path
    assert "other/run at 16 images" in text
    assert "floor" in text
    page = (home / "comparison" / "comparison-raw-64.html").read_text()
    assert ">other/run <" in page
    records = sorted((home / "comparison" / "raw-64").glob("*/evaluation.json"))
    assert [path.parent.name for path in records] == ["home-run-000000016", "other-run-000000016"]
    assert all((path.parent / "evaluation.html").exists() for path in records)

    # From the records alone: neither network nor reals are loaded.
    for name in (
        "extractors.registry.load_extractor",
        "reference.measure_reference",
        "evaluate.evaluate",
    ):
        monkeypatch.setattr(f"catgan.evaluation.{name}", reject)
    again = catgan("compare", *records, "--against", "cats", "-o", "again")
    assert [line for line in again.splitlines() if "0." in line] == [
        line for line in text.splitlines() if "0." in line and "scored" not in line
    ]
    assert (home / "again" / "comparison-raw-64.html").exists()


def test_compare_checkpoints_of_one_run(home):
    for checkpoint in ("best", "latest"):
        catgan("evaluate", "run", *RAW, "--samples", 24, "--checkpoint", checkpoint)
    records = (home / "run/evaluation/raw-64").glob("*/evaluation.json")
    text = catgan("compare", *records, *RAW)
    assert "run at 8 images (best)" in text
    assert "run at 16 images (latest)" in text
    mixed = home / "run/evaluation/raw-64/000000008/evaluation.json"
    assert "run at 16 images" in catgan("compare", "run", mixed, *RAW, "--samples", 24)


def test_compare_rejects_mismatches_before_any_work(home, monkeypatch):
    catgan("evaluate", "run", *RAW, "--samples", 24, "-o", "old")
    photos(home / "made", range(100, 130))
    catgan("prepare", "made", "dogs", "--size", 32)
    (home / "file").write_text("")
    catgan("evaluate", "run", *RAW, "--samples", 24, "--checkpoint", "best", "-o", "older")
    old, older = "old/evaluation.json", "older"
    monkeypatch.setattr("catgan.evaluation.features.extract_features", reject)
    for arguments, reason in (
        ((old, older, "--against", "dogs"), f"{old} cannot be compared: its dataset is"),
        ((old, older, "--against", "photos"), f"{old} was scored against a dataset"),
        ((old, older, *RAW, "--samples", 30), "24 images, expected 30"),
        (
            (old, older, "--against", "cats", "--extractor", "lite2"),
            "name is raw-64, expected lite2",
        ),
        ((old, older, "--against", "cats", "--resize", "clean"), "leave out --resize"),
        (
            (old, "run", *RAW, "--resize", "clean", "--samples", 24),
            "resize is area, expected clean-2",
        ),
        ((old, "run", *RAW), "number of samples differs (24 and 5,000)"),
        (("made", "run", *RAW, "--samples", 24), "made has 30 images, expected 24"),
        ((old, "run", *RAW), "old/run at 16 images (latest) and run/run at 16 images (latest)"),
        (("made", "made/", *RAW), "made is given twice"),
        (("run", "nowhere", *RAW), "nowhere does not exist"),
        (("run", "made", *RAW, "-o", "file"), "file: cannot be written (Not a directory)"),
        (("run", "made", *RAW, "--samples", 30, "--extractor", "raw-65"), "raw-65"),
        ((old, older, "--against", "nowhere"), "nowhere"),
        (("made", "dogs"), "made is not a run, so its real images are unknown"),
        (("e1",), "expected two or more generators, got only e1"),
    ):
        assert reason in catgan("compare", *arguments, code=2)
    assert not (home / "comparison").exists()


def test_evaluate_checks_its_output_before_any_work(home, monkeypatch):
    (home / "file").write_text("")
    monkeypatch.setattr("catgan.evaluation.features.extract_features", reject)
    text = catgan("evaluate", "run", *RAW, "-o", "file/below", code=2)
    assert "file/below: cannot be written (Not a directory)" in text


def test_compare_keeps_evaluations_written_before_a_failure(home):
    photos(home / "broken", range(100, 124))
    (home / "broken" / "123.png").write_bytes(b"nonsense")
    text = catgan("compare", "run", "broken", *RAW, "--samples", 24, code=2)
    assert "123.png in broken: cannot be scored" in text
    kept = record(home / "comparison/raw-64/run-000000016/evaluation.json")
    assert kept["generated"] == "run"


def test_torchscript_extractor(home):
    class Small(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)

    torch.jit.script(Small()).save("own network.pt")
    arguments = ("--against", "cats", "--extractor", "own network.pt")
    text = catgan("evaluate", "run", *arguments, "--samples", 24, "--input-size", 16)
    assert "FD-own network.pt" in text
    path = home / "run/evaluation/own-network.pt/000000016/evaluation.json"
    identity = record(path)["fingerprint"]["extractor"]
    assert (identity["input_size"], identity["feature_size"]) == (16, 12)
    catgan("evaluate", "run", *arguments, "--samples", 24, "--input-size", 16, "-o", "b",
           "--checkpoint", "best")  # fmt: skip
    text = catgan("compare", path, "b", *arguments)
    assert "FD-own network.pt" in text
    assert "for extractor files" in catgan("evaluate", "run", *RAW, "--input-size", 16, code=2)


def sized(directory, sides, start=0):
    """Write photos of other sizes than the run's 32 px."""
    directory.mkdir()
    for seed, (width, height) in enumerate(sides, start=start):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(directory / f"{seed:03d}.png")


def test_reals_default_to_the_training_data_of_a_run(home):
    text = catgan("evaluate", "run", "--extractor", "raw-64", "--samples", 24, "-o", "own")
    assert "train reals of photos" in text
    assert "trained on other images" not in text
    catgan("evaluate", "run", *RAW, "--samples", 24, "-o", "named")
    own, named = (record(home / name / "evaluation.json") for name in ("own", "named"))
    assert own == named
    assert own["memorization"] is not None
    # The data of a run may also be named by the run.
    photos(home / "made", range(100, 124))
    catgan("evaluate", "made", "--against", "run", "--extractor", "raw-64", "-o", "made-e")
    assert (
        record(home / "made-e/evaluation.json")["fingerprint"]["reals_sha256"]
        == (own["fingerprint"]["reals_sha256"])
    )
    assert "made is not a run, so its real images are unknown: name" in catgan(
        "evaluate", "made", "--extractor", "raw-64", code=2
    )


def test_changed_training_data_is_noted(home):
    facts = record(home / "run/run.json")
    facts["dataset"]["identity"] = "0" * 64
    (home / "run/run.json").write_text(json.dumps(facts))
    changed = "run was trained on other images than these"
    assert changed in catgan("evaluate", "run", "--extractor", "raw-64", "--samples", 24, "-o", "e")
    assert any(changed in note for note in record(home / "e/evaluation.json")["notes"])
    assert changed in (home / "e/evaluation.html").read_text()
    assert f"note     {changed}" in catgan(
        "inspect", "cats", "--like", "run", "--extractor", "raw-64"
    )


def test_photos_against_a_run_are_prepared_as_for_training(home):
    sized(home / "mixed", [(32 + 3 * (n % 5), 32 + 7 * (n % 3)) for n in range(30)])
    (home / "mixed" / "small.png").write_bytes((home / "photos" / "001.png").read_bytes()[:50])
    shutil.make_archive(str(home / "packed"), "zip", home / "mixed")
    for source in ("mixed", "packed.zip"):
        text = catgan(
            "evaluate", "run", "--against", source, "--extractor", "raw-64", "--samples", 24,
            "-o", source + "-e",
        )  # fmt: skip
        name = source.removesuffix(".zip")
        held_out = record(home / (source + "-e") / "evaluation.json")["memorization"]["subset_size"]
        note = f"{name} was prepared at 32 px, as for training: 30 images, {held_out} of them held"
        assert f"note     {note} out; 1 files left out." in text
        assert "run was trained on other images" in text
    fingerprints = [
        record(home / f"{each}-e/evaluation.json")["fingerprint"]
        for each in ("mixed", "packed.zip")
    ]
    assert fingerprints[0] == fingerprints[1]
    assert fingerprints[0]["dataset"] == open_or_prepare(home / "mixed", 32).identity
    assert fingerprints[0]["split"] == "train"
    # Photos of the run's size, too, so that their holdout is kept apart.
    catgan(
        "evaluate", "run", "--against", "photos", "--extractor", "raw-64", "--samples", 24,
        "-o", "same",
    )  # fmt: skip
    assert (
        record(home / "same/evaluation.json")["fingerprint"]["dataset"]
        == (record(home / "run/run.json")["dataset"]["identity"])
    )


def test_photos_against_images_are_used_as_they_are_if_sizes_match(home):
    photos(home / "made", range(100, 124))
    sized(home / "mixed", [(40, 48)] * 30)
    sized(home / "odd", [(40, 48)] * 24, start=300)
    sized(home / "uneven", [(40, 48), (48, 40)] * 12, start=300)

    def fingerprint(images, against):
        options = ("--against", against, "--extractor", "raw-64", "-o", f"{images}-{against}")
        catgan("evaluate", images, *options)
        found = record(home / f"{images}-{against}" / "evaluation.json")["fingerprint"]
        return found["dataset"], found["split"], found["reals_count"]

    assert fingerprint("made", "photos") == (None, "all", 30)
    prepared = open_or_prepare(home / "mixed", 32)
    train = len(prepared.indices("train"))
    assert fingerprint("made", "mixed") == (prepared.identity, "train", train)
    sized(home / "large", [(64, 64)] * 24)
    text = catgan("evaluate", "large", "--against", "photos", "--extractor", "raw-64", code=2)
    assert "30 too small" in text
    assert (
        "(Prepared at 64 px, the size of the scored images; a dataset may have any size.)" in text
    )
    assert fingerprint("odd", "mixed") == (None, "all", 30)  # no dataset is 40 x 48
    text = catgan("evaluate", "odd", "--against", "uneven", "--extractor", "raw-64", code=2)
    assert "301.png in uneven: is 48 x 40, other images are 40 x 48" in text


def test_copies_and_repeats_are_printed(home):
    photos(home / "made", [*range(4), *range(100, 120)])
    (home / "made" / "999.png").write_bytes((home / "made" / "100.png").read_bytes())
    copies = "made: 4 of 25 generated images are pixel for pixel copies of a real one."
    repeats = "made: 1 of 25 generated images repeats an earlier one, pixel for pixel."
    text = catgan("evaluate", "made", "--against", "photos", "--extractor", "raw-64", "-o", "e")
    assert text.splitlines()[-6:-4] == [f"note     {copies}", f"note     {repeats}"]
    assert copies in (home / "e/evaluation.html").read_text()
    photos(home / "others", range(200, 225))
    text = catgan("compare", "made", "others", "--against", "photos", "--extractor", "raw-64")
    assert f"note     {copies}" in text
    text = catgan("evaluate", "cats", *RAW)
    assert "are the same images, pixel for pixel" in text


def test_compare_uses_shared_training_data_and_earlier_evaluations(home):
    shutil.copytree(home / "run", home / "other")
    text = catgan("compare", "run", "other", "--extractor", "raw-64", "--samples", 24)
    assert "trained on other images" not in text
    table = [line for line in text.splitlines() if " images (latest)  " in line]
    assert len(table) == 2
    records = home / "comparison" / "raw-64"
    again = catgan("compare", records / "run-000000016", records / "other-000000016", "-o", "two")
    assert [line for line in again.splitlines() if " images (latest)  " in line] == table
    record_path = records / "run-000000016" / "evaluation.json"
    text = catgan("compare", record_path, record_path.parent, code=2)
    assert "is given twice" in text
    facts = record(home / "other/run.json")
    facts["dataset"]["split"] = "0" * 64
    (home / "other/run.json").write_text(json.dumps(facts))
    text = catgan("compare", "run", "other", "--extractor", "raw-64", "--samples", 24, code=2)
    assert "run and other were trained on different data: name the real images" in text


def test_evaluate_names_what_is_not_a_set_of_images(home):
    catgan("evaluate", "run", *RAW, "--samples", 24, "-o", "e1")
    (home / "cats.onnx").write_bytes(b"")
    for path, reason in (
        ("e1", "e1/evaluation.json is an evaluation, expected images"),
        ("e1/evaluation.json", "e1/evaluation.json is an evaluation, expected images"),
        ("missing.json", "missing.json does not exist"),
        ("cats.onnx", "cats.onnx is an exported generator, expected a run or images"),
    ):
        assert reason in catgan("evaluate", path, *RAW, code=2)


def test_changed_pixels_are_an_error(home):
    with (home / "cats" / "images.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    photos(home / "made", range(100, 124))
    for arguments in (("run", "--samples", 24), ("made",)):
        text = catgan("evaluate", *arguments, *RAW, code=2)
        assert "cats/images.npy has changed on disk" in text
    assert "has changed on disk" in catgan("evaluate", "cats", "--against", "photos", code=2)
    assert "has changed on disk" in catgan("inspect", "cats", "--extractor", "raw-64", code=2)


def test_evaluate_checks_its_default_output_before_any_work(home, monkeypatch):
    (home / "run" / "evaluation").mkdir()
    (home / "run" / "evaluation" / "raw-64").write_text("")
    monkeypatch.setattr("catgan.evaluation.features.extract_features", reject)
    text = catgan("evaluate", "run", *RAW, "--samples", 24, code=2)
    assert "cannot be written (Not a directory)" in text


def test_extractor_name_in_brackets_is_not_markup(home):
    class Small(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)

    torch.jit.script(Small()).save("[old].pt")
    photos(home / "one", range(100, 124))
    photos(home / "two", range(200, 224))
    options = ("--against", "cats", "--extractor", "[old].pt", "--input-size", 16)
    assert "FD-[old].pt" in catgan("compare", "one", "two", *options)
