from __future__ import annotations

import math

import numpy as np
import pytest

from catgan.generation.latents import latents, philox

# Known answers published with Random123 for philox4x32-10: counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_philox_matches_the_known_answers(counter, key, result):
    assert philox(words(counter), words(key), 1) == words(result)


def test_philox_of_packed_blocks_is_that_of_each():
    counters, key = [words(counter) for counter, _, _ in KNOWN_ANSWERS], (2**32 - 1, 12345)
    packed = [
        sum(counter[word] << 64 * block for block, counter in enumerate(counters))
        for word in range(4)
    ]
    result = philox(packed, key, len(counters))
    for block, counter in enumerate(counters):
        own = [word >> 64 * block & 2**64 - 1 for word in result]
        assert own == philox(counter, key, 1)


def test_latents_match_their_documentation():
    seed = 2**40 + 12345
    for position in (0, 1, 2, 3, 4, 5):
        key = (seed % 2**32, seed // 2**32)
        block = philox((position // 4, 0, 0, 0), key, 1)
        first, second = block[0:2] if position % 4 < 2 else block[2:4]
        radius = math.sqrt(-2 * math.log((first + 1) / 2**32))
        angle = 2 * math.pi * second / 2**32
        number = radius * (math.cos(angle) if position % 2 == 0 else math.sin(angle))
        assert latents([seed], 6)[0, position] == np.float32(number)


def test_latent_of_a_seed_is_independent_of_other_seeds_and_of_the_size():
    batch = latents([5, 7, 2**63 - 1], 99)
    assert batch.dtype == np.float32
    for row, seed in enumerate([5, 7, 2**63 - 1]):
        assert np.array_equal(batch[row], latents([seed], 99)[0])
    assert np.array_equal(latents([7], 128)[0, :99], batch[1])


def test_latents_are_standard_normal():
    z = latents(range(2_000), 100).astype(np.float64)
    assert abs(z.mean()) < 0.01
    assert z.std() == pytest.approx(1, abs=0.01)
    assert (z**4).mean() == pytest.approx(3, abs=0.1)
    correlations = np.corrcoef(z.T) - np.eye(100)
    assert abs(correlations).max() < 0.12
    assert np.isfinite(z).all()
