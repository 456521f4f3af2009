"""The log of a run: what a row holds, and how rows are read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_SCORE_NAME = 100  # characters, of "held-out KD-lite2" and the like

LOGGED_METRICS = (
    "discriminator_loss",
    "generator_loss",
    "real_accuracy",
    "generated_accuracy",
    "diversity",  # of the generated images, as a part of the real ones'
)


def read_lines(log: Path) -> list[dict[str, Any]]:
    """What the log holds that has a number of images, sound or not."""
    found = []
    if log.exists():
        for line in log.read_text("utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and type(row.get("images")) is int:
                found.append(row)
    return found


def is_row(row: Mapping[str, Any]) -> bool:
    """Whether a row is as training writes it: a log can be edited, and a disk can fail."""
    machine = row.get("machine", {})
    name = row.get("scored_by", "")
    if not isinstance(machine, dict) or not isinstance(name, str):
        return False
    if not name.isprintable() or len(name) > MAX_SCORE_NAME:  # it goes into a chart
        return False
    numbers = [row.get(key, 0) for key in ("images", "score", "overfitting", *LOGGED_METRICS)]
    numbers += [machine.get(key, 0) for key in ("images_per_second", "memory_mib")]
    # NaN is below nothing, and an int can be larger than any float.
    return 0 <= row["images"] < 2**63 and all(
        type(n) in (int, float) and abs(n) < 1e300 for n in numbers
    )
