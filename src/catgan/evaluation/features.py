"""Features of whole image sets, in an order of their own, and the cache of those of the reals.

Rows are sorted by a digest of the image's pixels. Whatever is drawn at random later (subsets,
halves) is drawn from that order, so no score depends on the order in which the images came.
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

_READ = 128  # images read at a time: few enough for any memory, many enough for 32 threads
_COLUMNS = 256  # features put in order at a time
_DIGEST_BYTES = 16
_CACHE_VERSION = 1


@dataclass(frozen=True)
class Features:
    """Features of N images in the order of their pixel digests.

    `vectors`: N x D float32. `numbers`: N int64, the number of each row's image in its set.
    `digests`: N x 16 uint8, BLAKE2b of each image's shape and pixels.
    """

    vectors: np.ndarray
    numbers: np.ndarray
    digests: np.ndarray

    @property
    def sha256(self) -> str:
        """Identity of the set of images, whatever their order; that of `pixel_identity`."""
        return hashlib.sha256(self.digests.tobytes()).hexdigest()

    @property
    def repeats(self) -> int:
        """How many images are pixel for pixel equal to an earlier one."""
        return len(self.digests) - len(np.unique(self.digests, axis=0))


def extract_features(
    images: ImageSet, extractor: Extractor, *, progress: Progress | None = None
) -> Features:
    """The features of all of `images`; `progress` hears "features of <name>" after each batch."""
    vectors = np.empty((images.count, extractor.identity.feature_size), dtype=np.float32)
    digests = np.empty((images.count, _DIGEST_BYTES), dtype=np.uint8)
    for start in range(0, images.count, _READ):
        numbers = np.arange(start, min(start + _READ, images.count))
        batch = images.read(numbers)
        vectors[numbers] = extractor.extract(batch)
        digests[numbers] = [_digest(image) for image in batch]
        if progress is not None:
            progress(f"features of {images.name}", int(numbers[-1]) + 1, images.count)
    order = _order(digests)
    for left in range(0, vectors.shape[1], _COLUMNS):  # some at a time, so as not to hold all twice
        columns = slice(left, left + _COLUMNS)
        vectors[:, columns] = vectors[order, columns]
    return Features(vectors, order, digests[order])


def pixel_identity(images: ImageSet, *, progress: Progress | None = None) -> str:
    """The `sha256` that the features of `images` would have, from their pixels alone."""
    digests = np.empty((images.count, _DIGEST_BYTES), dtype=np.uint8)
    for start in range(0, images.count, _READ):
        numbers = np.arange(start, min(start + _READ, images.count))
        digests[numbers] = [_digest(image) for image in images.read(numbers)]
        if progress is not None:
            progress(f"pixels of {images.name}", int(numbers[-1]) + 1, images.count)
    return hashlib.sha256(digests[_order(digests)].tobytes()).hexdigest()


def cached_features(
    images: ImageSet, extractor: Extractor, *, progress: Progress | None = None
) -> Features:
    """`extract_features`, kept on disk for images of a dataset.

    The key holds the dataset's identity, the selected images and the extractor's identity. A
    damaged entry is computed again; a cache that cannot be written is done without.
    """
    if images.dataset is None or images.selection is None:
        return extract_features(images, extractor, progress=progress)
    path = _cache_path(images, extractor)
    known = _read(path, images.count, extractor.identity.feature_size)
    if known is not None:
        return known
    features = extract_features(images, extractor, progress=progress)
    _write(path, features)
    return features


def _order(digests: np.ndarray) -> np.ndarray:
    """The row numbers that sort `digests` as big-endian numbers."""
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


def _read(path: Path, count: int, size: int) -> Features | None:
    """The entry at `path`, or None if there is none that is whole (zip's CRC-32 covers it)."""
    try:
        with np.load(path, allow_pickle=False) as entry:
            features = Features(entry["vectors"], entry["numbers"], entry["digests"])
    except Exception:  # zipfile and numpy raise a dozen types, by the bit that has flipped
        return None
    sound = (
        features.vectors.shape == (count, size)
        and features.vectors.dtype == np.float32
        and features.numbers.shape == (count,)
        and features.digests.shape == (count, _DIGEST_BYTES)
        and np.array_equal(np.sort(features.numbers), np.arange(count))
    )
    return features if sound else None


def _write(path: Path, features: Features) -> None:
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
        return  # full or read-only disk: the next evaluation computes them again
