"""Does the artifact draw what torch draws? Measured before anyone gets it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from catgan.errors import CatganError

SEEDS = 256

# The largest and the mean difference allowed, in steps of 1/255. float32 may round a pixel to the
# other side. Stored as float16, weights are 1/2,048 off at most. int8 is lossy: what is rejected
# is damage that can be seen, which in a mean of two steps it begins to be.
LIMITS = {"float32": (1, 0.01), "float16": (4, 0.1), "int8": (64, 2.0)}


@dataclass(frozen=True)
class Parity:
    """How far two sets of images are apart, in steps of 1/255."""

    seeds: int
    largest: int
    mean: float
    reference: str = "torch"  # what the second set was compared with

    def line(self) -> str:
        """In words."""
        return (
            f"over {self.seeds} seeds at most {self.largest} and on average {self.mean:.2g} "
            f"of 255 steps from {self.reference}"
        )

    def to_json(self) -> dict[str, Any]:
        """As the card holds it."""
        return dataclasses.asdict(self)


def measure_parity(reference: np.ndarray, images: np.ndarray) -> Parity:
    """The difference of two arrays of uint8 images, (N, H, W, 3) both."""
    difference = np.abs(reference.astype(np.int16) - images)
    return Parity(len(images), int(difference.max()), float(difference.mean()))


def require_parity(parity: Parity, precision: str) -> None:
    """Raise `CatganError` when the difference is more than `precision` explains."""
    largest, mean = LIMITS[precision]
    if parity.largest > largest or parity.mean > mean:
        remedy = {
            "float32": "report this as a bug",
            "float16": "use --precision float32",
            "int8": "use --precision float16",
        }[precision]
        raise CatganError(
            f"not exported: as {precision} the generator draws {parity.line()}, allowed are "
            f"{largest} and {mean}: {remedy}"
        )
