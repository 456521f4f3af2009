"""Memorization: distances of samples to training photos and to others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_runs import make_run

from catgan.config import Config
from catgan.data.dataset.dataset import Dataset
from catgan.data.dataset.image_records import ImageRecords
from catgan.data.synthetic.procedural import write_procedural_cats
from catgan.evaluation.extractors.registry import load_extractor
from catgan.runs.directory import RunDirectory
from catgan.training import memorization

CPU = torch.device("cpu")


@pytest.fixture
def many(tmp_path, monkeypatch):
    monkeypatch.setattr(memorization, "SAMPLES", 24)
    monkeypatch.setattr(memorization, "load_extractor", lambda _: load_extractor("raw-64"))
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))
    write_procedural_cats(tmp_path / "cats", 80, 32)
    return Dataset.open(tmp_path / "cats")


def test_the_best_checkpoint_is_evaluated(many, tmp_path):
    assert memorization.can_be_checked(many)
    run = RunDirectory(make_run(tmp_path / "run", "lsgan-64"))
    found, page = memorization.check_memorization(run, many, CPU, lambda *_: None)
    assert page == run.path / "evaluation" / "raw-64" / "000000064" / "evaluation.html"
    assert page.exists()
    assert found.memorization is not None
    assert found.fingerprint.generated_count == 24
    assert "0 exact copies among 24 samples" in memorization.describe_memorization(found)


def test_copies_are_reported(many, tmp_path, monkeypatch):
    photos = np.asarray(many.images[many.indices("train")])

    class Copier:
        def __call__(self, seeds):
            return photos[np.asarray(seeds) % len(photos)]

        synthesize, config = None, Config().network  # there, and not used

    monkeypatch.setattr("catgan.runs.evaluation.restored_sampler", lambda *_: (Copier(), None))
    run = RunDirectory(make_run(tmp_path / "run", "lsgan-64"))
    found, _ = memorization.check_memorization(run, many, CPU, lambda *_: None)
    said = memorization.describe_memorization(found)
    assert "24 exact copies among 24 samples" in said
    assert "nearer to training photos" in said


@pytest.mark.parametrize(
    ("train", "held_out", "can"), [(12, 5, True), (11, 5, False), (12, 4, False)]
)
def test_too_few_images_are_not_checked(many, train, held_out, can):
    splits = ["train"] * train + ["holdout"] * held_out
    records = ImageRecords.of(
        dataclasses.replace(record, split=split)
        for record, split in zip(many.records, splits, strict=False)
    )
    assert memorization.can_be_checked(dataclasses.replace(many, records=records)) == can
