"""What a frozen backbone misses, given to the discriminator: the finest patterns, and colors.

An ImageNet network halves the image's side in its first layer without a filter, so it cannot tell
lines of three pixels' period from lines of six. A generator trained against nothing else learns to
make such lines and builds fur and backgrounds from them. The discrete cosine transform of small
blocks, as in JPEG (Ahmed et al., "Discrete Cosine Transform", 1974), loses nothing. With every
frequency scaled to the same standard deviation over real images, it shows the faint fine ones as
clearly as the strong coarse ones. The backbone also carries little information on brightness,
contrast and color: it was trained to classify under any light.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Standard deviation of each frequency; a projected channel has 1. With 1 here, too, the
# discriminator wins by the finest frequencies before the generator has any shape
# (`docs/research/trials.md`).
FREQUENCY_STD = 0.15


class Frequencies(nn.Module):
    """Map images (B, 3, H, W) to DCT coefficients (B, 3 block ** 2, H / block, W / block).

    Each has mean 0 and standard deviation `FREQUENCY_STD` over `reals`. Nothing is trained; the
    scales computed from `reals` are part of the state. Without `reals` they must be loaded.
    """

    transform: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, block: int, reals: Tensor | None) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("transform", cosine_transform(block), persistent=False)
        std, mean = torch.ones(3, block**2), torch.zeros(3, block**2)
        if reals is not None:
            std, mean = torch.std_mean(self._frequencies(reals.float()), dim=(0, 1, 2))
        scale = FREQUENCY_STD / std.clamp_min(1e-6)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", -mean * scale)

    def forward(self, images: Tensor) -> Tensor:
        """Return the coefficients, float32: bfloat16 steps would hide the finest frequencies."""
        with torch.autocast(images.device.type, enabled=False):
            scaled = self._frequencies(images.float()) * self.scale + self.shift
            return scaled.flatten(3).permute(0, 3, 1, 2)

    def _frequencies(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H / block, W / block, C, block ** 2)."""
        pixels = images.permute(0, 2, 3, 1)
        blocks = pixels.unflatten(2, (-1, self.block)).unflatten(1, (-1, self.block))
        return blocks.permute(0, 1, 3, 5, 2, 4).flatten(4) @ self.transform.T


class Colors(nn.Module):
    """Map images (B, 3, H, W) to mean colors (B, 48, side, side).

    The 48 channels are the colors of the 4 x 4 cells of each position. Each is normalized to mean 0
    and standard deviation 1 over `reals`; nothing is trained. Without `reals` the scales must be
    loaded.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, side: int, reals: Tensor | None) -> None:
        super().__init__()
        self.side = side
        std, mean = torch.ones(1, 48, 1, 1), torch.zeros(1, 48, 1, 1)
        if reals is not None:
            std, mean = torch.std_mean(self._colors(reals.float()), dim=(0, 2, 3), keepdim=True)
        scale = 1 / std.clamp_min(1e-6)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", -mean * scale)

    def forward(self, images: Tensor) -> Tensor:
        """Compute in float32, as for the frequencies."""
        with torch.autocast(images.device.type, enabled=False):
            return self._colors(images.float()) * self.scale + self.shift

    def _colors(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(F.adaptive_avg_pool2d(images, 4 * self.side), 4)


def cosine_transform(block: int) -> Tensor:
    """Return the orthonormal DCT-II of block x block pixels, a matrix (block ** 2, block ** 2)."""
    position, frequency = torch.arange(block) + 0.5, torch.arange(block)
    basis = math.sqrt(2 / block) * torch.cos(math.pi / block * frequency[:, None] * position)
    basis[0] /= math.sqrt(2)
    return torch.kron(basis, basis)
