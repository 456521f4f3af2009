from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_sets import as_dataset, photos  # type: ignore[import-not-found]

from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.features import cached_features, extract_features, pixel_identity
from catgan.evaluation.image_sets import array_images


class Counting:
    """Counts the images that an extractor gets."""

    def __init__(self, extractor: Extractor) -> None:
        self.count = 0

        def features_of_batch(images: np.ndarray) -> np.ndarray:
            self.count += len(images)
            return extractor.features_of_batch(images)

        self.extractor = replace(extractor, features_of_batch=features_of_batch)


def test_features_do_not_depend_on_image_order(plain: Extractor) -> None:
    images = photos(100, 0)
    shuffled = np.random.default_rng(1).permutation(100)
    one = extract_features(array_images("a", images), plain)
    two = extract_features(array_images("b", images[shuffled]), plain)
    np.testing.assert_array_equal(one.vectors, two.vectors)
    np.testing.assert_array_equal(one.numbers, shuffled[two.numbers])
    np.testing.assert_array_equal(one.vectors, plain.extract(images)[one.numbers])
    assert one.sha256 == two.sha256 == pixel_identity(array_images("b", images[shuffled]))
    images[5, 0, 0, 0] ^= 1
    assert extract_features(array_images("a", images), plain).sha256 != one.sha256


def test_wide_features_are_sorted_in_chunks(plain: Extractor) -> None:
    def features_of_batch(images: np.ndarray) -> np.ndarray:
        return plain.features_of_batch(images).repeat(50, axis=1) + np.arange(600, dtype=np.float32)

    wide = replace(
        plain,
        identity=replace(plain.identity, feature_size=600),
        features_of_batch=features_of_batch,
    )
    images = photos(40, 0)
    found = extract_features(array_images("a", images), wide)
    np.testing.assert_array_equal(found.vectors, wide.extract(images)[found.numbers])


def test_repeats_are_counted(plain: Extractor) -> None:
    images = photos(20, 0)
    images[7] = images[3]
    images[9] = images[3]
    assert extract_features(array_images("a", images), plain).repeats == 2


def test_progress_reaches_the_end(plain: Extractor) -> None:
    seen: list[tuple[str, int, int]] = []
    extract_features(
        array_images("cats", photos(150, 0)), plain, progress=lambda *step: seen.append(step)
    )
    assert seen == [("features of cats", 128, 150), ("features of cats", 150, 150)]


def test_dataset_features_are_computed_once(plain: Extractor) -> None:
    counting = Counting(plain)
    reals = as_dataset("cats", photos(40, 0), "train")
    first = cached_features(reals, counting.extractor)
    again = cached_features(reals, counting.extractor)
    assert counting.count == 40
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert first.sha256 == again.sha256


def test_cache_key_covers_selection_dataset_and_extractor(plain: Extractor) -> None:
    counting = Counting(plain)
    reals = as_dataset("cats", photos(40, 0), "train")
    cached_features(reals, counting.extractor)
    for other in (replace(reals, selection=b"other"), replace(reals, dataset="e" * 64)):
        before = counting.count
        cached_features(other, counting.extractor)
        assert counting.count == before + 40
    changed = replace(counting.extractor, identity=replace(plain.identity, resize="area"))
    before = counting.count
    cached_features(reals, changed)
    assert counting.count == before + 40


@pytest.mark.parametrize("damage", ["empty", "flipped", "cut", "text"])
def test_damaged_cache_entry_is_recomputed(
    plain: Extractor, empty_cache: Path, damage: str
) -> None:
    counting = Counting(plain)
    reals = as_dataset("cats", photos(40, 0), "train")
    first = cached_features(reals, counting.extractor)
    (entry,) = empty_cache.rglob("*.npz")
    content = bytearray(entry.read_bytes())
    content[len(content) // 2] ^= 1
    entry.write_bytes(
        {"empty": b"", "flipped": content, "cut": content[:300], "text": b"hello"}[damage]
    )
    again = cached_features(reals, counting.extractor)
    assert counting.count == 80
    np.testing.assert_array_equal(first.vectors, again.vectors)


def test_unwritable_cache_is_ignored(
    plain: Extractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(blocked))
    features = cached_features(as_dataset("cats", photos(20, 0), "train"), plain)
    assert features.vectors.shape == (20, 12)


def test_flipped_bits_in_the_cache_never_change_features(
    plain: Extractor, empty_cache: Path
) -> None:
    counting = Counting(plain)
    reals = as_dataset("cats", photos(12, 0), "train")
    expected = cached_features(reals, counting.extractor)
    (path,) = (empty_cache / "features").iterdir()
    data = path.read_bytes()
    # The structures of the zip: local headers, npy headers, the list of members at the end.
    offsets = [*range(60), *range(len(data) - 250, len(data))]
    for offset in offsets:
        for bit in (0x01, 0x08):
            flipped = bytearray(data)
            flipped[offset] ^= bit
            path.write_bytes(flipped)
            found = cached_features(reals, counting.extractor)
            np.testing.assert_array_equal(found.vectors, expected.vectors)
