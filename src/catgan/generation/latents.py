"""Seeds to latent vectors: the same numbers on every machine and in every language.

Philox 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011), with the key
(low word of the seed, high word of the seed) and the counter (block, 0, 0, 0), gives four 32-bit
words per block. The Box-Muller transform in float64 turns two words (a, b) into two normal numbers:
u = (a + 1) / 2^32, v = b / 2^32, and sqrt(-2 ln u) times cos(2 pi v), then sin(2 pi v). The first
`size` numbers in order, rounded to float32, are the latent vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

_ROUNDS = 10
_WORD = 2**32 - 1
_SPACING = 64  # bits from one block to the next in a packed integer


def philox(counter: Sequence[int], key: Sequence[int], blocks: int) -> list[int]:
    """Return four packed words: Philox 4x32-10 of four packed words `counter` and two words `key`.

    A packed word is one integer with the words of all blocks, each in its own 64 bits. So a product
    with a word multiplies those of all blocks, and none reaches into the next. For one seed this is
    faster than numpy, whose calls take longer than their work (docs/research/benchmarks.md).
    """
    ones = _pack((1,) * blocks)
    low = _WORD * ones
    a, b, c, d = counter
    first, second = key
    for _ in range(_ROUNDS):
        x, y = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b = (y >> 32 & low) ^ b ^ first * ones, y & low
        c, d = (x >> 32 & low) ^ d ^ second * ones, x & low
        first, second = first + 0x9E3779B9 & _WORD, second + 0xBB67AE85 & _WORD
    return [a, b, c, d]


@cache
def _pack(values: tuple[int, ...]) -> int:
    return sum(value << _SPACING * block for block, value in enumerate(values))


def latents(seeds: Sequence[int] | np.ndarray, size: int) -> np.ndarray:
    """Return standard normal vectors, float32 (len(seeds), size), of seeds in [0, 2^63 - 1]."""
    blocks = -(-size // 4)
    numbers = _pack(tuple(range(blocks)))
    packed = b"".join(
        part.to_bytes(8 * blocks, "little")
        for seed in map(int, seeds)
        for part in philox((numbers, 0, 0, 0), (seed & _WORD, seed >> 32), blocks)
    )
    words = np.frombuffer(packed, "<u8").reshape(-1, 2, 2, blocks).astype(np.float64)
    radius = np.sqrt(-2 * np.log((words[:, :, 0] + 1) / 2**32))  # (seeds, pair, block)
    angle = 2 * np.pi * words[:, :, 1] / 2**32
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return pairs.swapaxes(1, 2).reshape(-1, 4 * blocks)[:, :size].astype(np.float32)
