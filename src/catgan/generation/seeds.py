"""Seeds as people write them: `7`, `0-63`, `1,5,9-12`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from catgan.errors import CatganError, quoted
from catgan.generation.checks import is_whole

MAX_SEED = 2**63 - 1
MAX_SEEDS = 1_000_000


def parse_seeds(text: str, limit: int = MAX_SEEDS) -> list[int]:
    """The seeds that `text` names, in its order; ranges include both ends.

    Raises `CatganError` for a text that names none, or more than `limit`.
    """
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
        if last > MAX_SEED:
            raise CatganError(f"{where}: the largest seed is {MAX_SEED}")
        if len(seeds) + last - first + 1 > limit:
            raise CatganError(f"{where}: more than {limit:,} at once; use fewer")
        seeds.extend(range(first, last + 1))
    return seeds


def check_seeds(seeds: Any) -> np.ndarray:
    """A sequence or 1-d array of seeds as uint64 (N,).

    Raises `CatganError` for what is no list, for more than `MAX_SEEDS`, and for a seed that is no
    whole number from 0 to 2^63 - 1.
    """
    is_list = isinstance(seeds, Sequence) and not isinstance(seeds, str | bytes)
    if not is_list and np.ndim(seeds) == 1:  # arrays, of whatever library
        seeds = np.asarray(seeds)
    elif not is_list:
        raise CatganError(f"seeds must be a list, not {quoted(seeds)}: write, say, seeds=[7]")
    try:
        count = len(seeds)
    except OverflowError:  # a range can be longer than Python counts
        count = MAX_SEEDS + 1
    if count > MAX_SEEDS:
        raise CatganError(f"seeds: more than {MAX_SEEDS:,} at once; use fewer")
    for seed in seeds:
        if not is_whole(seed):
            raise CatganError(
                f"seed {quoted(seed)} is no whole number: write, say, seeds=[7], not [7.0] or ['7']"
            )
        if not 0 <= seed <= MAX_SEED:
            raise CatganError(
                f"seed {quoted(seed)} is out of range: choose whole numbers from 0 to {MAX_SEED}"
            )
    return np.array(seeds, np.uint64)
