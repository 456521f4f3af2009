"""Stops a run that goes wrong, before it overwrites what was good; says what was seen and why."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from catgan.config import LossConfig
from catgan.errors import CatganError
from catgan.runs.directory import RunDirectory
from catgan.runs.log import LOGGED_METRICS
from catgan.training.distributed import whole_batch

COARSE_SIDE = 8  # side of the images whose differences count as diversity
WARMUP_IMAGES = 10_000  # images; before that, networks may still be finding their feet
ROWS_WATCHED = 8  # rows of the log that must agree before a run is stopped
MIN_DIVERSITY = 0.15  # of the real images'; a trial that saturated ended at 0.19
CERTAIN = 0.999  # accuracy on real and generated from which a discriminator teaches no more


class TrainingFailedError(CatganError):
    """Diverged or collapsed. The last checkpoint is from before that was certain."""

    exit_code = 3


class Guard:
    """Watches the rows of a run's log and the tensors of its checkpoints."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        rows = [row for row in run.rows() if set(LOGGED_METRICS) <= set(row)]
        self.recent = deque(rows, maxlen=ROWS_WATCHED)

    def check_finite(self, tensors: Iterable[Tensor], what: str, images: int) -> None:
        """Raise `TrainingFailedError` when a number is NaN or infinite."""
        if not all(torch.isfinite(tensor).all() for tensor in tensors):
            raise self._diverged(what, images)

    def _diverged(self, what: str, images: int) -> TrainingFailedError:
        return TrainingFailedError(
            f"{self.run.path}: training diverged before {images} images, {what} are not "
            "finite; what was saved before stays: start anew with lower "
            "optimizer.*_learning_rate, or with --set training.precision=float32"
        )

    def watch(self, row: dict[str, Any]) -> None:
        """Take in the next row; raise `TrainingFailedError` when it tells of a failure."""
        images = row["images"]
        lost = [name for name in LOGGED_METRICS if not math.isfinite(row[name])]
        if lost:
            raise self._diverged(f"numbers of the log ({', '.join(lost)})", images)
        self.recent.append(row)
        if images < WARMUP_IMAGES or len(self.recent) < ROWS_WATCHED:
            return
        if max(row["diversity"] for row in self.recent) < MIN_DIVERSITY:
            raise TrainingFailedError(
                f"{self.run.path}: training collapsed: for {ROWS_WATCHED} rows up to {images} "
                f"images, generated images differed less than {MIN_DIVERSITY:.0%} as much as "
                "real ones; earlier checkpoints stay (--checkpoint best): start anew with lower "
                "optimizer.discriminator_learning_rate, or more loss.penalty"
            )
        certain = (row[m] for row in self.recent for m in ("real_accuracy", "generated_accuracy"))
        if min(certain) > CERTAIN:
            raise TrainingFailedError(
                f"{self.run.path}: training collapsed: for {ROWS_WATCHED} rows up to {images} "
                "images, the discriminator was never wrong, so the generator learns nothing; "
                "earlier checkpoints stay (--checkpoint best): start anew with higher "
                "optimizer.generator_learning_rate, or more loss.penalty"
            )


def measure(
    config: LossConfig,
    losses: Tensor,
    on_real: Tensor,
    on_generated: Tensor,
    real: Tensor,
    generated: Tensor,
) -> tuple[list[Tensor], Tensor]:
    """The `LOGGED_METRICS` of a step over the whole batch, however many processes share it.

    And beside them the mean logit of the generated images.

    `losses` are the two players' (2,), `on_real` and `on_generated` judgments (B, K[, P]), `real`
    and `generated` images (B, 3, H, W), all of this process's share.
    """
    losses, on_real, on_generated, real, generated = whole_batch(
        [losses[None], on_real, on_generated, coarse(real), coarse(generated)]
    )
    varied = diversity(generated) / diversity(real).clamp_min(1e-4)
    right = accuracies(config.discriminator, on_real, on_generated)
    return [*losses.mean(0), *right, varied], on_generated.mean()


def accuracies(kind: str, real: Tensor, generated: Tensor) -> list[Tensor]:
    """The fractions of real and of generated judgments (B, K[, P]) that are right.

    A relativistic discriminator has no level of its own above which an image is real: halfway
    between the two means is taken.
    """
    threshold = torch.full_like(real[0], 0.5 if kind == "mse" else 0.0)
    if kind == "relativistic":
        threshold = (real.mean(0) + generated.mean(0)) / 2
    return [(real > threshold).float().mean(), (generated <= threshold).float().mean()]


def coarse(images: Tensor) -> Tensor:
    """The images (B, 3, H, W) seen from afar, (B, 3, 8, 8)."""
    return F.adaptive_avg_pool2d(images, COARSE_SIDE)


def diversity(coarse_images: Tensor) -> Tensor:
    """How much the images of a batch differ, each seen from afar: a pixel's deviation."""
    return coarse_images.std(0).mean()
