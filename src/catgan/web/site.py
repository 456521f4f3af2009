"""Writing the site: a directory of files that any web host can serve as they are."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from catgan.errors import CatganError
from catgan.files import make_directory, write_durably
from catgan.generation.card import describe_lineage
from catgan.generation.generator import Generator

FACTS = "generator.json"  # which also marks a directory as a site
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
    if not has_runtime():
        raise CatganError(
            "this catgan was built without the runtime for browsers: install a released package, "
            "or run `make web-runtime` where you build it"
        )
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / FACTS).is_file())):
        raise CatganError(f"{out} is there already, and no earlier site: choose another place")
    files = site_files(generator)
    files = {"_headers": _headers(files["index.html"].decode()).encode(), **files}
    # The mark comes first, so that a site that was cut short is known as one; an earlier site has
    # it, and keeps its facts until all that the new ones name is there.
    order = list(files) if (out / FACTS).is_file() else [FACTS, *files]
    try:
        for name in order:
            make_directory((out / name).parent)
            write_durably(out / name, files[name])
    except OSError as error:
        raise CatganError(
            f"{out}: cannot be written ({error.strerror or error}): choose another place"
        ) from None
    return Site(len(files), sum(map(len, files.values())))


def has_runtime() -> bool:
    """Whether this package was built with ONNX Runtime for browsers."""
    return all((_HERE / "runtime" / name).is_file() for name in _RUNTIME)


def site_files(generator: Generator, server: str = "") -> dict[str, bytes]:
    """Return the page's files by their names; without the runtime where the package has none.

    `server`: the address, relative to the page, of an Open Inference Protocol model that draws
    when the browser cannot.
    """
    files = {name: (_HERE / "page" / name).read_bytes() for name in _PAGE}
    if has_runtime():
        for name, place in _RUNTIME.items():
            files[place] = (_HERE / "runtime" / name).read_bytes()
    files = _versioned(files)
    files["generator.onnx"] = generator.model
    files[FACTS] = _facts(generator, files, server).encode()
    return files


def content_security_policy(page: str) -> str:
    """Return the policy that the page states, and who may frame it."""
    policy = page.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    return f"{policy}; frame-ancestors 'self'"


def _versioned(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files with the sum of all of them behind every name by which one names another.

    A browser that kept files of an earlier site would else mix them with those of this one.
    """
    version = hashlib.sha256(b"".join(files[name] for name in sorted(files))).hexdigest()[:16]
    names = "|".join(re.escape(name) for name in files)
    named = re.compile(rf'"((?:\./)?(?:{names}))"')
    code = [name for name in _PAGE if name.endswith((".html", ".js"))]
    return files | {
        name: named.sub(rf'"\1?{version}"', files[name].decode()).encode() for name in code
    }


def _headers(page: str) -> str:
    """A file that several hosts take response headers from; others ignore it.

    The policy in the page itself does not hold for its worker, which follows its own response's.
    """
    return (
        "/*\n"
        f"  Content-Security-Policy: {content_security_policy(page)}\n"
        "  X-Content-Type-Options: nosniff\n"
        "  Cache-Control: no-cache\n"
    )


def _facts(generator: Generator, files: dict[str, bytes], server: str) -> str:
    """What the page needs to know; a browser cannot read the card out of the ONNX file."""
    card = generator.card

    def file(name: str) -> dict[str, str | int] | None:
        if name not in files:
            return None
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
        "license": card.license,
        "began": describe_lineage(card.lineage),
        "model": file("generator.onnx"),
        "runtime": file("runtime/ort.bin"),
        "server": server,
    }
    return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
