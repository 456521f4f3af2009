"""Make a run's generator the bundled generator of the package.

    python tools/embed_generator.py RUN [--checkpoint best] [--name NAME] [--direction 0=NAME ...]
        [--license LICENSE] [--credit CREDIT]

Exports the run with float16 weights to src/catgan/pretrained/: generator.onnx, its card README.md,
and discriminator.safetensors, from which `catgan train --from bundled` starts. Rejects a generator
over 24 MB, a discriminator over 12 MB, and a run whose data has no known license. Check `catgan
sample`, `catgan edit` and `catgan info` before committing the files.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save

from catgan.cli.export import parse_names
from catgan.errors import CatganError
from catgan.exporters.export import export_run
from catgan.exporters.onnx_exporter import README
from catgan.files import write_durably
from catgan.generation.artifact import CHECKSUM
from catgan.generation.generator import load_generator
from catgan.runs.artifact_weights import WEIGHTS_CHECKSUM, weights_sha256
from catgan.runs.directory import RunDirectory
from catgan.training.starting_point import DISCRIMINATOR, EYE_HEADS

PRETRAINED = Path(__file__).parents[1] / "src" / "catgan" / "pretrained"
MAX_BYTES = 24_000_000
MAX_DISCRIMINATOR_BYTES = 12_000_000


def embed(
    run: Path,
    directory: Path,
    checkpoint: str,
    *,
    name: str | None,
    direction_names: list[str],
    license: str | None,
    credit: str | None,
) -> Path:
    """Export `run` to `directory` and return the path of the artifact.

    Raises:
        CatganError: the generator or discriminator is too large or has no float16 form, or the
            license of the data is unknown.
    """
    with tempfile.TemporaryDirectory() as temporary:
        exported = export_run(
            run,
            Path(temporary) / "generator.onnx",
            precision="float16",
            checkpoint=checkpoint,
            name=name,
            license=license,
            credit=credit,
            direction_names=parse_names(direction_names),
            note=print,
            on_progress=lambda *_: None,
        )
        if exported.bytes > MAX_BYTES:
            raise CatganError(
                f"{run}: its generator has {exported.bytes:,} bytes, but the package allows "
                f"{MAX_BYTES:,}: train a smaller one"
            )
        card = load_generator(exported.path).card
        if card.license in ("", "unknown"):
            raise CatganError(
                f"{run}: the license of its data is unknown, so it cannot be distributed: give "
                "--license and --credit"
            )
        discriminator = _discriminator(run, checkpoint, card.document[CHECKSUM])
        write_durably(directory / README, exported.files["card"].read_bytes())
        write_durably(directory / "generator.onnx", exported.path.read_bytes())
        write_durably(directory / DISCRIMINATOR, discriminator)
    print(f"{exported.bytes:,} bytes; {exported.parity.line()}")
    return directory / "generator.onnx"


def _discriminator(run: Path, checkpoint: str, artifact_checksum: str) -> bytes:
    """Return the discriminator of a run as float16 safetensors; raises `CatganError`.

    Without its eye heads: with them the file would be too large.
    """
    loaded = RunDirectory.open(run).checkpoints.load(checkpoint, print, ["discriminator"])
    state = {
        name: tensor.half()
        for name, tensor in loaded.tensors["discriminator"].items()
        if not name.startswith(EYE_HEADS)
    }
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise CatganError(
            f"{run}: its discriminator has weights outside the range of float16: name another "
            "--checkpoint"
        )
    metadata = {CHECKSUM: artifact_checksum, WEIGHTS_CHECKSUM: weights_sha256(state)}
    content = save(state, {"catgan": json.dumps(metadata)})
    if len(content) > MAX_DISCRIMINATOR_BYTES:
        raise CatganError(
            f"{run}: its discriminator has {len(content):,} bytes, but the package allows "
            f"{MAX_DISCRIMINATOR_BYTES:,}: train a smaller one"
        )
    return content


def main() -> None:
    """Parse the arguments, embed, and print what to check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--name")
    parser.add_argument("--direction", action="append", default=[], metavar="NUMBER=NAME")
    parser.add_argument("--license")
    parser.add_argument("--credit")
    arguments = parser.parse_args()
    try:
        path = embed(
            arguments.run,
            PRETRAINED,
            arguments.checkpoint,
            name=arguments.name,
            direction_names=arguments.direction,
            license=arguments.license,
            credit=arguments.credit,
        )
    except CatganError as error:
        sys.exit(f"error: {error}")
    print(f"{path}: check `catgan info`, `catgan sample` and `catgan edit`, then commit it")


if __name__ == "__main__":
    main()
