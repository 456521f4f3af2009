"""Parse and check seeds: `7`, `0-63`, `1,5,9-12`, or a list of integers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from catgan.errors import CatganError, quoted
from catgan.generation.checks import is_integer

MAX_SEED = 2**63 - 1
MAX_SEEDS = 1_000_000


def parse_seeds(text: str, limit: int = MAX_SEEDS) -> list[int]:
    """Return the seeds in `text`, in order; ranges include both ends.

    Raises:
        CatganError: `text` is malformed, or names more than `limit` seeds.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,19})\s*(?:-\s*(\d{1,19})\s*)?", part, re.ASCII)
        if not match:
            raise CatganError(f"invalid seed {quoted(part)}: expected 7, 0-63 or 1,5,9-12")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise CatganError(f"invalid seeds {part!r}: the range is reversed; use {last}-{first}")
        if last > MAX_SEED:
            raise CatganError(f"invalid seed {part!r}: expected at most {MAX_SEED}")
        if len(seeds) + last - first + 1 > limit:
            raise CatganError(f"seeds {quoted(text)}: expected at most {limit:,}; use fewer")
        seeds.extend(range(first, last + 1))
    return seeds


def check_seeds(seeds: Any) -> np.ndarray:
    """Return a sequence or 1-d array of seeds as uint64 (N,).

    Raises:
        CatganError: `seeds` is not a list, has more than `MAX_SEEDS` entries, or has one that is
            not a whole number from 0 to 2^63 - 1.
    """
    is_list = isinstance(seeds, Sequence) and not isinstance(seeds, str | bytes)
    if not is_list and np.ndim(seeds) == 1:  # an array of any library
        seeds = np.asarray(seeds)
    elif not is_list:
        raise CatganError(f"seeds = {quoted(seeds)}: expected a list, for example seeds=[7]")
    try:
        count = len(seeds)
    except OverflowError:  # a range can be longer than `len` allows
        count = MAX_SEEDS + 1
    if count > MAX_SEEDS:
        raise CatganError(f"seeds: expected at most {MAX_SEEDS:,}; use fewer")
    for seed in seeds:
        if not is_integer(seed) or not 0 <= seed <= MAX_SEED:
            raise CatganError(
                f"invalid seed {quoted(seed)}: expected a whole number from 0 to {MAX_SEED}"
            )
    return np.array(seeds, np.uint64)
