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

_ROUNDS = 10
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_KEY_STEPS = np.arange(_ROUNDS, dtype=np.uint64)[:, None] * np.array(
    [0x9E3779B9, 0xBB67AE85], np.uint64
)
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)


def philox(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Return random words (..., 4), uint32: Philox 4x32-10 of `counter` (..., 4) and `key`.

    `key` (..., 2) is broadcast to the counters. Both hold whole numbers from 0 to 2^32 - 1.
    """
    keys = (key.astype(np.uint64)[..., None, :] + _KEY_STEPS).astype(np.uint32)  # modulo 2^32
    even, odd = (counter[..., part::2].astype(np.uint32, order="C") for part in (0, 1))
    for number in range(_ROUNDS):
        # The low and the high words of two products: low, high, low, high.
        words = (even * _MULTIPLIERS).astype("<u8", copy=False).view("<u4")
        even, odd = words[..., 3::-2] ^ odd ^ keys[..., number, :], words[..., 2::-2]
    return np.stack([even, odd], axis=-1).reshape(counter.shape)


def latents(seeds: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    """Return standard normal vectors, float32 (len(seeds), size), of seeds in [0, 2^63 - 1]."""
    seeds = np.asarray(seeds, np.uint64)
    blocks = -(-size // 4)
    counter = np.zeros((len(seeds), blocks, 4), np.uint64)
    counter[..., 0] = np.arange(blocks, dtype=np.uint64)
    key = np.stack([seeds & _LOW, seeds >> _WORD], axis=-1)[:, None, :]
    words = philox(counter, key).astype(np.float64)
    radius = np.sqrt(-2 * np.log((words[..., 0::2] + 1) / 2**32))
    angle = 2 * np.pi * words[..., 1::2] / 2**32
    numbers = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return numbers.reshape(len(seeds), 4 * blocks)[:, :size].astype(np.float32)
