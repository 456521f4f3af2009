"""Seeds as people write them: `7`, `0-63`, `1,5,9-12`."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence

import numpy as np

from catgan.errors import CatganError, quoted

LARGEST_SEED = 2**63 - 1
MOST_SEEDS = 1_000_000


def parse_seeds(text: str) -> list[int]:
    """The seeds that `text` names, in its order; ranges include both ends."""
    where = f"seeds {quoted(text)}"
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,19})\s*(?:-\s*(\d{1,19})\s*)?", part, re.ASCII)
        if not match:
            raise CatganError(f"{where}: {quoted(part)} is no seed: write 7, 0-63 or 1,5,9-12")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise CatganError(f"{where}: {part!r} runs backwards: write {last}-{first}")
        if last > LARGEST_SEED:
            raise CatganError(f"{where}: the largest seed is {LARGEST_SEED}")
        if len(seeds) + last - first + 1 > MOST_SEEDS:
            raise CatganError(f"{where}: more than {MOST_SEEDS:,} at once; use fewer")
        seeds.extend(range(first, last + 1))
    return seeds


def check_seeds(seeds: Sequence[int]) -> Sequence[int]:
    """`seeds` as they are; `CatganError` for one that is no whole number from 0 to 2^63 - 1."""
    is_list = isinstance(seeds, Sequence) and not isinstance(seeds, str)
    if not is_list and np.ndim(seeds) != 1:  # NumPy's arrays are lists as well
        raise CatganError(f"seeds are a list, not {seeds!r}: write, say, seeds=[7]")
    for seed in seeds:
        try:
            in_range = 0 <= operator.index(seed) <= LARGEST_SEED
        except TypeError:  # a fraction, or no number at all
            in_range = False
        if not in_range:
            raise CatganError(
                f"seed {seed!r} is out of range: choose whole numbers from 0 to {LARGEST_SEED}"
            )
    return seeds
