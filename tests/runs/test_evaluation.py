"""What a path means in an evaluation; tests/cli/test_evaluation.py tests the commands."""

from __future__ import annotations

import pytest
from small_runs import make_run

from catgan.errors import CatganError
from catgan.runs.evaluation import images_to_score, real_images, record_at


def silent(*_):
    pass


def test_images_of_a_run_are_named_by_their_checkpoint(tmp_path):
    run = make_run(tmp_path / "run", "dcgan-128", images=64)
    images, latents = images_to_score(run, 20, "latest", "cpu", pytest.fail)
    assert images.title == "run at 64 images (latest)"
    assert (images.count, images.captions(7)) == (20, "seed 7")
    assert latents.size == 8


def test_dataset_is_scored_by_its_training_images(cats):
    images, latents = images_to_score(cats.path, 20, "latest", "cpu", pytest.fail)
    assert (images.dataset, images.split) == (cats.identity, "train")
    assert latents is None


def test_reals_of_a_dataset_have_its_holdout(cats, tmp_path):
    reals = real_images(cats.path, {}, silent)
    assert reals.images.count == len(cats.indices("train"))
    assert reals.holdout.count == len(cats.indices("holdout"))
    assert reals.dataset.identity == cats.identity
    assert reals.notes_for(tmp_path) == []


def test_reals_must_be_named_unless_a_run_is_scored(cats):
    images, _ = images_to_score(cats.path, 20, "latest", "cpu", pytest.fail)
    with pytest.raises(CatganError, match="is not a run, so its real images are unknown"):
        real_images(None, {cats.path: images}, silent)


def test_record_at(tmp_path, cats):
    record = tmp_path / "evaluation.json"
    assert record_at(tmp_path) is None
    record.write_text("{}")
    assert record_at(tmp_path) == record
    assert record_at(record) == record
    assert record_at(tmp_path / "missing.json") is None
    assert record_at(cats.path) is None
