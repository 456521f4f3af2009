"""What the DCGAN-shaped families share: how wide each stage is, and how weights begin."""

from __future__ import annotations

from torch import nn

COARSEST_SIDE = 4


def stage_channels(resolution: int, channels: int, maximum_channels: int) -> list[int]:
    """Channels of the feature maps from side `resolution / 2` down to 4, finest first."""
    stages = (resolution // COARSEST_SIDE).bit_length() - 1
    return [min(channels * 2**stage, maximum_channels) for stage in range(stages)]


def initialise(module: nn.Module) -> None:
    """DCGAN's start: weights from N(0, 0.02), batch normalisation gains from N(1, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
