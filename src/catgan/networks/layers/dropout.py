"""Dropout (Srivastava et al., JMLR 2014) with fast random masks.

On a CPU, torch samples a mask one element at a time, which took most of the forward pass of
dcgan-128's discriminator. Here each random 64-bit number decides eight elements.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero elements with a probability (to the nearest 1/256), scale the rest to keep the mean.

    Takes (B, C, H, W), best in channels-last memory. It uses torch's global generator, which the
    training loop seeds anew at every step. With `world`, (rank, processes), it samples the mask of
    the whole batch of all processes and takes this process's slice.
    """

    world = (0, 1)

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.threshold = round(256 * probability)

    def extra_repr(self) -> str:
        """Return the probability, for the printed layer table."""
        return f"probability={self.threshold / 256:.4g}"

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  # the name torch's layers give it
        """Drop elements while training, return the input otherwise."""
        if not self.training or self.threshold == 0:
            return input
        (rank, processes), size = self.world, input.numel()
        numbers = torch.empty(-(-size * processes // 8), dtype=torch.int64, device=input.device)
        numbers.random_(-(2**63), None)
        own_bytes = numbers.view(torch.uint8)[rank * size : (rank + 1) * size]
        kept = own_bytes >= self.threshold
        batch, channels, height, width = input.shape
        mask = kept.view(batch, height, width, channels).permute(0, 3, 1, 2).to(input.dtype)
        return input * mask.mul_(256 / (256 - self.threshold))
