"""How far the discriminator overfits to its training images: ADA's heuristic r_v.

Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, eq. 1.
Held-out real images get the logits of training images from a discriminator that generalizes, and
the logits of generated images from one that has memorized.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from catgan.data.dataset.dataset import Dataset
from catgan.networks.base import BaseDiscriminator
from catgan.networks.projected.discriminator import Discriminator
from catgan.networks.projected.generator import PIXEL_RANGE
from catgan.training import distributed

MAX_IMAGES = 64  # per split; their features stay in memory
_CHUNK = 8  # images per pass of the frozen backbone


class OverfittingMonitor:
    """Measures r_v on the first training and held-out images of a dataset, without augmentation.

    Only for discriminators without batch normalization, those of the projected family: in the
    others a batch of other images would change the logits, and the run itself. Only on the main
    process.
    """

    def __init__(
        self,
        dataset: Dataset,
        discriminator: BaseDiscriminator,
        discriminate: Callable[[list[Tensor]], Tensor],
        device: torch.device,
    ) -> None:
        self.discriminate, self.device = discriminate, device
        self.features: tuple[list[Tensor], list[Tensor]] | None = None
        if not isinstance(discriminator, Discriminator) or not distributed.world().is_main_process:
            return
        train, held_out = (dataset.indices(split)[:MAX_IMAGES] for split in ("train", "holdout"))
        if len(held_out):
            self.features = (
                self._features(discriminator, dataset.images[train]),
                self._features(discriminator, dataset.images[held_out]),
            )

    @torch.no_grad()
    def _features(self, discriminator: Discriminator, images: np.ndarray) -> list[Tensor]:
        low, high = PIXEL_RANGE
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(self.device)
        chunks = (low + pixels.float() * ((high - low) / 255)).split(_CHUNK)
        chunk_features = [discriminator.features(chunk) for chunk in chunks]
        return [torch.cat(maps) for maps in zip(*chunk_features, strict=True)]

    @torch.no_grad()
    def measure(self, generated_logit: float) -> dict[str, float]:
        """Return what to add to a log row: {"overfitting": r_v}.

        `generated_logit` is the mean over the last batch's generated images. Returns {} if no
        images are held out, or if training images do not get higher logits than generated ones,
        where the ratio is meaningless.
        """
        if self.features is None:
            return {}
        real, held_out = (self.discriminate(maps).mean().item() for maps in self.features)
        ratio = overfitting(real, generated_logit, held_out)
        return {} if ratio is None else {"overfitting": ratio}


def overfitting(real: float, generated: float, held_out: float) -> float | None:
    """Return r_v = (real - held_out) / (real - generated), from the mean logit of each kind.

    0: held-out images look as real as training images; 1: no more real than generated ones. None
    unless training images have the higher logits.
    """
    return (real - held_out) / (real - generated) if real > generated else None
