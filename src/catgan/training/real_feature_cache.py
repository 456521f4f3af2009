"""What a frozen network sees in the real images, looked at once for all epochs.

Real images come again and again. Where they are at most mirrored in front of the discriminator
there are two of each, and with `augment.views` there are so many: so a step need not look at any,
which is the slower the larger the network.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import psutil
import torch
from torch import Tensor, nn

from catgan.config import AugmentConfig
from catgan.networks.projected.discriminator import Discriminator
from catgan.networks.projected.projection import CHANNELS, STRIDES
from catgan.training.augment import views_of_each

MAX_BYTES = 2**32  # on one machine, of whose memory it takes at most a quarter
# Of the views. Looked at in groups an image takes up to 1.24 times as long as in a whole batch
# (bfloat16, one thread of an EPYC of 2024, 2026-11-25), so where less than a fifth is remembered it
# is quicker to remember none.
MIN_SHARE = 0.25
CHUNK_SIZE = 8  # looked at; one by one each would take far longer than in a batch


class RealFeatureCache:
    """`features` of training images, of whose views a projected discriminator looks at each once.

    It remembers the projected maps, of the first views where there is no room for all. Images are
    always looked at in groups of one size, so what is seen in one does not depend on how many are
    new or remembered, and a resumed run, which has forgotten them all, sees the same.
    Discriminators of pixels have nothing to remember; on a GPU looking is cheap and memory is not.
    """

    def __init__(
        self, discriminator: nn.Module, config: AugmentConfig, images: int, device: torch.device
    ) -> None:
        self.extract_features: Callable[[Tensor], list[Tensor]] = discriminator.features  # type: ignore[assignment]
        self.projected: Discriminator | None = None
        views = views_of_each(config)
        if not isinstance(discriminator, Discriminator) or device.type != "cpu" or not views:
            return
        projection, count = discriminator.projection, views * images
        sides = [projection.side // stride for stride in STRIDES]
        shapes = [(side, side, width) for side, width in zip(sides, CHANNELS, strict=True)]
        bytes_a_view = sum(map(math.prod, shapes)) * projection.precision.itemsize
        # Each process of a machine keeps what it has seen itself.
        room = min(MAX_BYTES, psutil.virtual_memory().total // 4)
        room //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        kept = min(count, room // bytes_a_view)
        if kept >= MIN_SHARE * count:
            self.projected = discriminator
            self.known = torch.zeros(count, dtype=torch.bool)
            self.maps = [torch.empty(kept, *shape, dtype=projection.precision) for shape in shapes]

    def features(self, pictures: Tensor, names: Tensor | None) -> list[Tensor]:
        """What is seen of `pictures`, (B, 3, H, W), as they come from `augment_reals`.

        `names` (B,) are those of views of training images; None for generated images.
        """
        if names is None or self.projected is None:
            return self.extract_features(pictures)
        room = len(self.maps[0])
        seen = [kept[names.clamp(max=room - 1)] for kept in self.maps]  # of new ones, anything yet
        new = (~self.known[names]).nonzero().flatten()
        for first in range(0, len(new), CHUNK_SIZE):
            group = new[first : first + CHUNK_SIZE]
            filled = group[torch.arange(CHUNK_SIZE) % len(group)]  # with some of it again
            looked = self.projected.projection(pictures[filled])
            for maps, projected in zip(seen, looked, strict=True):
                maps[group] = projected[: len(group)].permute(0, 2, 3, 1)
        new = new[names[new] < room]
        for maps, kept in zip(seen, self.maps, strict=True):
            kept[names[new]] = maps[new]
        self.known[names[new]] = True
        return self.projected.with_pixels([maps.permute(0, 3, 1, 2) for maps in seen], pictures)
