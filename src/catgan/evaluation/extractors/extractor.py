"""What a feature extractor is: uint8 images in, float32 feature vectors out, with a fingerprint.

Every extractor works in batches of one fixed shape, the last one filled up, and on a CPU each batch
is one thread's: so the kernels that run, and with them the last digit of a feature, depend neither
on how the images arrive nor on the number of threads.
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

_CPU_BATCH = 4  # for each thread: few enough that the activations stay near the processor
_GPU_BATCH = 64


@dataclass(frozen=True)
class Extractor:
    """`features_of_batch` maps uint8 `batch` x H x W x 3 to float32 `batch` x D on `device`.

    On the CPU it is called from several threads at once.
    """

    identity: ExtractorIdentity
    batch: int
    device: torch.device
    features_of_batch: Callable[[np.ndarray], np.ndarray]

    def extract(self, images: np.ndarray) -> np.ndarray:
        """Features (N x D, float32) of `images` (N x H x W x 3, uint8, sRGB, any H and W).

        The result for an image does not depend on the images beside it, nor on N.

        Raises:
            CatganError: the network gave features that are not finite.
        """
        features = np.empty((len(images), self.identity.feature_size), dtype=np.float32)

        def work(start: int) -> None:
            batch = np.ascontiguousarray(images[start : start + self.batch])
            missing = self.batch - len(batch)
            if missing:
                filling = np.zeros((missing, *batch.shape[1:]), dtype=np.uint8)
                batch = np.concatenate([batch, filling])
            found = self.features_of_batch(batch)
            features[start : start + self.batch] = found[: self.batch - missing]

        starts = range(0, len(images), self.batch)
        # In float32 a GPU would round convolutions to TF32 and choose kernels by trial.
        with torch.backends.cudnn.flags(allow_tf32=False, benchmark=False, deterministic=True):
            if self.device.type == "cpu":
                _side_by_side(work, starts)
            else:
                for start in starts:
                    work(start)
        if not np.isfinite(features).all():
            raise CatganError(
                f"{self.identity.name}: gave features that are not finite; use another extractor"
            )
        return features


class Resizer:
    """Applies a rule to batches: uint8 N x H x W x 3 to float32 N x 3 x size x size, 0 to 255."""

    def __init__(self, rule: Rule, size: int, device: torch.device) -> None:
        self.rule: Rule = rule
        self.size = size
        self.device = device
        self._matrices: dict[int, Tensor] = {}

    def __call__(self, images: np.ndarray) -> Tensor:
        """Resize a batch; the matrix of each source size is computed once and kept."""
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
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batch_for(device: torch.device) -> int:
    """The fixed batch size on `device`."""
    return _CPU_BATCH if device.type == "cpu" else _GPU_BATCH


def _side_by_side(work: Callable[[int], None], starts: Iterable[int]) -> None:
    """`work` on each of `starts`, on as many threads as torch has, each computing alone.

    oneDNN splits sums by its number of threads; a batch for each thread keeps that number at one.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(work, starts))  # the list lets an exception through
    finally:
        torch.set_num_threads(threads)
