"""Everything random in training, as a pure function of (seed, stream, step).

No generator lives from one step to the next, so there is no random state to save: a resumed run
draws what the straight run would have drawn.
"""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


class Stream(enum.IntEnum):
    """Independent sources of randomness. The numbers are part of the contract: never reuse one."""

    INITIALIZATION = 0
    ORDER = 1
    NOISE = 2
    AUGMENT = 3
    LAYERS = 4  # dropout masks and the like
    VIEWS = 5  # augmentations of real images that come again


@dataclass(frozen=True)
class Share:
    """The part of every batch that is one process's: the `rank`-th of `processes` equal ones."""

    rank: int = 0
    processes: int = 1

    @property
    def is_main_process(self) -> bool:
        """Whether this is the first process, which alone reads, writes and prints."""
        return self.rank == 0

    def of(self, count: int) -> slice:
        """Which of the `count` images of a whole batch; `processes` divides `count`."""
        size = count // self.processes
        return slice(self.rank * size, (self.rank + 1) * size)


class BatchRandom:
    """Random numbers for one process's share of a batch.

    Every process draws for the whole batch and keeps its own, so that what an image gets does not
    depend on how many processes there are. The last axis is that of the share's images.
    """

    def __init__(self, generator: torch.Generator, share: Share = Share()) -> None:
        self.generator, self.share = generator, share

    def uniform(self, *shape: int) -> Tensor:
        """From [0, 1)."""
        return self._mine(torch.rand(self._whole(shape), generator=self.generator))

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """From `low` to `high` - 1."""
        return self._mine(torch.randint(low, high, self._whole(shape), generator=self.generator))

    def _whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], shape[-1] * self.share.processes)

    def _mine(self, numbers: Tensor) -> Tensor:
        return numbers[..., self.share.of(numbers.shape[-1])]


def stream_seed(seed: int, stream: Stream, step: int) -> int:
    """A 63-bit seed, mixed by numpy's SeedSequence (stable across versions by its contract)."""
    return int(
        np.random.SeedSequence([seed, int(stream), step]).generate_state(1, np.uint64)[0] >> 1
    )


def torch_generator(seed: int, stream: Stream, step: int) -> torch.Generator:
    """A CPU generator at the beginning of its stream; the same numbers for every device."""
    return torch.Generator().manual_seed(stream_seed(seed, stream, step))


@functools.lru_cache(maxsize=2)  # a batch may reach over into the next epoch
def image_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The permutation of `count` images shown in an epoch, int64 (count,), read-only."""
    # Raw Philox output and a stable sort are the same in every numpy; `permutation` may not be.
    keys = np.random.Philox(np.random.SeedSequence([seed, int(Stream.ORDER), epoch]))
    order = np.argsort(keys.random_raw(count), kind="stable")
    order.flags.writeable = False
    return order


def batch_indices(seed: int, images_seen: int, batch_size: int, count: int) -> np.ndarray:
    """Which of `count` images make the batch after `images_seen` images, int64 (batch_size,).

    The epochs' permutations are read end to end, so a batch may reach over into the next epoch.
    """
    positions = np.arange(images_seen, images_seen + batch_size)
    indices = np.empty(batch_size, np.int64)
    for epoch in np.unique(positions // count):
        here = positions // count == epoch
        indices[here] = image_order(seed, int(epoch), count)[positions[here] % count]
    return indices
