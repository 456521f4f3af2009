"""DCGAN's initialization, which the classic families share."""

from __future__ import annotations

from torch import nn


def initialize(module: nn.Module) -> None:
    """Initialize as DCGAN: weights from N(0, 0.02), batch normalization gains from N(1, 0.02)."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
