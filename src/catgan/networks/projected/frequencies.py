"""What a frozen network is blind to, given to the discriminator: the finest patterns, and colors.

An ImageNet network halves the image's side in its first layer, without a filter, so a line of three
pixels' period looks to it as one of six would. A generator that is judged by nothing else learns to
draw such lines, and its fur and backgrounds are woven of them. The frequencies of small blocks of
pixels, the transform of JPEG (Ahmed et al., "Discrete Cosine Transform", 1974), hide nothing, and
each brought to one deviation over real images shows the faint fine ones as well as the strong
coarse ones. Of brightness, contrast and color themselves such a network tells little: it was
trained to name what it sees in any light.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of a frequency, beside 1 of a projected channel. With 1 the discriminator wins by the finest
# frequencies before the generator has any shape (`docs/research/trials.md`).
DEVIATION = 0.15


class Frequencies(nn.Module):
    """Images (B, 3, H, W) -> (B, 3 block ** 2, H / block, W / block), DEVIATION over `reals`.

    Nothing in it is trained; the scales found in `reals` are part of the state. Without `reals`
    they are to be loaded.
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
        scale = DEVIATION / std.clamp_min(1e-6)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", -mean * scale)

    def forward(self, images: Tensor) -> Tensor:
        """In float32: the finest frequencies are smaller than bfloat16's steps of a pixel."""
        with torch.autocast(images.device.type, enabled=False):
            scaled = self._frequencies(images.float()) * self.scale + self.shift
            return scaled.flatten(3).permute(0, 3, 1, 2)

    def _frequencies(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H / block, W / block, C, block ** 2)."""
        pixels = images.permute(0, 2, 3, 1)
        blocks = pixels.unflatten(2, (-1, self.block)).unflatten(1, (-1, self.block))
        return blocks.permute(0, 1, 3, 5, 2, 4).flatten(4) @ self.transform.T


class Colors(nn.Module):
    """Images (B, 3, H, W) -> (B, 48, side, side): of each place the colors of 4 x 4 parts.

    Each is brought to mean 0 and deviation 1 over `reals`; nothing in it is trained. Without
    `reals` the scales are to be loaded.
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
        """In float32, as the frequencies."""
        with torch.autocast(images.device.type, enabled=False):
            return self._colors(images.float()) * self.scale + self.shift

    def _colors(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(F.adaptive_avg_pool2d(images, 4 * self.side), 4)


def cosine_transform(block: int) -> Tensor:
    """The orthonormal DCT-II of block x block pixels, as a matrix (block ** 2, block ** 2)."""
    place, frequency = torch.arange(block) + 0.5, torch.arange(block)
    line = math.sqrt(2 / block) * torch.cos(math.pi / block * frequency[:, None] * place)
    line[0] /= math.sqrt(2)
    return torch.kron(line, line)
