from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from catgan.evaluation.extractors.extractor import Extractor  # noqa: E402
from catgan.evaluation.fingerprint import ExtractorIdentity  # noqa: E402


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CATGAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def plain() -> Extractor:
    """A fast extractor: the means of a 2 x 2 grid, 12 features."""

    def features_of_batch(images: np.ndarray) -> np.ndarray:
        n, height, width, _ = images.shape
        cells = images.reshape(n, 2, height // 2, 2, width // 2, 3).astype(np.float64)
        return cells.mean(axis=(2, 4)).reshape(n, 12).astype(np.float32)

    identity = ExtractorIdentity("plain", 1, "0" * 64, 12, 8, "clean", "float32")
    return Extractor(identity, 8, torch.device("cpu"), features_of_batch)
