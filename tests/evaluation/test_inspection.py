from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest

from catgan.data.dataset import Dataset
from catgan.data.drawn import draw_cat
from catgan.data.faces.prepare import PREPARATION, THUMBNAILS
from catgan.data.writer import DatasetWriter
from catgan.errors import CatganError
from catgan.evaluation.extractors import load_extractor
from catgan.evaluation.inspection import inspect_dataset, likeness_text, summary
from catgan.evaluation.inspection_page import inspection_page


def dataset_of(path, images, refused=()):
    with DatasetWriter(path, 64, name=path.name, licence="MIT") as writer:
        for number, image in enumerate(images):
            side = 40 if number == 0 else 90
            writer.append(
                image,
                source=f"{number}.jpg",
                sha256=hashlib.sha256(bytes([number])).hexdigest(),
                crop=(0, 0, side, 100),
            )
        for name, reason in refused:
            writer.refuse(name, reason)
    return Dataset.open(path)


@pytest.fixture(scope="module")
def cats(tmp_path_factory):
    images = [draw_cat(index, 64) for index in range(40)]
    images.append(images[3][:, ::-1])  # a near-duplicate of number 3
    images.append(np.full((64, 64, 3), (0, 255, 0), np.uint8))  # number 41, an outlier
    path = tmp_path_factory.mktemp("inspect") / "cats"
    refused = [("a<b>.jpg", "blurred: sharpness 1 %"), ("c.jpg", "blurred: sharpness 1.5 %"),
               ("d.jpg", "no cat face found")]  # fmt: skip
    dataset = dataset_of(path, images, refused)
    thumbnails = [{"name": "a<b>.jpg", "reason": "blurred: sharpness 1 %"}]
    (path / PREPARATION).write_text(json.dumps({"thumbnails": thumbnails}))
    np.save(path / THUMBNAILS, np.full((1, 96, 96, 3), 90, np.uint8))
    return dataset


@pytest.fixture(scope="module")
def raw():
    return load_extractor("raw-64")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))


def test_what_is_found(cats, raw):
    found = inspect_dataset(cats, raw)
    assert (3, 40) in [(first, second) for first, second, _ in found.doubles]
    assert found.outliers[0][0] == 41
    assert found.outliers[0][1] > 2
    assert found.enlarged == 1
    assert [(each.kind, each.count) for each in found.refusals] == [
        ("blurred", 2), ("no cat face found", 1),
    ]  # fmt: skip
    assert found.refusals[0].captions == ("a<b>.jpg: blurred: sharpness 1 %",)
    assert [each.count for each in found.growth] == [17, 34]
    assert found.growth[1].distance < found.growth[0].distance
    assert found.brightness[5] == pytest.approx(cats.images[5].mean() / 255, abs=1e-4)
    text = "\n".join(summary(found))
    assert "42 images of 64 px" in text
    assert "refused  3: 2 blurred, 1 no cat face found" in text
    assert "41.jpg is farthest" in text


def test_the_page_is_complete_and_escaped(cats, raw):
    page = inspection_page(inspect_dataset(cats, raw, like=cats))
    assert "a&lt;b&gt;.jpg" in page
    assert "a<b>" not in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert "the very dataset" in page


def test_likeness(cats, raw, tmp_path):
    more = dataset_of(tmp_path / "more", [draw_cat(index, 64) for index in range(50, 90)])
    rng = np.random.default_rng(1)
    plain = [np.full((64, 64, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(40)]
    other = dataset_of(tmp_path / "plain", plain)
    alike = inspect_dataset(more, raw, like=cats).likeness
    unlike = inspect_dataset(other, raw, like=cats).likeness
    assert not alike.same
    assert alike.inside > 0.5 > 0.1 > unlike.inside
    assert "lie where cats lies" in likeness_text(alike)


def test_few_images(raw, tmp_path):
    few = dataset_of(tmp_path / "few", [draw_cat(index, 64) for index in range(5)])
    found = inspect_dataset(few, raw)
    assert (found.outliers, found.growth, found.likeness) == ((), (), None)
    assert "too few images to say" in "\n".join(summary(found))
    assert "too few images to say" in inspection_page(found).lower()
    many = dataset_of(tmp_path / "many", [draw_cat(index, 64) for index in range(30)])
    with pytest.raises(CatganError, match="too few to compare"):
        inspect_dataset(many, raw, like=few)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"thumbnails": 3}', b"\xff", b"[" * 100_000])
def test_damaged_additions_are_done_without(cats, raw, content, tmp_path):
    path = cats.path / PREPARATION
    sound = path.read_bytes()
    try:
        path.write_bytes(content)
        assert inspect_dataset(cats, raw).refusals[0].thumbnails.shape[0] == 0
    finally:
        path.write_bytes(sound)
