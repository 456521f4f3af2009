"""Images from a trained generator: a pure function of its weights and the seed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catgan.config import Config, NetworkConfig, from_table
from catgan.errors import CatganError, quoted
from catgan.generation.checks import check_latents, check_truncation
from catgan.generation.latents import latents
from catgan.generation.seeds import check_seeds
from catgan.networks.base import BaseGenerator
from catgan.networks.build import build_generator, pixel_range
from catgan.networks.truncation import draw, mean_style
from catgan.runs.artifact_weights import weights_sha256
from catgan.runs.checkpoint import Checkpoint
from catgan.runs.directory import RunDirectory

# Images are always drawn in portions of this many, the last one filled up, so that the kernels a
# processor picks, and with them the last bits, do not depend on how many were asked for.
BATCH_SIZE = 16
CALIBRATION_SEEDS = range(1_000_000, 1_001_024)  # none of those that are scored
SEEDS_OF_THE_MEAN = 4096  # from 0 on, over which the mean style is taken


class Sampler:
    """Draws cats: seeds -> uint8 images (N, resolution, resolution, 3)."""

    def __init__(
        self, generator: BaseGenerator, config: NetworkConfig, device: torch.device
    ) -> None:
        self.generator = generator
        self.config = config
        self.device = device
        self._calibrated_at = 0  # before training there is nothing to find

    def __call__(
        self,
        seeds: Sequence[int] | np.ndarray,
        on_progress: Callable[[int], None] | None = None,
        truncation: float = 1.0,
    ) -> np.ndarray:
        """One image a seed, the same whatever the other seeds; `on_progress` gets the count."""
        return self.synthesize(self.latents(seeds), truncation, on_progress)

    def calibrated(self, images: int, precision: AbstractContextManager[Any]) -> Sampler:
        """Itself, after the generator has measured what it draws with, once at so many `images`.

        In `precision`, a context, as that is enough for it. For weights that are still averaged: a
        saved generator is settled.
        """
        if self._calibrated_at != images:
            with precision:
                z = torch.from_numpy(self.latents(CALIBRATION_SEEDS))
                self.generator.calibrate(z.to(self.device))
            self._calibrated_at = images
        return self

    @property
    def resolution(self) -> int:
        """Side of the square images in pixels."""
        return self.config.resolution

    @property
    def latent_size(self) -> int:
        """The length of a latent vector."""
        return self.config.latent_size

    @property
    def sha256(self) -> str:
        """The checksum of the weights, by which a file of latents knows its generator."""
        return weights_sha256(
            {name: tensor.cpu() for name, tensor in self.generator.state_dict().items()}
        )

    def latents(self, seeds: Sequence[int] | np.ndarray) -> np.ndarray:
        """The seeds' noise, float32 (N, latent_size).

        Raises `CatganError` for what is no list of seeds.
        """
        return latents(check_seeds(seeds), self.config.latent_size)

    @torch.no_grad()
    def synthesize(
        self,
        z: np.ndarray,
        truncation: float = 1.0,
        on_progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """One image for each row of latents `z` (N, latent_size).

        `truncation`: 1 is the generator as it was trained, less is less variety, 0 the mean image.
        Raises `CatganError` for a truncation out of range, and for latents of another shape or
        type, or that are not finite.
        """
        truncation, z = check_truncation(truncation), check_latents(z, self.config.latent_size)
        training = self.generator.training
        self.generator.eval()
        low, high = pixel_range(self.config)
        side = self.config.resolution
        images = np.empty((len(z), side, side, 3), np.uint8)
        mean = self.mean_style() if truncation < 1 else torch.zeros(1, device=self.device)
        for start in range(0, len(z), BATCH_SIZE):
            part = torch.from_numpy(z[start : start + BATCH_SIZE])
            filled = torch.cat([part, part.new_zeros(BATCH_SIZE - len(part), part.shape[1])])
            pixels = draw(self.generator, filled.to(self.device), truncation, mean)
            images[start : start + BATCH_SIZE] = to_uint8(pixels, low, high)[: len(part)]
            if on_progress:
                on_progress(start + len(part))
        self.generator.train(training)
        return images

    def mean_style(self) -> Tensor:
        """The style that truncation pulls toward, (1, style_size)."""
        z = self.latents(range(SEEDS_OF_THE_MEAN))
        return mean_style(self.generator, torch.from_numpy(z).to(self.device))


def to_uint8(pixels: Tensor, low: float, high: float) -> np.ndarray:
    """(B, 3, H, W) in [low, high] -> (B, H, W, 3) uint8, rounded to the nearest."""
    scaled = (pixels.float() - low) * (255 / (high - low))
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def load_sampler(
    run: str | os.PathLike[str],
    device: torch.device,
    note: Callable[[str], None],
    checkpoint: str | int = "latest",
) -> Sampler:
    """The averaged (EMA) generator of a run; `CatganError` for a damaged or foreign one."""
    if not isinstance(run, str | os.PathLike):
        raise CatganError(f"a run is opened by its path, not {quoted(run)}: name its directory")
    loaded = RunDirectory.open(Path(run)).checkpoints.load(str(checkpoint), note, ["ema"])
    return restored_sampler(loaded, device)[0]


def restored_sampler(loaded: Checkpoint, device: torch.device) -> tuple[Sampler, Config]:
    """The averaged generator of a checkpoint, and the configuration it was trained with."""
    config = from_table(loaded.config, str(loaded.path))
    generator = build_generator(config.network)
    loaded.restore({"ema": generator}, players={})
    generator = generator.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Sampler(generator, config.network, device), config
