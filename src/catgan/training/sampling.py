"""Images from a trained generator: a pure function of its weights and the seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from catgan.config import NetworkConfig, from_table
from catgan.generation.latents import latents
from catgan.networks.build import build_generator, pixel_range
from catgan.training.run_directory import RunDirectory

# Images are always drawn in portions of this many, the last one filled up, so that the kernels a
# processor picks, and with them the last bits, do not depend on how many were asked for.
PORTION = 16


class Sampler:
    """Draws cats: seeds -> uint8 images (N, resolution, resolution, 3)."""

    def __init__(self, generator: nn.Module, config: NetworkConfig, device: torch.device) -> None:
        self.generator = generator
        self.config = config
        self.device = device

    def __call__(
        self, seeds: Sequence[int] | np.ndarray, on_progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """One image a seed, the same whatever the other seeds; `on_progress` gets the count."""
        return self.synthesise(latents(seeds, self.config.latent_size), on_progress)

    @torch.no_grad()
    def synthesise(
        self, z: np.ndarray, on_progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """One image for each row of latents `z` (N, latent_size)."""
        training = self.generator.training
        self.generator.eval()
        low, high = pixel_range(self.config)
        side = self.config.resolution
        images = np.empty((len(z), side, side, 3), np.uint8)
        for start in range(0, len(z), PORTION):
            part = torch.from_numpy(z[start : start + PORTION].astype(np.float32))
            filled = torch.cat([part, part.new_zeros(PORTION - len(part), part.shape[1])])
            pixels = self.generator(filled.to(self.device))
            images[start : start + PORTION] = to_uint8(pixels, low, high)[: len(part)]
            if on_progress:
                on_progress(start + len(part))
        self.generator.train(training)
        return images


def to_uint8(pixels: Tensor, low: float, high: float) -> np.ndarray:
    """(B, 3, H, W) in [low, high] -> (B, H, W, 3) uint8, rounded to the nearest."""
    scaled = (pixels.float() - low) * (255 / (high - low))
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def load_sampler(
    run: Path, device: torch.device, note: Callable[[str], None], checkpoint: str = "latest"
) -> Sampler:
    """The averaged (EMA) generator of a run; `CatganError` for a damaged or foreign one."""
    directory = RunDirectory.open(run)
    loaded = directory.checkpoints.load(checkpoint, note)
    config = from_table(loaded.config, str(loaded.path)).network
    generator = build_generator(config)
    loaded.restore({"ema": generator}, players={})
    generator = generator.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Sampler(generator, config, device)
