from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from evaluation_sets import photos  # type: ignore[import-not-found]
from PIL import Image

from catgan.errors import CatganError
from catgan.evaluation.image_sets import (
    ScoredCheckpoint,
    all_have_shape,
    dataset_images,
    file_images,
    generated_images,
)


def test_generated_images_are_read_by_seed() -> None:
    requested: list[np.ndarray] = []

    def sample(seeds: np.ndarray) -> np.ndarray:
        requested.append(seeds)
        return np.zeros((len(seeds), 4, 4, 3), dtype=np.uint8)

    images = generated_images("cats", sample, 10, checkpoint=ScoredCheckpoint(64, ("best",)))
    assert images.read(np.array([0, 3])).shape == (2, 4, 4, 3)
    np.testing.assert_array_equal(requested[0], [0, 3])
    assert requested[0].dtype == np.int64
    assert images.captions(3) == "seed 3"
    assert images.title == "cats at 64 images (best)"


def test_dataset_images_are_those_of_the_split() -> None:
    pixels = photos(10, 0)
    splits = {"train": np.arange(0, 10, 2), "holdout": np.array([], dtype=np.int64)}
    dataset = SimpleNamespace(
        name="cats", identity="d" * 64, images=pixels, indices=lambda split: splits[split]
    )
    images = dataset_images(dataset, "train", 3)  # type: ignore[arg-type]
    np.testing.assert_array_equal(images.read(np.array([1, 2])), pixels[[2, 4]])
    assert (images.count, images.split, images.captions(2)) == (3, "train", "image 4")
    with pytest.raises(CatganError, match="no holdout images"):
        dataset_images(dataset, "holdout")  # type: ignore[arg-type]
    with pytest.raises(CatganError, match="has 5 train images, not 6"):
        dataset_images(dataset, "train", 6)  # type: ignore[arg-type]


def test_file_images(tmp_path: Path) -> None:
    pixels = photos(5, 0)
    for number in range(5):
        Image.fromarray(pixels[number]).save(tmp_path / f"{number}.png")
    images = file_images(tmp_path)
    np.testing.assert_array_equal(images.read(np.array([4, 1])), pixels[[4, 1]])
    assert (images.count, images.captions(4)) == (5, "4.png")


def test_bad_files_are_errors_that_name_them(tmp_path: Path) -> None:
    pixels = photos(3, 0)
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nonsense")
    Image.fromarray(pixels[0, :4]).save(tmp_path / "c.png")
    images = file_images(tmp_path)
    with pytest.raises(CatganError, match=r"b\.png in /.*: cannot be scored") as caught:
        images.read(np.arange(2))
    assert "\n" not in str(caught.value)
    with pytest.raises(
        CatganError,
        match=rf"c\.png in {re.escape(str(tmp_path))}: is 8 x 4, other images are 8 x 8",
    ):
        images.read(np.array([0, 2]))
    with pytest.raises(CatganError, match="does not exist"):
        file_images(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CatganError, match="holds no images"):
        file_images(empty)


@pytest.mark.skipif(sys.platform == "win32", reason="links are for administrators there")
def test_symlink_loop_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CatganError, match="cannot be read"):
        file_images(tmp_path / "loop")


def test_folder_that_changes_while_read_is_an_error(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(photos(1, number)[0]).save(tmp_path / f"{number}.png")
    images = file_images(tmp_path)
    (tmp_path / "0.png").rename(tmp_path / "9.png")  # as many, but 1.png is the first one now
    with pytest.raises(CatganError, match="has changed while it was read"):
        images.read(np.array([0]))
    (tmp_path / "9.png").unlink()
    with pytest.raises(CatganError, match="has changed while it was read"):
        images.read(np.array([2]))


def test_all_have_shape(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(photos(1, number)[0, :6]).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"nonsense")  # reading will say so
    assert file_images(tmp_path).shape == (6, 8)
    assert all_have_shape(tmp_path, (6, 8))
    assert not all_have_shape(tmp_path, (8, 6))
    Image.fromarray(photos(1, 4)[0]).save(tmp_path / "z.png")
    assert not all_have_shape(tmp_path, (6, 8))
