"""The log of a run: the content of a row, and reading rows back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_SCORE_NAME = 100  # characters, of names such as "held-out KD-lite2"

LOGGED_METRICS = (
    "discriminator_loss",
    "generator_loss",
    "real_accuracy",
    "generated_accuracy",
    "diversity",  # of the generated images, relative to the real ones
)


def read_lines(log: Path) -> list[dict[str, Any]]:
    """Return all lines of the log that are objects with a number of images."""
    rows = []
    if log.exists():
        for line in log.read_text("utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and type(row.get("images")) is int:
                rows.append(row)
    return rows


def is_valid_row(row: Mapping[str, Any]) -> bool:
    """Return whether training could have written a row: logs are edited, and disks fail."""
    machine = row.get("machine", {})
    name = row.get("scored_by", "")
    if not isinstance(machine, dict) or not isinstance(name, str):
        return False
    if not name.isprintable() or len(name) > MAX_SCORE_NAME:  # it is shown in a chart
        return False
    numbers = [row.get(key, 0) for key in ("images", "score", "overfitting", *LOGGED_METRICS)]
    numbers += [machine.get(key, 0) for key in ("images_per_second", "memory_mib")]
    # Comparisons reject NaN; the limit rejects an int that is larger than any float.
    return 0 <= row["images"] < 2**63 and all(
        type(n) in (int, float) and abs(n) < 1e300 for n in numbers
    )
