"""Put a run's generator into the package, as the one that `catgan sample` draws with.

    python tools/embed_generator.py RUN [--checkpoint best] [--name NAME] [--direction 0=NAME ...]
        [--licence LICENCE] [--credit CREDIT]

Exports the run with float16 weights into src/catgan/pretrained/: generator.onnx and its card,
README.md. Refuses a generator over 10 MB and one whose data has no known licence. Look at
`catgan sample`, `catgan edit` and `catgan info` before committing what it wrote.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from catgan.cli_export import parse_names
from catgan.errors import CatganError
from catgan.export.export import README, export_run
from catgan.files import write_durably
from catgan.generation.generator import load_generator

PLACE = Path(__file__).parents[1] / "src" / "catgan" / "pretrained"
MOST_BYTES = 10_000_000


def embed(
    run: Path,
    place: Path,
    checkpoint: str,
    *,
    name: str | None,
    names: list[str],
    licence: str | None,
    credit: str | None,
) -> Path:
    """Export `run` into `place`; returns the artefact. Raises `CatganError`."""
    with tempfile.TemporaryDirectory() as temporary:
        made = export_run(
            run,
            Path(temporary) / "generator.onnx",
            precision="float16",
            checkpoint=checkpoint,
            name=name,
            licence=licence,
            credit=credit,
            direction_names=parse_names(names),
            note=print,
            on_progress=lambda *_: None,
        )
        if made.bytes > MOST_BYTES:
            raise CatganError(
                f"{run}: its generator takes {made.bytes:,} bytes, the package has room for "
                f"{MOST_BYTES:,}: train a smaller one"
            )
        if load_generator(made.path).card.licence in ("", "unknown"):
            raise CatganError(
                f"{run}: the licence of its data is not known, so nobody may pass it on: say it "
                "with --licence and --credit"
            )
        write_durably(place / README, made.readme.read_bytes())
        write_durably(place / "generator.onnx", made.path.read_bytes())
    print(f"{made.bytes:,} bytes; {made.parity.line()}")
    return place / "generator.onnx"


def main() -> None:
    """Parse, embed, say what to look at."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--name")
    parser.add_argument("--direction", action="append", default=[], metavar="NUMBER=NAME")
    parser.add_argument("--licence")
    parser.add_argument("--credit")
    given = parser.parse_args()
    try:
        path = embed(
            given.run,
            PLACE,
            given.checkpoint,
            name=given.name,
            names=given.direction,
            licence=given.licence,
            credit=given.credit,
        )
    except CatganError as error:
        sys.exit(f"error: {error}")
    print(f"{path}: look at `catgan info`, `catgan sample` and `catgan edit`, then commit it")


if __name__ == "__main__":
    main()
