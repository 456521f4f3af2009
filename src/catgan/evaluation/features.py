"""Features of whole image sets in a canonical order, and the cache of features of datasets.

Rows are sorted by a digest of the image's pixels. Later random choices (subsets, halves) use that
order, so no score depends on the order of the images.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from catgan.data.dataset.cache import cache_directory
from catgan.evaluation.extractors.extractor import Extractor
from catgan.evaluation.image_sets import ImageSet
from catgan.files import rename

Progress = Callable[[str, int, int], None]  # (stage, done, total)

_READ_BATCH = 128  # images; small enough for any memory, large enough for 32 threads
_COLUMN_CHUNK = 256  # columns that are sorted at a time
_DIGEST_BYTES = 16
_CACHE_VERSION = 1


@dataclass(frozen=True)
class Features:
    """Features of N images, sorted by pixel digest.

    `vectors`: N x D float32. `numbers`: N int64, the number of each row's image in its set.
    `digests`: N x 16 uint8, BLAKE2b of each image's shape and pixels.
    """

    vectors: np.ndarray
    numbers: np.ndarray
    digests: np.ndarray

    @property
    def sha256(self) -> str:
        """Identity of the set of images, independent of their order; equals `pixel_identity`."""
        return hashlib.sha256(self.digests.tobytes()).hexdigest()

    @property
    def repeats(self) -> int:
        """Number of images that equal an earlier one in every pixel."""
        return len(self.digests) - len(np.unique(self.digests, axis=0))


def extract_features(
    images: ImageSet, extractor: Extractor, *, progress: Progress | None = None
) -> Features:
    """Return the features of `images`; `progress` is called after each batch."""
    vectors = np.empty((images.count, extractor.identity.feature_size), dtype=np.float32)
    digests = np.empty((images.count, _DIGEST_BYTES), dtype=np.uint8)
    for start in range(0, images.count, _READ_BATCH):
        numbers = np.arange(start, min(start + _READ_BATCH, images.count))
        batch = images.read(numbers)
        vectors[numbers] = extractor.extract(batch)
        digests[numbers] = [_digest(image) for image in batch]
        if progress is not None:
            progress(f"features of {images.name}", int(numbers[-1]) + 1, images.count)
    order = _order(digests)
    for left in range(0, vectors.shape[1], _COLUMN_CHUNK):  # in chunks, to save a second copy
        columns = slice(left, left + _COLUMN_CHUNK)
        vectors[:, columns] = vectors[order, columns]
    return Features(vectors, order, digests[order])


def pixel_identity(images: ImageSet, *, progress: Progress | None = None) -> str:
    """Return the `sha256` that the features of `images` would have, from the pixels alone."""
    digests = np.empty((images.count, _DIGEST_BYTES), dtype=np.uint8)
    for start in range(0, images.count, _READ_BATCH):
        numbers = np.arange(start, min(start + _READ_BATCH, images.count))
        digests[numbers] = [_digest(image) for image in images.read(numbers)]
        if progress is not None:
            progress(f"pixels of {images.name}", int(numbers[-1]) + 1, images.count)
    return hashlib.sha256(digests[_order(digests)].tobytes()).hexdigest()


def cached_features(
    images: ImageSet, extractor: Extractor, *, progress: Progress | None = None
) -> Features:
    """Return the features of `images`, from the cache on disk if they belong to a dataset.

    The key holds the identity of the dataset, the selected images and the identity of the
    extractor. Damaged entries are computed again. If the cache cannot be written, nothing is
    cached.
    """
    if images.dataset is None or images.selection is None:
        return extract_features(images, extractor, progress=progress)
    path = _cache_path(images, extractor)
    cached = _read_entry(path, images.count, extractor.identity.feature_size)
    if cached is not None:
        return cached
    features = extract_features(images, extractor, progress=progress)
    _write_entry(path, features)
    return features


def _order(digests: np.ndarray) -> np.ndarray:
    """Return the row numbers that sort `digests` as big-endian numbers."""
    words = digests.view(">u8")
    return np.lexsort((words[:, 1], words[:, 0]))


def _digest(image: np.ndarray) -> np.ndarray:
    shape = repr(image.shape).encode()
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=_DIGEST_BYTES, key=shape)
    return np.frombuffer(digest.digest(), dtype=np.uint8)


def _cache_path(images: ImageSet, extractor: Extractor) -> Path:
    identity = {
        "cache": _CACHE_VERSION,
        "dataset": images.dataset,
        "selection": hashlib.sha256(images.selection or b"").hexdigest(),
        "extractor": asdict(extractor.identity),
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return cache_directory() / "features" / f"{key}.npz"


def _read_entry(path: Path, count: int, size: int) -> Features | None:
    """Return the entry at `path`, or None if it is missing or damaged (zip has a CRC-32)."""
    try:
        with np.load(path, allow_pickle=False) as entry:
            features = Features(entry["vectors"], entry["numbers"], entry["digests"])
    except Exception:  # zipfile and numpy raise a dozen types for damaged files
        return None
    valid = (
        features.vectors.shape == (count, size)
        and features.vectors.dtype == np.float32
        and features.numbers.shape == (count,)
        and features.digests.shape == (count, _DIGEST_BYTES)
        and np.array_equal(np.sort(features.numbers), np.arange(count))
    )
    return features if valid else None


def _write_entry(path: Path, features: Features) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as directory:
            temporary = Path(directory, path.name)
            with temporary.open("wb") as file:
                np.savez(
                    file,
                    vectors=features.vectors,
                    numbers=features.numbers,
                    digests=features.digests,
                )
                file.flush()
                os.fsync(file.fileno())
            rename(temporary, path)
    except OSError:
        return  # the disk is full or read-only: the next evaluation computes them again
