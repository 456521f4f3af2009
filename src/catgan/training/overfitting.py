"""How far a discriminator knows its training images by heart: ADA's heuristic r_v.

Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, eq. 1.
Real images that were held out get the logits of training images from a discriminator that has
learned what is common to them, and those of generated images from one that has memorized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from catgan.data.dataset import Dataset
from catgan.networks.projected import PIXEL_RANGE, Discriminator

MAX_HELD_OUT = 64  # images; their features stay in memory
_CHUNK = 8  # of them through the frozen network at once


class OverfittingMonitor:
    """Measures r_v on the held-out images of a dataset.

    Only for discriminators without batch normalization, those of the projected family: in the
    others a batch of other images would change what is measured, and the run itself.
    """

    def __init__(
        self,
        dataset: Dataset,
        discriminator: nn.Module,
        logits: Callable[[list[Tensor]], Tensor],
        device: torch.device,
    ) -> None:
        self.logits = logits
        self.features: list[Tensor] | None = None
        chosen = dataset.indices("holdout")[:MAX_HELD_OUT]
        if not len(chosen) or not isinstance(discriminator, Discriminator):
            return
        low, high = PIXEL_RANGE
        pixels = torch.from_numpy(dataset.images[chosen]).permute(0, 3, 1, 2)
        chunks = (low + pixels.float() * ((high - low) / 255)).to(device).split(_CHUNK)
        with torch.no_grad():
            seen = [discriminator.features(chunk) for chunk in chunks]
        self.features = [torch.cat(maps) for maps in zip(*seen, strict=True)]

    @torch.no_grad()
    def measure(self, row: dict[str, Any]) -> dict[str, float]:
        """Return what a row of the log is to say besides: {"overfitting": r_v}.

        {} where nothing is held out, and where the discriminator tells training images from
        generated ones so little that the ratio means nothing.
        """
        if self.features is None:
            return {}
        held_out = self.logits(self.features).mean().item()
        ratio = overfitting(row["real_logit"], row["generated_logit"], held_out)
        return {} if ratio is None else {"overfitting": ratio}


def overfitting(real: float, generated: float, held_out: float) -> float | None:
    """Return r_v = (real - held out) / (real - generated), of the mean logit of each kind of image.

    0: held-out images look as real as training images; 1: no more real than generated ones. None
    unless training images have the higher logits.
    """
    return (real - held_out) / (real - generated) if real > generated else None
