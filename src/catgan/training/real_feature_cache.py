"""Cache the frozen backbone's features of real images for all epochs.

Real images recur in every epoch. If the only augmentation is mirroring, each has two views, and
with `augment.views` as many as that. So most steps need no backbone pass for real images, which
saves the more, the larger the backbone.
"""

from __future__ import annotations

import math
import os

import psutil
import torch
from torch import Tensor

from catgan.config import AugmentConfig
from catgan.networks.base import BaseDiscriminator
from catgan.networks.projected.discriminator import Discriminator
from catgan.training.augment import views_of_each

MAX_BYTES = 2**32  # per machine; and at most a quarter of its memory
# Fraction of the views. In groups an image takes up to 1.24 times as long as in a whole batch
# (bfloat16, one thread of an EPYC of 2024, 2026-11-25), so caching less than a fifth is slower than
# caching nothing.
MIN_CACHED_FRACTION = 0.25
CHUNK_SIZE = 8  # images per backbone pass; one at a time each would take far longer


class RealFeatureCache:
    """Frozen features of training images, computed once per view for projected discriminators.

    It caches the projected maps, of the first views only if there is not enough memory for all. The
    backbone always sees groups of one size, so an image's features do not depend on how many others
    are new or cached, and a resumed run, whose cache is empty, gets the same ones. Discriminators
    of pixels have nothing to cache; on a GPU a pass is cheap and memory is not.
    """

    def __init__(
        self,
        discriminator: BaseDiscriminator,
        config: AugmentConfig,
        count: int,
        device: torch.device,
    ) -> None:
        self.extract_features = discriminator.features
        self.discriminator: Discriminator | None = None
        views = views_of_each(config)
        if not isinstance(discriminator, Discriminator) or device.type != "cpu" or not views:
            return
        precision, total = discriminator.projection.precision, views * count
        shapes = discriminator.projected_shapes
        bytes_per_view = sum(map(math.prod, shapes)) * precision.itemsize
        # Each process of a machine has its own cache.
        max_bytes = min(MAX_BYTES, psutil.virtual_memory().total // 4)
        max_bytes //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        capacity = min(total, max_bytes // bytes_per_view)
        if capacity >= MIN_CACHED_FRACTION * total:
            self.discriminator = discriminator
            self.is_cached = torch.zeros(total, dtype=torch.bool)
            self.maps = [torch.empty(capacity, *shape, dtype=precision) for shape in shapes]

    def features(self, images: Tensor, view_ids: Tensor | None) -> list[Tensor]:
        """Return the features of `images` (B, 3, H, W), as augmented by `augment_reals`.

        `view_ids` (B,) are those of views of training images; None for generated images.
        """
        if view_ids is None or self.discriminator is None:
            return self.extract_features(images)
        capacity = len(self.maps[0])
        # Look up all rows of the batch; those of new views are overwritten below.
        batch_maps = [cache[view_ids.clamp(max=capacity - 1)] for cache in self.maps]
        new = (~self.is_cached[view_ids]).nonzero().flatten()
        for first in range(0, len(new), CHUNK_SIZE):
            rows = new[first : first + CHUNK_SIZE]
            padded = rows[torch.arange(CHUNK_SIZE) % len(rows)]  # repeats rows up to CHUNK_SIZE
            projected_maps = self.discriminator.projected(images[padded])
            for maps, projected in zip(batch_maps, projected_maps, strict=True):
                maps[rows] = projected[: len(rows)].permute(0, 2, 3, 1)
        new = new[view_ids[new] < capacity]
        for maps, cache in zip(batch_maps, self.maps, strict=True):
            cache[view_ids[new]] = maps[new]
        self.is_cached[view_ids[new]] = True
        return self.discriminator.with_pixels(
            [maps.permute(0, 3, 1, 2) for maps in batch_maps], images
        )
