"""All randomness in training, as a pure function of (seed, stream, step).

No generator lives from one step to the next, so there is no random state to save: a resumed run
uses the same random numbers as the uninterrupted one.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


class Stream(enum.IntEnum):
    """Independent random streams. The numbers are part of the contract: never reuse one."""

    INITIALIZATION = 0
    ORDER = 1
    NOISE = 2
    AUGMENT = 3
    LAYERS = 4  # dropout masks and the like
    VIEWS = 5  # augmentations of real images that are reused (`augment.views`)


@dataclass(frozen=True)
class World:
    """This process among those of the job: its `rank` and the number of `processes`."""

    rank: int = 0
    processes: int = 1

    @property
    def is_main_process(self) -> bool:
        """Return whether this is rank 0, which alone reads checkpoints, writes and prints."""
        return self.rank == 0

    def batch_slice(self, count: int) -> slice:
        """Return this process's slice of a batch of `count` images; `processes` divides `count`."""
        size = count // self.processes
        return slice(self.rank * size, (self.rank + 1) * size)


class BatchRandom:
    """Random numbers for one process's slice of a batch.

    Every process samples for the whole batch and keeps its own slice, so an image's numbers do not
    depend on the number of processes. The last axis is that of the slice's images.
    """

    def __init__(self, generator: torch.Generator, world: World = World()) -> None:
        self.generator, self.world = generator, world

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers from [0, 1)."""
        return self._own(torch.rand(self._whole_batch(shape), generator=self.generator))

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return integers from `low` to `high` - 1."""
        return self._own(
            torch.randint(low, high, self._whole_batch(shape), generator=self.generator)
        )

    def _whole_batch(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] * self.world.processes)

    def _own(self, numbers: Tensor) -> Tensor:
        return numbers[..., self.world.batch_slice(numbers.shape[-1])]


def stream_seed(seed: int, stream: Stream, step: int) -> int:
    """Return a 63-bit seed, mixed by numpy's SeedSequence (stable across versions by contract)."""
    return int(
        np.random.SeedSequence([seed, int(stream), step]).generate_state(1, np.uint64)[0] >> 1
    )


def torch_generator(seed: int, stream: Stream, step: int) -> torch.Generator:
    """Return a CPU generator at the start of its stream; the same numbers for every device."""
    return torch.Generator().manual_seed(stream_seed(seed, stream, step))


@functools.lru_cache(maxsize=2)  # a batch may extend into the next epoch
def image_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the permutation of `count` images in an epoch, int64 (count,), read-only."""
    # Raw Philox output and a stable sort are the same in every numpy; `permutation` may not be.
    keys = np.random.Philox(np.random.SeedSequence([seed, int(Stream.ORDER), epoch]))
    order = np.argsort(keys.random_raw(count), kind="stable")
    order.flags.writeable = False
    return order


def batch_indices(seed: int, images_seen: int, batch_size: int, count: int) -> np.ndarray:
    """Return the indices of the batch after `images_seen` images, of `count`: int64 (batch_size,).

    The epochs' permutations are concatenated, so a batch may extend into the next epoch.
    """
    positions = np.arange(images_seen, images_seen + batch_size)
    indices = np.empty(batch_size, np.int64)
    for epoch in np.unique(positions // count):
        in_epoch = positions // count == epoch
        indices[in_epoch] = image_order(seed, int(epoch), count)[positions[in_epoch] % count]
    return indices
