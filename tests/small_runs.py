"""A tiny run of each family, made without training: random weights, statistics of one batch."""

from __future__ import annotations

import dataclasses

import torch

from catgan.config import load_recipe, override
from catgan.networks.build import build_discriminator, build_generator
from catgan.runs.checkpoint import MetricState
from catgan.runs.directory import RunDirectory

TINY = [
    "network.resolution=32",
    "network.channels=8",
    "network.maximum_channels=32",
    "network.latent_size=8",
]
FACTS = {
    "dataset": {
        "name": "procedural-cats",
        "to train on": 60,
        "license": "CC BY-NC 4.0",
        "credit": "Someone <who@draws>",
        "identity": "0" * 64,
    },
    "machine": {},
}


def make_run(path, recipe, images=64, spoil=False, settings=()):
    """A run directory with one checkpoint; `spoil` puts one NaN into its weights."""
    config = override(load_recipe(recipe), [*TINY, *settings])
    torch.manual_seed(0)
    side = config.network.resolution
    patches = torch.nn.functional.interpolate(torch.rand(24, 3, 4, 4) - 0.5, side)
    generator = build_generator(config.network, [patches])
    with torch.no_grad():
        for _ in range(3):
            generator(torch.randn(64, config.network.latent_size))
        if config.network.family != "projected":  # as if trained to some contrast
            generator.layers[-2].weight *= 200
        for refinement in getattr(generator, "refinements", ()):  # and some details
            torch.nn.init.normal_(refinement.to_rgb.weight, 0, 0.1)
        if config.network.family == "projected" and config.network.coefficient_correction:
            for buffer in generator.eigenfaces.correction.buffers():  # as if learned
                torch.nn.init.normal_(buffer, 0, 0.2)
        if config.network.family == "projected" and config.network.mirrored_eye:
            for buffer in generator.mirrored_eye.buffers():
                torch.nn.init.normal_(buffer, 0, (buffer[0].numel() or 1) ** -0.5)
        if spoil:
            next(generator.parameters()).view(-1)[0] = torch.nan
    run = RunDirectory.create(path, config, FACTS)
    weights = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    discriminator = build_discriminator(config.network, None, torch.float32).state_dict()
    parts = {
        "generator": weights, "ema": weights, "discriminator": discriminator,
        "optimizer": {"weight": torch.zeros(1)},
    }  # fmt: skip
    run.checkpoints.save(images, dataclasses.asdict(config), MetricState([], 0), parts, keep=1)
    return path
