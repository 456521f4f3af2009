"""What is measured at every step, averaged from one row of the log to the next."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from catgan.runs.checkpoint import MetricState
from catgan.runs.device import memory_mib
from catgan.runs.log import LOGGED_METRICS


class MetricAverager:
    """Sums of the measures since the last row, and the time that their steps took."""

    def __init__(self, device: torch.device, batch_size: int) -> None:
        self.device, self.batch_size = device, batch_size
        self.sums, self.steps = torch.zeros(len(LOGGED_METRICS), device=device), 0
        self.steps_timed, self.seconds = 0, 0.0

    def restore(self, window: MetricState) -> None:
        """Go on from what a checkpoint holds, unless that is of other measures.

        The time of its steps is not known.
        """
        if len(window.sums) == len(LOGGED_METRICS):
            self.sums, self.steps = torch.tensor(window.sums, device=self.device), window.steps

    def window(self) -> MetricState:
        """What a checkpoint needs to hold."""
        return MetricState(self.sums.tolist(), self.steps)

    @torch.no_grad()
    def add(self, measures: list[Tensor], seconds: float) -> None:
        """Count one step: its measures in the order of `LOGGED_METRICS`, and its time."""
        self.sums += torch.stack(measures)
        self.steps, self.steps_timed = self.steps + 1, self.steps_timed + 1
        self.seconds += seconds

    def row(self, images: int) -> dict[str, Any]:
        """The row of the log after `images` images; counting begins anew."""
        means = [total / self.steps for total in self.sums.tolist()]
        row: dict[str, Any] = {"images": images, **dict(zip(LOGGED_METRICS, means, strict=True))}
        row["machine"] = {  # what a repetition of the run need not repeat
            "images_per_second": round(self.steps_timed * self.batch_size / self.seconds, 2),
            "memory_mib": memory_mib(self.device),
            "unix_time": round(time.time(), 1),
        }
        self.sums, self.steps = torch.zeros_like(self.sums), 0
        self.steps_timed, self.seconds = 0, 0.0
        return row
