"""Writing the site: a directory of files that any web host can serve as they are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from catgan.errors import CatganError
from catgan.files import write_durably
from catgan.generation.generator import Generator

FACTS = "generator.json"
_HERE = Path(__file__).parent
_PAGE = ("index.html", "style.css", "app.js", "worker.js", "latents.js", "icon.svg")
# The runtime's file in the package, and where the page looks for it: under names that every host
# sends as they are. The program is packed by gzip; the page unpacks it.
_RUNTIME = {
    "ort.mjs": "runtime/ort.js",
    "ort.wasm.gz": "runtime/ort.bin",
    "LICENSE": "runtime/LICENSE",
}


@dataclass(frozen=True)
class Site:
    """What was written."""

    files: int
    bytes: int


def write_site(out: Path, generator: Generator) -> Site:
    """Write the page, ONNX Runtime for browsers and the generator into the directory `out`.

    Raises `CatganError` when `out` holds anything but an earlier site, or the package was built
    without the runtime.
    """
    runtime = _HERE / "runtime"
    if not all((runtime / name).is_file() for name in _RUNTIME):
        raise CatganError(
            "this catgan was built without the runtime for browsers: install a released package, "
            "or run `make web-runtime` where you build it"
        )
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / FACTS).is_file())):
        raise CatganError(f"{out} is there already, and no earlier site: choose another place")
    files = {name: (_HERE / "page" / name).read_bytes() for name in _PAGE}
    files |= {place: (runtime / name).read_bytes() for name, place in _RUNTIME.items()}
    files["generator.onnx"] = generator.model
    files[FACTS] = _facts(generator, files).encode()
    try:
        for name, data in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_durably(out / name, data)
    except OSError as error:
        raise CatganError(
            f"{out}: cannot be written ({error.strerror or error}): choose another place"
        ) from None
    return Site(len(files), sum(map(len, files.values())))


def _facts(generator: Generator, files: dict[str, bytes]) -> str:
    """What the page needs to know; a browser cannot read the card out of the ONNX file."""
    card = generator.card

    def file(name: str) -> dict[str, str | int]:
        # The sum in the address keeps an old file in a browser's cache from being taken.
        version = hashlib.sha256(files[name]).hexdigest()[:16]
        return {"name": name, "version": version, "bytes": len(files[name])}

    facts = {
        "catgan": card.catgan,
        "name": card.name,
        "resolution": card.resolution,
        "latent_size": card.latent_size,
        "data": card.data_name,
        "credit": card.credit,
        "licence": card.licence,
        "model": file("generator.onnx"),
        "runtime": file("runtime/ort.bin"),
    }
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
