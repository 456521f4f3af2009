from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager

import numpy as np
import pytest

from catgan.data.dataset.dataset import Dataset
from catgan.data.dataset.writer import DatasetWriter
from catgan.data.faces.prepare import PREPARATION, THUMBNAILS
from catgan.data.synthetic.procedural import render_cat
from catgan.errors import CatganError
from catgan.evaluation.extractors.registry import load_extractor
from catgan.inspect.inspection import (
    inspect_dataset,
    likeness_text,
    read_rejections,
    summary,
)
from catgan.inspect.page import inspection_page


def dataset_of(path, images, rejected=()):
    with DatasetWriter(path, 64, name=path.name, license="MIT") as writer:
        for number, image in enumerate(images):
            side = 40 if number == 0 else 90
            writer.append(
                image,
                source=f"{number}.jpg",
                sha256=hashlib.sha256(bytes([number])).hexdigest(),
                crop=(0, 0, side, 100),
            )
        for name, reason in rejected:
            writer.reject(name, reason)
    return Dataset.open(path)


@pytest.fixture(scope="module")
def cats(tmp_path_factory):
    images = [render_cat(index, 64) for index in range(40)]
    images.append(images[3][:, ::-1])  # a near-duplicate of number 3
    images.append(np.full((64, 64, 3), (0, 255, 0), np.uint8))  # number 41, an outlier
    path = tmp_path_factory.mktemp("inspect") / "cats"
    rejected = [("a<b>.jpg", "blurred: sharpness 1 %"), ("c.jpg", "blurred: sharpness 1.5 %"),
               ("d.jpg", "no cat face found")]  # fmt: skip
    dataset = dataset_of(path, images, rejected)
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


def test_inspect_dataset(cats, raw):
    found = inspect_dataset(cats, raw)
    assert (3, 40) in [(first, second) for first, second, _ in found.near_duplicates]
    assert found.outliers[0][0] == 41
    assert found.outliers[0][1] > 2
    assert found.enlarged == 1
    assert [(each.kind, each.count) for each in found.rejections] == [
        ("blurred", 2), ("no cat face found", 1),
    ]  # fmt: skip
    assert found.rejections[0].captions == ("a<b>.jpg: blurred: sharpness 1 %",)
    assert [each.count for each in found.growth] == [17, 34]
    assert found.growth[1].distance < found.growth[0].distance
    assert found.brightness[5] == pytest.approx(cats.images[5].mean() / 255, abs=1e-4)
    text = "\n".join(summary(found))
    assert "42 images of 64 px" in text
    assert "rejected 3: 2 blurred, 1 no cat face found" in text
    assert "41.jpg is farthest" in text


def test_page_is_self_contained_and_escaped(cats, raw):
    page = inspection_page(inspect_dataset(cats, raw, like=cats))
    assert "a&lt;b&gt;.jpg" in page
    assert "a<b>" not in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert "the same images as those of" in page


def test_likeness(cats, raw, tmp_path):
    more = dataset_of(tmp_path / "more", [render_cat(index, 64) for index in range(50, 90)])
    rng = np.random.default_rng(1)
    plain = [np.full((64, 64, 3), rng.integers(0, 256, 3), np.uint8) for _ in range(40)]
    other = dataset_of(tmp_path / "plain", plain)
    similar = inspect_dataset(more, raw, like=cats).likeness
    different = inspect_dataset(other, raw, like=cats).likeness
    assert not similar.same
    assert similar.precision > 0.5 > 0.1 > different.precision
    assert "of these images resemble cats" in likeness_text(similar)


def test_few_images(raw, tmp_path):
    few = dataset_of(tmp_path / "few", [render_cat(index, 64) for index in range(5)])
    found = inspect_dataset(few, raw)
    assert (found.outliers, found.growth, found.likeness) == ((), (), None)
    assert "too few images to tell" in "\n".join(summary(found))
    assert "too few images to tell" in inspection_page(found).lower()
    many = dataset_of(tmp_path / "many", [render_cat(index, 64) for index in range(30)])
    for one, other in ((many, few), (few, many)):
        with pytest.raises(
            CatganError, match=r"few: expected at least 24 images to compare, found [45]"
        ):
            inspect_dataset(one, raw, like=other)


def test_identical_images(raw, tmp_path):
    """Every distance is 0, also that to divide by."""
    same = dataset_of(tmp_path / "same", [render_cat(1, 64)] * 30)
    found = inspect_dataset(same, raw, like=same)
    assert found.outliers == ()
    assert len(found.near_duplicates) == 29
    assert "fell by 0.0 %" in "\n".join(summary(found))
    assert "Near-duplicate pairs" in inspection_page(found)


def changed(path, content):
    """Return a context manager that replaces the content of a file."""

    @contextmanager
    def change():
        original = path.read_bytes()
        path.write_bytes(content)
        try:
            yield
        finally:
            path.write_bytes(original)

    return change()


def array(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


HOSTILE_ARRAYS = {
    "empty": b"",
    "short": b"\x93NUMPY",
    "no header": array(b"{'descr'"),
    "no tuple": array(b"{'descr': '|u1', 'fortran_order': False, 'shape': 3, }"),
    "endless": array(b"(" * 5000),
    "a zip": b"PK\x05\x06" + bytes(18),
    "too little": array(b"{'descr': '|u1', 'fortran_order': False, 'shape': (1, 96, 96, 3), }\n"),
    "objects": array(b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 96, 96, 3), }\n"),
}


@pytest.mark.parametrize("kind", HOSTILE_ARRAYS)
def test_damaged_thumbnails_are_ignored(cats, kind):
    assert read_rejections(cats)[0].thumbnails.shape[0] == 1
    with changed(cats.path / THUMBNAILS, HOSTILE_ARRAYS[kind]):
        assert read_rejections(cats)[0].thumbnails.shape[0] == 0


@pytest.mark.parametrize("content", [b"", b"[]", b'{"thumbnails": 3}', b"\xff", b"[" * 100_000])
def test_damaged_preparation_is_ignored(cats, content):
    with changed(cats.path / PREPARATION, content):
        assert read_rejections(cats)[0].thumbnails.shape[0] == 0


@pytest.mark.parametrize("side", ["1e999", "-1e999", "NaN", "1" + "0" * 400, "-3", "1e300", "[]"])
def test_hostile_sizes_are_ignored(cats, raw, side):
    about = f'{{"images": [{", ".join([f"""{{"side": {side}}}"""] * len(cats))}]}}'
    with changed(cats.path / PREPARATION, about.encode()):
        found = inspect_dataset(cats, raw)
        assert found.sides.tolist() == [40] + [90] * (len(cats) - 1)
        assert "side in the photo" in inspection_page(found)


def test_huge_crop_is_rejected(cats):
    path = cats.path / "dataset.json"
    about = json.loads(path.read_text())
    about["images"][0]["crop"][2] = 10**400
    with (
        changed(path, json.dumps(about).encode()),
        pytest.raises(CatganError, match="malformed images entry"),
    ):
        Dataset.open(cats.path)
