"""What the main process keeps of a run: sample sheets, scores, checkpoints."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from catgan.config import Config
from catgan.evaluation.quick import RealsStatistics, quick_score
from catgan.generation.grid import make_grid
from catgan.runs.checkpoint import Players, Score, optimizer_tensors
from catgan.runs.directory import RunDirectory
from catgan.runs.report import write_report
from catgan.runs.sampler import Sampler
from catgan.training import distributed
from catgan.training.display import Display
from catgan.training.guard import Guard
from catgan.training.metric_averager import MetricAverager


class Recorder:
    """Writes what there is to keep after so many images.

    `sampler` draws with the averaged generator, `modules` are the parts whose weights are kept,
    `reals` what checkpoints are scored against, if they are.
    """

    def __init__(
        self,
        config: Config,
        run: RunDirectory,
        display: Display,
        sampler: Sampler,
        autocast: AbstractContextManager[Any],
        modules: dict[str, nn.Module],
        players: Players,
        averager: MetricAverager,
        guard: Guard,
        reals: RealsStatistics | None,
    ) -> None:
        self.config, self.run, self.display, self.sampler = config, run, display, sampler
        self.autocast, self.modules, self.players = autocast, modules, players
        self.averager, self.guard, self.reals = averager, guard, reals
        # Nothing better has come for as long as the run waits for it.
        self.is_past_its_best = self._has_stopped_improving()

    def make_grid(self, images: int) -> None:
        """Draw the sample sheet after `images` images."""
        cats = self.sampler.calibrated(images, self.autocast)(range(self.config.output.grid_seeds))
        self.run.save_grid(images, make_grid(cats))

    def checkpoint(self, images: int, *, scored: bool = True) -> None:
        """Save a checkpoint, with a score where there is something to score it against.

        Raises `TrainingFailedError` for weights that are not finite, which replace none that are.
        """
        score = self._score(images) if scored else None
        self.sampler.calibrated(images, self.autocast)
        tensors = {part: module.state_dict() for part, module in self.modules.items()}
        tensors["optimizer"] = optimizer_tensors(self.players)
        for part, state in tensors.items():
            self.guard.check_finite(state.values(), f"weights of {part}", images)
        keep, config = self.config.output.checkpoints_kept, dataclasses.asdict(self.config)
        self.run.checkpoints.save(
            images, config, self.averager.window(), tensors, keep=keep, score=score
        )
        write_report(self.run)
        self.is_past_its_best = self._has_stopped_improving()

    def _score(self, images: int) -> Score | None:
        if self.reals is None:
            return None
        cats = self.sampler.calibrated(images, self.autocast)
        quick = quick_score(cats, self.reals, count=self.config.output.score_samples)
        count = self.config.output.score_samples
        row = {"images": images, "score": quick.value, "scored_by": quick.name, "samples": count}
        self.run.append_row(row)
        self.display.score(row)
        return Score(quick.value, dataclasses.asdict(quick.fingerprint))

    def _has_stopped_improving(self) -> bool:
        """Whether the last best score is `training.early_stopping_images` old.

        Of scores that were taken as this run takes them; while the generator is held still, none
        can be better. The main process alone knows the log.
        """
        patience, optimizer = self.config.training.early_stopping_images, self.config.optimizer
        if not patience or self.reals is None or not distributed.world().is_main_process:
            return False
        alike = self.reals.score_name, self.config.output.score_samples
        rows = [
            row
            for row in self.run.rows()
            if "score" in row and (row.get("scored_by"), row.get("samples")) == alike
        ]
        if not rows:
            return False
        best = min(rows, key=lambda row: row["score"])  # the earliest of equals
        moving = optimizer.generator_freeze_images + optimizer.generator_ramp_images
        since = max(best["images"], moving + optimizer.generator_thaw_images)
        return bool(rows[-1]["images"] - since >= patience)
