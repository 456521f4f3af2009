"""Measure how close the images of an export are to those of its source."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from catgan.errors import CatganError

SEEDS = 256

# The largest and the mean difference allowed, in levels of 255. float32: a pixel may round the
# other way. float16: weights are off by at most 1/2,048. int8 is lossy: its limit is where damage
# becomes visible, at a mean of about two levels.
LIMITS = {"float32": (1, 0.01), "float16": (4, 0.1), "int8": (64, 2.0)}


@dataclass(frozen=True)
class Parity:
    """The difference between two sets of images, in levels of 255."""

    seeds: int
    largest: int
    mean: float
    reference: str = "torch"  # what generated the reference images

    def line(self) -> str:
        """Return the difference as text."""
        return (
            f"over {self.seeds} seeds, images differ from {self.reference} by at most "
            f"{self.largest} and on average {self.mean:.2g} of 255 levels"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object on the card."""
        return dataclasses.asdict(self)


def measure_parity(reference: np.ndarray, images: np.ndarray) -> Parity:
    """Return the difference between two arrays of uint8 images, both (N, H, W, 3)."""
    difference = np.abs(reference.astype(np.int16) - images)
    return Parity(len(images), int(difference.max()), float(difference.mean()))


def require_parity(parity: Parity, precision: str) -> None:
    """Raise `CatganError` if the difference is larger than `precision` allows."""
    largest, mean = LIMITS[precision]
    if parity.largest > largest or parity.mean > mean:
        remedy = {
            "float32": "report this as a bug",
            "float16": "use --precision float32",
            "int8": "use --precision float16",
        }[precision]
        raise CatganError(
            f"not exported as {precision}: {parity.line()}, but at most {largest} and {mean} are "
            f"allowed: {remedy}"
        )
