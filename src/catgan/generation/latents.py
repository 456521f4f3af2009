"""Seeds to latent vectors: the same numbers on every machine and in every language.

Philox 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011), with the key
(low word of the seed, high word of the seed) and the counter (block, 0, 0, 0), gives four 32-bit
words per block. The Box-Muller transform in float64 turns two words (a, b) into two normal numbers:
u = (a + 1) / 2^32, v = b / 2^32, and sqrt(-2 ln u) times cos(2 pi v), then sin(2 pi v). The first
`size` numbers in order, rounded to float32, are the latent vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_KEY_STEPS = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)


def philox(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Return random words (..., 4), uint64 < 2^32: Philox 4x32-10 of `counter` (..., 4) and `key`.

    `key` has the shape (..., 2).
    """
    c0, c1, c2, c3 = np.moveaxis(counter.astype(np.uint64), -1, 0)
    k0, k1 = np.moveaxis(key.astype(np.uint64), -1, 0)
    for _ in range(10):
        first, second = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (second >> _WORD) ^ c1 ^ k0,
            second & _LOW,
            (first >> _WORD) ^ c3 ^ k1,
            first & _LOW,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return np.stack([c0, c1, c2, c3], axis=-1)


def latents(seeds: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    """Return standard normal vectors, float32 (len(seeds), size), of seeds in [0, 2^63 - 1]."""
    seeds = np.asarray(seeds, np.uint64)
    blocks = -(-size // 4)
    counter = np.zeros((len(seeds), blocks, 4), np.uint64)
    counter[..., 0] = np.arange(blocks, dtype=np.uint64)
    key = np.stack([seeds & _LOW, seeds >> _WORD], axis=-1)[:, None, :]
    words = philox(counter, np.broadcast_to(key, (len(seeds), blocks, 2))).astype(np.float64)
    radius = np.sqrt(-2 * np.log((words[..., 0::2] + 1) / 2**32))
    angle = 2 * np.pi * words[..., 1::2] / 2**32
    numbers = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return numbers.reshape(len(seeds), 4 * blocks)[:, :size].astype(np.float32)
