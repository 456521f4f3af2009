"""One training run as one call, without a terminal: what `catgan.train` does."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catgan.config import Config
from catgan.errors import CatganError, quoted
from catgan.files import to_path
from catgan.generation.checks import check_number
from catgan.training import distributed
from catgan.training.display import CallbackDisplay
from catgan.training.start import make_plan

log = logging.getLogger("catgan")

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class TrainingResult:
    """Where a run is, and how it ended.

    `images` have been seen. `finished`: it reached its length, or stopped early as its score no
    longer improved; else it was stopped, by time or by a `signal` (its number), and can be resumed.
    `best_score`, the lower the better, is that of the checkpoint `best`, taken after `best_images`
    images; both are None where no checkpoint was scored. `notes` are what a person should know, in
    sentences: files that were left out, for instance.
    """

    path: Path
    images: int
    finished: bool
    signal: int | None
    best_score: float | None
    best_images: int | None
    notes: tuple[str, ...]


def train(
    recipe: str | Config | None = None,
    data: PathLike | None = None,
    *,
    out: PathLike | None = None,
    settings: Sequence[str] = (),
    start_from: PathLike | None = None,
    resume: PathLike | None = None,
    minutes: float | None = None,
    device: str = "auto",
    on_progress: Callable[[dict[str, Any]], object] | None = None,
) -> TrainingResult:
    """Carry out what `catgan.train` describes."""
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        log.info(text)

    if recipe is not None and not isinstance(recipe, str | Config):
        raise CatganError(f"recipe must be the name of one, or a Config, not {quoted(recipe)}")
    if isinstance(settings, str) or not all(isinstance(each, str) for each in settings):
        raise CatganError(
            f'settings must be a list of texts, such as ["training.images=4000"], not '
            f"{quoted(settings)}"
        )
    minutes = math.inf if minutes is None else check_number("minutes", minutes, 0, math.inf)
    with distributed.joined():
        plan = make_plan(
            None if data is None else to_path("data", data),
            recipe,
            list(settings),
            out=None if out is None else to_path("out", out),
            resume=None if resume is None else to_path("resume", resume),
            start_from=None if start_from is None else os.fspath(start_from),
            device_name=device,
            on_progress=_ignore,
        )
        for text in plan.notes:
            note(text)
        outcome = plan.train(CallbackDisplay(on_progress or _ignore, note), minutes=minutes)
    checkpoints = plan.run.checkpoints
    best, score = checkpoints.pointer("best"), checkpoints.best_score()
    return TrainingResult(
        path=plan.run.path,
        images=outcome.images,
        finished=outcome.finished,
        signal=outcome.signal,
        best_score=score.value if score else None,
        best_images=int(best) if best and score else None,
        notes=tuple(notes),
    )


def _ignore(*_: object) -> None:
    """Report nothing."""
