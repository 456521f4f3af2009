"""Put a run's generator into the package, as the one that `catgan sample` draws with.

    python tools/embed_generator.py RUN [--checkpoint best] [--name NAME] [--direction 0=NAME ...]
        [--license LICENSE] [--credit CREDIT]

Exports the run with float16 weights into src/catgan/pretrained/: generator.onnx, its card,
README.md, and discriminator.safetensors, with which `catgan train --from bundled` begins. Refuses a
generator over 24 MB, a discriminator over 12 MB, and a run whose data has no known license. Look at
`catgan sample`, `catgan edit` and `catgan info` before committing what it wrote.
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
from catgan.training.starting_point import DISCRIMINATOR

PLACE = Path(__file__).parents[1] / "src" / "catgan" / "pretrained"
MAX_BYTES = 24_000_000
MAX_DISCRIMINATOR_BYTES = 12_000_000


def embed(
    run: Path,
    place: Path,
    checkpoint: str,
    *,
    name: str | None,
    names: list[str],
    license: str | None,
    credit: str | None,
) -> Path:
    """Export `run` into `place`; returns the artifact. Raises `CatganError`."""
    with tempfile.TemporaryDirectory() as temporary:
        made = export_run(
            run,
            Path(temporary) / "generator.onnx",
            precision="float16",
            checkpoint=checkpoint,
            name=name,
            license=license,
            credit=credit,
            direction_names=parse_names(names),
            note=print,
            on_progress=lambda *_: None,
        )
        if made.bytes > MAX_BYTES:
            raise CatganError(
                f"{run}: its generator takes {made.bytes:,} bytes, the package has room for "
                f"{MAX_BYTES:,}: train a smaller one"
            )
        card = load_generator(made.path).card
        if card.license in ("", "unknown"):
            raise CatganError(
                f"{run}: the license of its data is not known, so nobody may pass it on: say it "
                "with --license and --credit"
            )
        discriminator = _discriminator(run, checkpoint, card.document[CHECKSUM])
        write_durably(place / README, made.files["card"].read_bytes())
        write_durably(place / "generator.onnx", made.path.read_bytes())
        write_durably(place / DISCRIMINATOR, discriminator)
    print(f"{made.bytes:,} bytes; {made.parity.line()}")
    return place / "generator.onnx"


def _discriminator(run: Path, checkpoint: str, artifact_sum: str) -> bytes:
    """Return the discriminator of a run as float16 safetensors; raises `CatganError`."""
    loaded = RunDirectory.open(run).checkpoints.load(checkpoint, print, ["discriminator"])
    state = {name: tensor.half() for name, tensor in loaded.tensors["discriminator"].items()}
    if not all(torch.isfinite(tensor).all() for tensor in state.values()):
        raise CatganError(f"{run}: its discriminator has numbers that float16 does not reach")
    about = {CHECKSUM: artifact_sum, WEIGHTS_CHECKSUM: weights_sha256(state)}
    content = save(state, {"catgan": json.dumps(about)})
    if len(content) > MAX_DISCRIMINATOR_BYTES:
        raise CatganError(
            f"{run}: its discriminator takes {len(content):,} bytes, the package has room for "
            f"{MAX_DISCRIMINATOR_BYTES:,}: train a smaller one"
        )
    return content


def main() -> None:
    """Parse, embed, say what to look at."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--name")
    parser.add_argument("--direction", action="append", default=[], metavar="NUMBER=NAME")
    parser.add_argument("--license")
    parser.add_argument("--credit")
    given = parser.parse_args()
    try:
        path = embed(
            given.run,
            PLACE,
            given.checkpoint,
            name=given.name,
            names=given.direction,
            license=given.license,
            credit=given.credit,
        )
    except CatganError as error:
        sys.exit(f"error: {error}")
    print(f"{path}: look at `catgan info`, `catgan sample` and `catgan edit`, then commit it")


if __name__ == "__main__":
    main()
