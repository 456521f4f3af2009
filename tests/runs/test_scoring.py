"""What a path means in an evaluation; tests/cli/test_evaluation.py tests the commands."""

from __future__ import annotations

import pytest
import torch
from small_runs import make_run

from catgan.errors import CatganError
from catgan.runs.scoring import find_record, open_images, open_reals

CPU = torch.device("cpu")


def silent(*_):
    pass


def test_images_of_a_run_are_named_by_their_checkpoint(tmp_path):
    run = make_run(tmp_path / "run", "dcgan-128", images=64)
    images, latents = open_images(run, 20, "latest", CPU, pytest.fail)
    assert images.title == "run at 64 images (latest)"
    assert (images.count, images.captions(7)) == (20, "seed 7")
    assert latents.size == 8


def test_dataset_is_scored_by_its_training_images(cats):
    images, latents = open_images(cats.path, 20, "latest", CPU, pytest.fail)
    assert (images.dataset, images.split) == (cats.identity, "train")
    assert latents is None


def test_reals_of_a_dataset_have_its_holdout(cats, tmp_path):
    reals = open_reals(cats.path, {}, silent)
    assert reals.images.count == len(cats.indices("train"))
    assert reals.holdout.count == len(cats.indices("holdout"))
    assert reals.dataset.identity == cats.identity
    assert reals.notes_for(tmp_path) == []


def test_reals_must_be_named_unless_a_run_is_scored(cats):
    images, _ = open_images(cats.path, 20, "latest", CPU, pytest.fail)
    with pytest.raises(CatganError, match="is not a run, so its real images are unknown"):
        open_reals(None, {cats.path: images}, silent)


def test_find_record(tmp_path, cats):
    record = tmp_path / "evaluation.json"
    assert find_record(tmp_path) is None
    record.write_text("{}")
    assert find_record(tmp_path) == record
    assert find_record(record) == record
    assert find_record(tmp_path / "missing.json") is None
    assert find_record(cats.path) is None
