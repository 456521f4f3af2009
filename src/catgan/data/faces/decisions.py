"""Read and write the decisions of a review, a small JSON file that can be replayed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from catgan.errors import CatganError
from catgan.files import write_durably

FORMAT, VERSION = "catgan-decisions", 1
MAX_BYTES = 64 * 2**20


def read_decisions(path: Path) -> dict[str, bool]:
    """Return a mapping from the identity of a face (see `Candidate`) to whether it is kept.

    Raises:
        CatganError: the file cannot be read, or is not a file of decisions.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError
        about = json.loads(path.read_bytes())
        decisions = about["decisions"]
        valid = about["format"] == FORMAT and about["version"] == VERSION
        if not valid or not all(isinstance(kept, bool) for kept in decisions.values()):
            raise ValueError
        return dict(decisions)
    except OSError as error:
        raise CatganError(
            f"{path}: cannot be read ({error.strerror or error}); give a file that --review wrote"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CatganError(
            f"{path}: not a file of decisions; give one that --review wrote"
        ) from None


def write_decisions(path: Path, decisions: Mapping[str, bool]) -> None:
    """Write `decisions` to `path` atomically, one per line. Raises OSError."""
    about = {"format": FORMAT, "version": VERSION, "decisions": dict(sorted(decisions.items()))}
    write_durably(path, (json.dumps(about, indent=1) + "\n").encode())
