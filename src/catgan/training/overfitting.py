"""How far a discriminator knows its training images by heart: ADA's heuristic r_v.

Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, eq. 1.
Real images that were held out get the logits of training images from a discriminator that has
learned what is common to them, and those of generated images from one that has memorized.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from catgan.data.dataset.dataset import Dataset
from catgan.networks.projected.discriminator import Discriminator
from catgan.networks.projected.generator import PIXEL_RANGE
from catgan.training import distributed

MAX_IMAGES = 64  # of each kind; their features stay in memory
_CHUNK = 8  # of them through the frozen network at once


class OverfittingMonitor:
    """Measures r_v on the first training and held-out images of a dataset, all as they are.

    Only for discriminators without batch normalization, those of the projected family: in the
    others a batch of other images would change what is measured, and the run itself. And only in
    the main process.
    """

    def __init__(
        self,
        dataset: Dataset,
        discriminator: nn.Module,
        logits: Callable[[list[Tensor]], Tensor],
        device: torch.device,
    ) -> None:
        self.logits, self.device = logits, device
        self.known: tuple[list[Tensor], list[Tensor]] | None = None
        if not isinstance(discriminator, Discriminator) or not distributed.world().is_main_process:
            return
        train, held_out = (dataset.indices(split)[:MAX_IMAGES] for split in ("train", "holdout"))
        if len(held_out):
            self.known = (
                self._features(discriminator, dataset.images[train]),
                self._features(discriminator, dataset.images[held_out]),
            )

    @torch.no_grad()
    def _features(self, discriminator: Discriminator, images: np.ndarray) -> list[Tensor]:
        low, high = PIXEL_RANGE
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(self.device)
        chunks = (low + pixels.float() * ((high - low) / 255)).split(_CHUNK)
        seen = [discriminator.features(chunk) for chunk in chunks]
        return [torch.cat(maps) for maps in zip(*seen, strict=True)]

    @torch.no_grad()
    def measure(self, generated_logit: float) -> dict[str, float]:
        """Return what a row of the log is to say besides: {"overfitting": r_v}.

        `generated_logit` is the mean of the last batch's generated images. {} where nothing is held
        out, and where the discriminator tells training images from generated ones so little that
        the ratio means nothing.
        """
        if self.known is None:
            return {}
        real, held_out = (self.logits(features).mean().item() for features in self.known)
        ratio = overfitting(real, generated_logit, held_out)
        return {} if ratio is None else {"overfitting": ratio}


def overfitting(real: float, generated: float, held_out: float) -> float | None:
    """Return r_v = (real - held out) / (real - generated), of the mean logit of each kind of image.

    0: held-out images look as real as training images; 1: no more real than generated ones. None
    unless training images have the higher logits.
    """
    return (real - held_out) / (real - generated) if real > generated else None
