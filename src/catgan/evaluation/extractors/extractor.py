"""Feature extractors: uint8 images in, float32 feature vectors out, with a fingerprint.

An extractor always runs batches of one fixed shape (the last is padded), and on a CPU each batch in
one thread. So the kernels that run, and the last bits of a feature, depend neither on how images
are batched by the caller nor on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from catgan.errors import CatganError
from catgan.evaluation.extractors.resize import Rule, clip_after, resize_matrix
from catgan.evaluation.fingerprint import ExtractorIdentity

_CPU_BATCH_SIZE = 4  # per thread; small enough that activations stay in the CPU caches
_GPU_BATCH_SIZE = 64


@dataclass(frozen=True)
class Extractor:
    """A feature network and its identity.

    `features_of_batch` maps uint8 `batch_size` x H x W x 3 to float32 `batch_size` x D, computed on
    `device`. On the CPU, several threads call it at once.
    """

    identity: ExtractorIdentity
    batch_size: int
    device: torch.device
    features_of_batch: Callable[[np.ndarray], np.ndarray]

    def extract(self, images: np.ndarray) -> np.ndarray:
        """Return features (N x D, float32) of `images` (N x H x W x 3, uint8, sRGB, any size).

        The features of an image do not depend on the other images, nor on N.

        Raises:
            CatganError: a feature is not finite.
        """
        features = np.empty((len(images), self.identity.feature_size), dtype=np.float32)

        def extract_batch(start: int) -> None:
            batch = np.ascontiguousarray(images[start : start + self.batch_size])
            missing = self.batch_size - len(batch)
            if missing:
                padding = np.zeros((missing, *batch.shape[1:]), dtype=np.uint8)
                batch = np.concatenate([batch, padding])
            found = self.features_of_batch(batch)
            features[start : start + self.batch_size] = found[: self.batch_size - missing]

        starts = range(0, len(images), self.batch_size)
        # By default a GPU would round float32 convolutions to TF32, and benchmark its kernels.
        with torch.backends.cudnn.flags(allow_tf32=False, benchmark=False, deterministic=True):
            if self.device.type == "cpu":
                _run_in_parallel(extract_batch, starts)
            else:
                for start in starts:
                    extract_batch(start)
        if not np.isfinite(features).all():
            raise CatganError(
                f"{self.identity.name}: features are not finite; use another extractor"
            )
        return features


class Resizer:
    """Resizes batches by a rule: uint8 N x H x W x 3 to float32 N x 3 x size x size, 0 to 255."""

    def __init__(self, rule: Rule, size: int, device: torch.device) -> None:
        self.rule: Rule = rule
        self.size = size
        self.device = device
        self._matrices: dict[int, Tensor] = {}

    def __call__(self, images: np.ndarray) -> Tensor:
        """Return the resized batch. The matrix of each source size is computed once."""
        planes = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2).contiguous().float()
        if images.shape[2] != self.size:
            planes = planes @ self._matrix(images.shape[2]).T
        if images.shape[1] != self.size:
            planes = self._matrix(images.shape[1]) @ planes
        return planes.clamp_(0, 255) if clip_after(self.rule) else planes

    def _matrix(self, source: int) -> Tensor:
        if source not in self._matrices:
            matrix = resize_matrix(self.rule, source, self.size)
            self._matrices[source] = torch.from_numpy(matrix).float().to(self.device)
        return self._matrices[source]


def pick_device() -> torch.device:
    """Return the CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def default_batch_size(device: torch.device) -> int:
    """Return the fixed batch size on `device`."""
    return _CPU_BATCH_SIZE if device.type == "cpu" else _GPU_BATCH_SIZE


def _run_in_parallel(work: Callable[[int], None], starts: Iterable[int]) -> None:
    """Call `work` with each of `starts`, on as many threads as torch has.

    oneDNN splits sums by its number of threads, which changes their rounding. Each of these threads
    computes its batch alone, so that number is always one.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(work, starts))  # list() re-raises exceptions
    finally:
        torch.set_num_threads(threads)
