"""What a run may start from: another run's generator, an exported file, or the bundled one.

`--resume` continues a run; this starts a new one with trained weights.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from catgan.config import from_table
from catgan.data.reading.sources import printable
from catgan.errors import CatganError, quoted
from catgan.generation.card import MAX_ANCESTORS, Ancestor, Card
from catgan.generation.generator import BUNDLED, load_generator
from catgan.network_config import NetworkConfig, ProjectedConfig
from catgan.networks.build import build_discriminator
from catgan.runs.artifact_weights import (
    checked_state,
    does_not_fit,
    read_weights,
    require_finite,
    shapes,
    shapes_of,
    weights_of_artifact,
    weights_sha256,
)
from catgan.runs.directory import RunDirectory, is_run

DISCRIMINATOR = "discriminator.safetensors"  # in the package, beside its generator
EYE_HEADS = "eye_heads."  # begins the names of their weights


@dataclass(frozen=True)
class StartingPoint:
    """Weights to start from.

    `network` is the configuration they fit. `generator` is the state of the EMA generator,
    `discriminator` that of a discriminator, if the source has one. `lineage` is the source, then
    what that was started from, and so on.
    """

    network: NetworkConfig
    generator: dict[str, Tensor]
    discriminator: dict[str, Tensor] | None
    lineage: list[Ancestor]

    @property
    def sha256(self) -> str:
        """Return the checksum of the weights."""
        return weights_sha256(self.generator, self.discriminator or {})

    @property
    def has_eye_heads(self) -> bool:
        """Whether the discriminator has them; that of the package lacks those of its network."""
        return any(name.startswith(EYE_HEADS) for name in self.discriminator or {})

    def adds_eye_heads(self, network: NetworkConfig) -> bool:
        """Return whether a run of `network` has eye heads that the discriminator lacks."""
        return _wants_eye_heads(network) and not self.has_eye_heads

    def drops_eye_heads(self, network: NetworkConfig) -> bool:
        """Return whether a run of `network` lacks the eye heads of the discriminator."""
        return self.has_eye_heads and not _wants_eye_heads(network)

    def discriminator_for(self, network: NetworkConfig) -> dict[str, Tensor] | None:
        """Return the discriminator state for a run of `network`; None: start with a new one.

        It may lack the eye heads of `network`, or hold some that `network` has not.
        """
        source = self.network
        if isinstance(source, ProjectedConfig) and isinstance(network, ProjectedConfig):
            source = dataclasses.replace(source, eye_heads=network.eye_heads)
        return self.discriminator if network == source else None

    def without_layers_added_after_training(self) -> StartingPoint:
        """Return these weights without the correction and the mirrored eye."""
        if not isinstance(self.network, ProjectedConfig):
            return self
        network = dataclasses.replace(self.network, coefficient_correction=0, mirrored_eye=False)
        names = shapes_of(network).keys()
        generator = {name: tensor for name, tensor in self.generator.items() if name in names}
        return dataclasses.replace(self, network=network, generator=generator)


def _wants_eye_heads(network: NetworkConfig) -> bool:
    return isinstance(network, ProjectedConfig) and network.eye_heads


def load_starting_point(text: str, note: Callable[[str], None]) -> StartingPoint:
    """Return what `text` names: "bundled", an exported .onnx file, or RUN or RUN@CHECKPOINT.

    A checkpoint is latest (the default), best, or a number of images seen. `note` receives a
    message for each damaged checkpoint that was skipped.

    Raises:
        CatganError: `text` names none of these, or weights that cannot be read or started from.
    """
    if text == BUNDLED:
        return _with_short_lineage(_from_artifact(None), text)
    if text.endswith(".onnx"):
        return _with_short_lineage(_from_artifact(Path(text)), text)
    run, checkpoint = _run_and_checkpoint(text)
    if not is_run(run):
        raise CatganError(
            f"--from {quoted(text)}: expected {BUNDLED}, an exported .onnx file, or the directory "
            "of a run, as in runs/cats or runs/cats@best"
        )
    return _with_short_lineage(_from_run(run, checkpoint, note), text)


def _with_short_lineage(starting: StartingPoint, text: str) -> StartingPoint:
    """Return `starting`; raise `CatganError` if its lineage is too long to be read again."""
    if len(starting.lineage) > MAX_ANCESTORS:
        raise CatganError(
            f"--from {quoted(text)}: its lineage has {MAX_ANCESTORS} starts in a row, the "
            "maximum: start from an earlier one, or from bundled"
        )
    return starting


def _run_and_checkpoint(text: str) -> tuple[Path, str]:
    if Path(text).is_dir():  # a directory name may contain an @
        return Path(text), "latest"
    run, at, checkpoint = text.rpartition("@")
    return (Path(run), checkpoint) if at else (Path(text), "latest")


def _from_run(path: Path, checkpoint: str, note: Callable[[str], None]) -> StartingPoint:
    run = RunDirectory.open(path)
    loaded = run.checkpoints.load(checkpoint, note, ["ema", "discriminator"])
    config = from_table(loaded.config, str(loaded.path))
    data = run.facts()["dataset"]
    ancestor = Ancestor(
        name=printable(path.resolve().name),
        recipe=printable(config.recipe),
        images=loaded.images,
        data=printable(str(data.get("name", "unknown"))),
        license=printable(str(data.get("license", "unknown"))),
        credit=printable(str(data.get("credit", "unknown"))),
    )
    where, weights = str(loaded.path), loaded.tensors["ema"]
    if shapes(weights) != shapes_of(config.network):  # a huge network could fill the memory
        raise does_not_fit(where, "start from another checkpoint or run")
    state = checked_state(config.network, weights, where, "start from another checkpoint or run")
    discriminator = build_discriminator(config.network, None, torch.float32)
    loaded.restore({"discriminator": discriminator}, players={})
    require_finite(loaded.tensors["discriminator"], where, "start from another checkpoint or run")
    return StartingPoint(
        config.network, state, loaded.tensors["discriminator"], [ancestor, *run.lineage()]
    )


def _from_artifact(path: Path | None) -> StartingPoint:
    artifact = load_generator(path)
    card = artifact.card
    network = from_table(card.document["config"], artifact.where).network
    ancestor = Ancestor(
        name=card.name,
        recipe=card.recipe,
        images=card.images,
        data=card.data_name,
        license=card.license,
        credit=card.credit,
    )
    state = weights_of_artifact(artifact, network)
    discriminator = _bundled_discriminator(artifact.where, card, network) if path is None else None
    return StartingPoint(network, state, discriminator, [ancestor, *card.lineage])


def _bundled_discriminator(
    generator: str, card: Card, network: NetworkConfig
) -> dict[str, Tensor] | None:
    """Return the discriminator that the bundled generator was trained against, if present.

    Its file has no eye heads, for which the package has no room.
    """
    path = Path(generator).with_name(DISCRIMINATOR)
    if not path.is_file():
        return None
    if isinstance(network, ProjectedConfig):
        network = dataclasses.replace(network, eye_heads=False)
    expected = shapes(build_discriminator(network, None, torch.float32).state_dict())
    state = read_weights(path, card, expected, "reinstall catgan")
    require_finite(state, str(path), "reinstall catgan")
    return {name: tensor.float() for name, tensor in state.items()}
