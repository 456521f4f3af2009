"""Latents on disk, one safetensors file; docs/reference/formats.md describes it.

It is read without the library, which the core installation lacks, and checked before it is used:
anyone may have written it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from catgan.errors import CatganError
from catgan.files import read_bounded
from catgan.generation.artifact import parse_json_object
from catgan.generation.checks import check_latents
from catgan.generation.grid import written_beside
from catgan.generation.seeds import MAX_SEEDS

FORMAT, FORMAT_VERSION = "catgan-latents", "1"
TENSOR = "latents"
MAX_FILE_BYTES = 512 * 2**20
MAX_HEADER_BYTES = 64 * 2**10
MAX_LATENT_SIZE = 4_096

REMEDY = "name a file that `generator.save_latents` wrote"


@dataclass(frozen=True)
class SavedLatents:
    """Latents from the file `where`, float32 (N, latent_size), and the generator they belong to."""

    latents: np.ndarray
    generator_sha256: str
    where: str

    def of_generator(self, sha256: str, latent_size: int) -> np.ndarray:
        """Return the latents.

        Raises:
            CatganError: they belong to another generator than the one with this checksum.
        """
        if self.generator_sha256 != sha256:
            raise CatganError(
                f"{self.where}: its latents belong to the generator {self.generator_sha256[:12]}, "
                f"not to this one, {sha256[:12]}: use the file or checkpoint they were saved with"
            )
        if self.latents.shape[1] != latent_size:
            raise CatganError(
                f"{self.where}: its latents have {self.latents.shape[1]:,} numbers each, this "
                f"generator takes {latent_size:,}: {REMEDY}"
            )
        return self.latents


def read_latents(path: str | os.PathLike[str]) -> SavedLatents:
    """Return the latents in a file, all of them finite, and which generator they belong to.

    Raises:
        CatganError: the path is not a file, or is not such a file, too large or damaged.
    """
    where = os.fspath(path)
    data = read_bounded(where, MAX_FILE_BYTES, REMEDY)
    try:
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"it is larger than {MAX_FILE_BYTES // 2**20} MiB")
        length = int.from_bytes(data[:8], "little")
        if length > min(MAX_HEADER_BYTES, len(data) - 8):
            raise ValueError("it is not a safetensors file, or is cut short")
        shape, sha256 = _read_header(parse_json_object(data[8 : 8 + length]))
        values = data[8 + length :]
        if len(values) != 4 * shape[0] * shape[1]:
            raise ValueError(f"it holds {len(values):,} bytes of numbers, not those of {shape}")
        latents = np.frombuffer(values, "<f4").reshape(shape)
        if not np.isfinite(latents).all():
            raise ValueError("its latents are not all finite")
    except ValueError as error:
        raise CatganError(f"{where}: cannot be used as latents ({error}): {REMEDY}") from None
    return SavedLatents(latents.astype(np.float32), sha256, where)


def write_latents(path: str | os.PathLike[str], latents: np.ndarray, generator_sha256: str) -> None:
    """Write latents (N, latent_size) of the generator with this checksum, completely or not at all.

    Raises:
        CatganError: there are none or too many, or the file cannot be written.
    """
    latents = check_latents(latents, np.shape(latents)[-1] if np.ndim(latents) else 0)
    count, size = latents.shape
    if not 1 <= count <= MAX_SEEDS or latents.nbytes > MAX_FILE_BYTES - MAX_HEADER_BYTES:
        raise CatganError(
            f"latents: expected 1 to {MAX_SEEDS:,} of them, and at most "
            f"{MAX_FILE_BYTES // 2**20} MiB, not {count:,} of {size:,} numbers: save fewer"
        )
    header = {
        "__metadata__": {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "generator_sha256": generator_sha256,
        },
        TENSOR: {"dtype": "F32", "shape": [count, size], "data_offsets": [0, latents.nbytes]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    with written_beside(Path(path)) as partial:
        partial.write_bytes(
            len(text).to_bytes(8, "little") + text + latents.astype("<f4").tobytes()
        )


def _read_header(header: dict[str, Any]) -> tuple[tuple[int, int], str]:
    """Return the shape of the latents and the generator's checksum; ValueError for other files."""
    about = header.get("__metadata__")
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError("its metadata do not say that it holds latents of catgan's")
    if about.get("format_version") != FORMAT_VERSION:
        raise ValueError(f"this catgan reads format version {FORMAT_VERSION} alone")
    sha256 = about.get("generator_sha256")
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-f]{64}", sha256, re.ASCII):
        raise ValueError("it does not say which generator its latents belong to")
    tensor = header.get(TENSOR)
    if set(header) != {"__metadata__", TENSOR} or not isinstance(tensor, dict):
        raise ValueError(f"expected one tensor, named {TENSOR}")
    if tensor.get("dtype") != "F32":
        raise ValueError("its latents are not float32")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or [type(each) for each in shape] != [int, int]:
        raise ValueError("its latents are not of the shape (N, latent_size)")
    count, size = shape
    if not 1 <= count <= MAX_SEEDS or not 1 <= size <= MAX_LATENT_SIZE:
        raise ValueError(f"expected 1 to {MAX_SEEDS:,} latents of 1 to {MAX_LATENT_SIZE:,} numbers")
    if tensor.get("data_offsets") != [0, 4 * count * size]:
        raise ValueError("its latents are not all that it holds")
    return (count, size), sha256
