"""Everything random in training, as a pure function of (seed, stream, step).

No generator lives from one step to the next, so there is no random state to save: a resumed run
draws what the straight run would have drawn.
"""

from __future__ import annotations

import enum

import numpy as np
import torch


class Stream(enum.IntEnum):
    """Independent sources of randomness. The numbers are part of the contract: never reuse one."""

    INITIALISATION = 0
    ORDER = 1
    NOISE = 2
    AUGMENT = 3
    LAYERS = 4  # dropout masks and the like


def stream_seed(seed: int, stream: Stream, step: int) -> int:
    """A 63-bit seed, mixed by numpy's SeedSequence (stable across versions by its contract)."""
    return int(
        np.random.SeedSequence([seed, int(stream), step]).generate_state(1, np.uint64)[0] >> 1
    )


def torch_generator(seed: int, stream: Stream, step: int) -> torch.Generator:
    """A CPU generator at the beginning of its stream; the same numbers for every device."""
    return torch.Generator().manual_seed(stream_seed(seed, stream, step))


def image_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """The permutation of `count` images shown in an epoch, int64 (count,)."""
    # Raw Philox output and a stable sort are the same in every numpy; `permutation` may not be.
    keys = np.random.Philox(np.random.SeedSequence([seed, int(Stream.ORDER), epoch]))
    return np.argsort(keys.random_raw(count), kind="stable")


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
