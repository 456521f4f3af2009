"""Stop a run that fails, before it overwrites good weights; report what happened and why."""

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
from catgan.training.distributed import gather_batch

DIVERSITY_SIDE = 8  # side of the downsampled images that diversity is measured on
WARMUP_IMAGES = 10_000  # networks may look collapsed before
ROWS_WATCHED = 8  # rows of the log that must agree before a run is stopped
MIN_DIVERSITY = 0.15  # relative to real images; a trial that saturated ended at 0.19
MAX_ACCURACY = 0.999  # above it on real and generated images, D gives G no useful gradient


class TrainingFailedError(CatganError):
    """Training diverged or collapsed. The last checkpoint is from before that was certain."""

    exit_code = 3


class Guard:
    """Watches the rows of a run's log and the tensors of its checkpoints."""

    def __init__(self, run: RunDirectory) -> None:
        self.run = run
        rows = [row for row in run.rows() if set(LOGGED_METRICS) <= set(row)]
        self.recent = deque(rows, maxlen=ROWS_WATCHED)

    def check_finite(self, tensors: Iterable[Tensor], what: str, images: int) -> None:
        """Raise `TrainingFailedError` if a number is NaN or infinite."""
        if not all(torch.isfinite(tensor).all() for tensor in tensors):
            raise self._diverged(what, images)

    def _diverged(self, what: str, images: int) -> TrainingFailedError:
        return TrainingFailedError(
            f"{self.run.path}: training diverged before {images} images: {what} are not "
            "finite; earlier checkpoints stay: start a new run with lower "
            "optimizer.*_learning_rate, or with --set training.precision=float32"
        )

    def watch(self, row: dict[str, Any]) -> None:
        """Add the next log row; raise `TrainingFailedError` if the rows show a failure."""
        images = row["images"]
        not_finite = [name for name in LOGGED_METRICS if not math.isfinite(row[name])]
        if not_finite:
            raise self._diverged(f"values of the log ({', '.join(not_finite)})", images)
        self.recent.append(row)
        if images < WARMUP_IMAGES or len(self.recent) < ROWS_WATCHED:
            return
        if max(row["diversity"] for row in self.recent) < MIN_DIVERSITY:
            raise TrainingFailedError(
                f"{self.run.path}: training collapsed: for {ROWS_WATCHED} rows up to {images} "
                f"images, generated images differed less than {MIN_DIVERSITY:.0%} as much as "
                "real ones; earlier checkpoints stay (--checkpoint best): start a new run with "
                "lower optimizer.discriminator_learning_rate, or more loss.penalty"
            )
        recent_accuracies = (
            row[m] for row in self.recent for m in ("real_accuracy", "generated_accuracy")
        )
        if min(recent_accuracies) > MAX_ACCURACY:
            raise TrainingFailedError(
                f"{self.run.path}: training collapsed: for {ROWS_WATCHED} rows up to {images} "
                "images, the discriminator was never wrong, so the generator learns nothing; "
                "earlier checkpoints stay (--checkpoint best): start a new run with higher "
                "optimizer.generator_learning_rate, or more loss.penalty"
            )


def measure(
    config: LossConfig,
    losses: Tensor,
    real_logits: Tensor,
    generated_logits: Tensor,
    real: Tensor,
    generated: Tensor,
) -> tuple[list[Tensor], Tensor]:
    """Return the `LOGGED_METRICS` of a step over the whole batch of all processes.

    Also returns the mean logit of the generated images. `losses` (2,) are those of D and G,
    `real_logits` and `generated_logits` have shape (B, K[, P]), `real` and `generated` are images
    (B, 3, H, W), all of this process's slice.
    """
    losses, real_logits, generated_logits, real, generated = gather_batch(
        [losses[None], real_logits, generated_logits, downsample(real), downsample(generated)]
    )
    relative_diversity = diversity(generated) / diversity(real).clamp_min(1e-4)
    correct = accuracies(config.discriminator, real_logits, generated_logits)
    return [*losses.mean(0), *correct, relative_diversity], generated_logits.mean()


def accuracies(kind: str, real: Tensor, generated: Tensor) -> list[Tensor]:
    """Return the fractions of real and of generated logits (B, K[, P]) on the correct side.

    A relativistic discriminator has no absolute threshold; the midpoint between the two means is
    used.
    """
    threshold = torch.full_like(real[0], 0.5 if kind == "mse" else 0.0)
    if kind == "relativistic":
        threshold = (real.mean(0) + generated.mean(0)) / 2
    return [(real > threshold).float().mean(), (generated <= threshold).float().mean()]


def downsample(images: Tensor) -> Tensor:
    """Downsample images (B, 3, H, W) to (B, 3, 8, 8)."""
    return F.adaptive_avg_pool2d(images, DIVERSITY_SIDE)


def diversity(low_res: Tensor) -> Tensor:
    """Return how much downsampled images differ: a pixel's standard deviation over the batch."""
    return low_res.std(0).mean()
