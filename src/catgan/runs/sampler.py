"""Images from a trained generator, a pure function of its weights and the seed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catgan.config import Config, from_table
from catgan.errors import CatganError, quoted
from catgan.generation.checks import check_latents, check_truncation
from catgan.generation.latents import latents
from catgan.generation.seeds import check_seeds
from catgan.network_config import NetworkConfig
from catgan.networks.base import BaseGenerator
from catgan.networks.build import build_generator, pixel_range
from catgan.networks.truncation import mean_style, synthesize_truncated
from catgan.runs.artifact_weights import weights_sha256
from catgan.runs.checkpoint import Checkpoint
from catgan.runs.directory import RunDirectory

# Images are always generated in batches of this size (the last is padded). So the kernels that run,
# and the last bits of an image, do not depend on the number of images.
BATCH_SIZE = 16
CALIBRATION_SEEDS = range(1_000_000, 1_001_024)  # disjoint from the seeds that are scored
MEAN_STYLE_SAMPLES = 4096  # seeds from 0 that the mean style is computed from


class Sampler:
    """Generates images: seeds -> uint8 (N, resolution, resolution, 3)."""

    def __init__(
        self, generator: BaseGenerator, config: NetworkConfig, device: torch.device
    ) -> None:
        self.generator = generator
        self.config = config
        self.device = device
        self._calibrated_at = 0  # untrained weights need no calibration

    def __call__(
        self,
        seeds: Sequence[int] | np.ndarray,
        on_progress: Callable[[int], None] | None = None,
        truncation: float = 1.0,
    ) -> np.ndarray:
        """Return one image per seed, independent of the other seeds.

        `on_progress` gets the number of images done.
        """
        return self.synthesize(self.latents(seeds), truncation, on_progress)

    def calibrated(self, images: int, precision: AbstractContextManager[Any]) -> Sampler:
        """Calibrate the generator, once per number of `images` seen, and return the sampler.

        Only weights that are still being averaged need this: a saved generator is calibrated.
        `precision` is the autocast context to compute in; it does not need full precision.
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
        """Return the latents of `seeds`, float32 (N, latent_size).

        Raises:
            CatganError: `seeds` is not a list of valid seeds.
        """
        return latents(check_seeds(seeds), self.config.latent_size)

    @torch.no_grad()
    def synthesize(
        self,
        z: np.ndarray,
        truncation: float = 1.0,
        on_progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Return one image per row of latents `z` (N, latent_size).

        `truncation` from 0 to 1: 1 is the generator as trained, lower values reduce diversity, and
        0 gives the mean image.

        Raises:
            CatganError: `truncation` is out of range, or `z` has another shape or type, or is not
                finite.
        """
        truncation, z = check_truncation(truncation), check_latents(z, self.config.latent_size)
        training = self.generator.training
        self.generator.eval()
        low, high = pixel_range(self.config)
        side = self.config.resolution
        images = np.empty((len(z), side, side, 3), np.uint8)
        mean = self.mean_style() if truncation < 1 else torch.zeros(1, device=self.device)
        for start in range(0, len(z), BATCH_SIZE):
            batch = torch.from_numpy(z[start : start + BATCH_SIZE])
            padded = torch.cat([batch, batch.new_zeros(BATCH_SIZE - len(batch), batch.shape[1])])
            pixels = synthesize_truncated(self.generator, padded.to(self.device), truncation, mean)
            images[start : start + BATCH_SIZE] = to_uint8(pixels, low, high)[: len(batch)]
            if on_progress:
                on_progress(start + len(batch))
        self.generator.train(training)
        return images

    def mean_style(self) -> Tensor:
        """Return the style that truncation pulls toward, (1, style_size)."""
        z = self.latents(range(MEAN_STYLE_SAMPLES))
        return mean_style(self.generator, torch.from_numpy(z).to(self.device))


def to_uint8(pixels: Tensor, low: float, high: float) -> np.ndarray:
    """Convert (B, 3, H, W) in [low, high] to (B, H, W, 3) uint8, rounded to nearest."""
    scaled = (pixels.float() - low) * (255 / (high - low))
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()


def load_sampler(
    run: str | os.PathLike[str],
    device: torch.device,
    note: Callable[[str], None],
    checkpoint: str | int = "latest",
) -> Sampler:
    """Return a sampler of the EMA generator of a run.

    `note` gets a line for each corrupt checkpoint that is skipped.

    Raises:
        CatganError: `run` is not a run, or has no valid checkpoint of that name.
    """
    if not isinstance(run, str | os.PathLike):
        raise CatganError(f"expected the path of a run, got {quoted(run)}: pass its directory")
    loaded = RunDirectory.open(Path(run)).checkpoints.load(str(checkpoint), note, ["ema"])
    return restored_sampler(loaded, device)[0]


def restored_sampler(loaded: Checkpoint, device: torch.device) -> tuple[Sampler, Config]:
    """Return a sampler of a checkpoint's EMA generator, and the configuration of its run."""
    config = from_table(loaded.config, str(loaded.path))
    generator = build_generator(config.network)
    loaded.restore({"ema": generator}, players={})
    generator = generator.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Sampler(generator, config.network, device), config
