"""Write the static site: a directory of files that any web host can serve unchanged."""

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

DESCRIPTION = "generator.json"  # also marks a directory as a site
_HERE = Path(__file__).parent
_PAGE_FILES = ("index.html", "style.css", "app.js", "worker.js", "latents.js", "icon.svg")
# ONNX Runtime's files: from their names in the package to names that every host sends unchanged.
# `ort.bin` is compressed with gzip; the page decompresses it.
_RUNTIME_FILES = {
    "ort.mjs": "runtime/ort.js",
    "ort.wasm.gz": "runtime/ort.bin",
    "LICENSE": "runtime/LICENSE",
}


@dataclass(frozen=True)
class Site:
    """The number of files and of bytes that were written."""

    files: int
    bytes: int


def write_site(out: Path, generator: Generator) -> Site:
    """Write the page, ONNX Runtime Web and the generator into the directory `out`.

    An earlier site in `out` is replaced.

    Raises:
        CatganError: `out` exists and is no earlier site, cannot be written, or the package was
            built without ONNX Runtime Web.
    """
    if not has_runtime():
        raise CatganError(
            "this catgan was built without ONNX Runtime Web: install a released package, or run "
            "`make web-runtime` before you build it"
        )
    is_site = (out / DESCRIPTION).is_file()
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not is_site)):
        raise CatganError(
            f"{out} exists and is not a site that `catgan web` wrote: choose another directory"
        )
    files = site_files(generator)
    files = {"_headers": _headers(files["index.html"].decode()).encode(), **files}
    # In a new directory the description is written first, so that an interrupted site can be
    # replaced by the next call. In an earlier site it is written last, after the files it names.
    order = list(files) if is_site else [DESCRIPTION, *files]
    try:
        for name in order:
            make_directory((out / name).parent)
            write_durably(out / name, files[name])
    except OSError as error:
        raise CatganError(
            f"{out}: cannot be written ({error.strerror or error}): choose another directory"
        ) from None
    return Site(len(files), sum(map(len, files.values())))


def has_runtime() -> bool:
    """Return whether this package was built with ONNX Runtime Web."""
    return all((_HERE / "runtime" / name).is_file() for name in _RUNTIME_FILES)


def site_files(generator: Generator, server: str = "") -> dict[str, bytes]:
    """Return the site's files by name, without the runtime if the package has none.

    `server`: URL, relative to the page, of an Open Inference Protocol model that generates the
    images if the browser cannot; empty for none.
    """
    files = {name: (_HERE / "page" / name).read_bytes() for name in _PAGE_FILES}
    if has_runtime():
        for name, site_name in _RUNTIME_FILES.items():
            files[site_name] = (_HERE / "runtime" / name).read_bytes()
    files = _with_versioned_references(files)
    files["generator.onnx"] = generator.model
    files[DESCRIPTION] = _description(generator, files, server).encode()
    return files


def content_security_policy(page: str) -> str:
    """Return the policy in the page's `<meta>` element, extended by who may frame it."""
    policy = page.split('http-equiv="Content-Security-Policy" content="')[1].split('"')[0]
    return f"{policy}; frame-ancestors 'self'"


def _with_versioned_references(files: dict[str, bytes]) -> dict[str, bytes]:
    """Append `?checksum of all files` to every reference from one file to another.

    Otherwise a browser could mix cached files of an earlier site with those of this one.
    """
    version = hashlib.sha256(b"".join(files[name] for name in sorted(files))).hexdigest()[:16]
    names = "|".join(re.escape(name) for name in files)
    reference = re.compile(rf'"((?:\./)?(?:{names}))"')
    code = [name for name in _PAGE_FILES if name.endswith((".html", ".js"))]
    return files | {
        name: reference.sub(rf'"\1?{version}"', files[name].decode()).encode() for name in code
    }


def _headers(page: str) -> str:
    """Return a `_headers` file, from which several hosts take response headers.

    The policy in the page does not apply to its worker, only that of the worker's own response.
    """
    return (
        "/*\n"
        f"  Content-Security-Policy: {content_security_policy(page)}\n"
        "  X-Content-Type-Options: nosniff\n"
        "  Cache-Control: no-cache\n"
    )


def _description(generator: Generator, files: dict[str, bytes], server: str) -> str:
    """Return JSON with the card and the large files; the page cannot read the ONNX metadata."""
    card = generator.card

    def file(name: str) -> dict[str, str | int] | None:
        if name not in files:
            return None
        # The page puts the checksum into the URL, so that no outdated cached file is used.
        version = hashlib.sha256(files[name]).hexdigest()[:16]
        return {"name": name, "version": version, "bytes": len(files[name])}

    description = {
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
    return json.dumps(description, indent=1, ensure_ascii=False) + "\n"
