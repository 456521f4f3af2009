from __future__ import annotations

import numpy as np
import pytest

from catgan.data.dataset import cache
from catgan.data.dataset.dataset import Dataset
from catgan.data.synthetic.generated import Origin, write_generated_cats


def sample(seeds):
    """Return images of one color per seed."""
    return np.stack([np.full((64, 64, 3), seed, np.uint8) for seed in seeds])


ORIGIN = Origin(sample, 64, "a" * 64, "CC BY-NC 4.0", "Some photographers")


@pytest.mark.parametrize("size", [64, 32])
def test_write_generated_cats(tmp_path, size):
    seen = []
    write_generated_cats(
        tmp_path / "cats", ORIGIN, 40, size, on_progress=lambda *counts: seen.append(counts)
    )
    dataset = Dataset.open(tmp_path / "cats")
    assert (dataset.name, len(dataset), dataset.resolution) == ("generated-cats", 40, size)
    assert dataset.license == "CC BY-NC 4.0"
    assert "Generated" in dataset.credit
    assert "Some photographers" in dataset.credit
    assert seen[-1][:2] == (40, 40)
    for number, record in enumerate(dataset.records):
        assert record.source == f"generated cat, seed {number}"
        assert (dataset.images[number] == number).all()


def test_generated_dataset_is_cached_by_generator(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(cache, "EMBEDDED_COUNT", 20)
    first = cache.generated_dataset(ORIGIN, 32)
    cached = Origin(None, 64, "a" * 64, "", "")
    assert cache.generated_dataset(cached, 32).path == first.path
    other = Origin(sample, 64, "b" * 64, "MIT", "Nobody")
    assert cache.generated_dataset(other, 32).path != first.path
