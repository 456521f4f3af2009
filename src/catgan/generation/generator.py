"""Run an artifact in ONNX Runtime, without torch: seeds in, images out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catgan.errors import CatganError, quoted
from catgan.generation.artifact import CHECKSUM, read_artifact
from catgan.generation.card import Card, parse_card
from catgan.generation.checks import (
    check_latents,
    check_number,
    check_truncation,
    is_integer,
)
from catgan.generation.foreign import CHECKS
from catgan.generation.grid import check_grid_size, make_grid
from catgan.generation.interpolation import loop_latents, morph_latents
from catgan.generation.latents import latents
from catgan.generation.latents_file import read_latents, write_latents
from catgan.generation.seeds import check_seeds
from catgan.onnx_runtime import load_onnxruntime
from catgan.parallel import ordered_map

if TYPE_CHECKING:
    import onnxruntime

BUNDLED = "bundled"  # what names the generator that the package carries, beside paths
INPUTS = ("z", "truncation")
OUTPUT = "images"

# From this many images on, each processor generates its own; below, all share one image.
MIN_PARALLEL_IMAGES = 4
MAX_MOVE = 1e6  # standard deviations; nothing of a cat is left after ten

Seeds = Sequence[int] | np.ndarray
Latents = np.ndarray | str | os.PathLike[str]
OnProgress = Callable[[int], None]  # takes the number of images done


class Generator:
    """A generator that samples images; `load_generator` opens one.

    An image is a pure function of (file, seed, truncation). Images are uint8 RGB, (N, resolution,
    resolution, 3). Every method raises `CatganError` for an argument of a wrong type or out of
    range. Common arguments:

    - `seeds`: a list, tuple, range or 1-d array of whole numbers from 0 to 2^63 - 1;
    - `latents`, in place of seeds: an array (N, latent_size) of finite numbers, or the path of a
      file that `save_latents` wrote;
    - `truncation` (psi), from 0 to 1: 1 is the generator as trained, less trades variety for
      quality, 0 is the mean image.

    `threads` is the number of threads per call, which then generates one image at a time; None
    uses all processors.
    """

    def __init__(self, model: bytes, card: Card, where: str, *, threads: int | None = None) -> None:
        self.card = card
        self.where = where
        self.model = model  # the whole file
        self.threads = threads

    @property
    def resolution(self) -> int:
        """The side of the square images in pixels."""
        return self.card.resolution

    @property
    def latent_size(self) -> int:
        """The length of a latent vector."""
        return self.card.latent_size

    @property
    def sha256(self) -> str:
        """The checksum by which a file of latents knows its generator."""
        return str(self.card.document[CHECKSUM])

    def latents(self, seeds: Seeds) -> np.ndarray:
        """Return the latents of seeds, float32 (N, latent_size): `catgan.generation.latents`."""
        return latents(check_seeds(seeds), self.card.latent_size)

    def load_latents(self, path: str | os.PathLike[str]) -> np.ndarray:
        """Return the latents in a file that `save_latents` wrote, float32 (N, latent_size).

        Raises:
            CatganError: the file is missing, damaged or of another format, or its latents belong to
                another generator.
        """
        return read_latents(path).of_generator(self.sha256, self.card.latent_size)

    def save_latents(self, path: str | os.PathLike[str], latents: np.ndarray) -> None:
        """Write latents (N, latent_size) of this generator to a safetensors file (docs/formats.md).

        Raises:
            CatganError: they are not latents of this generator, there are none, or the file cannot
                be written.
        """
        write_latents(path, check_latents(latents, self.card.latent_size), self.sha256)

    def sample(
        self,
        seeds: Seeds | None = None,
        truncation: float = 1.0,
        moves: Mapping[int, float] | None = None,
        on_progress: OnProgress | None = None,
        *,
        latents: Latents | None = None,
    ) -> np.ndarray:
        """Return one image per seed, or per row of `latents`, independent of the others.

        `moves` maps the number of a direction of the card to an amount in standard deviations.
        """
        truncation = check_truncation(truncation)
        z = self._latents_of(seeds, latents)
        moved = z if moves is None else self.move(z, moves)
        return self.synthesize(moved, truncation, on_progress)

    def grid(
        self,
        seeds: Seeds | None = None,
        columns: int | None = None,
        truncation: float = 1.0,
        *,
        latents: Latents | None = None,
    ) -> np.ndarray:
        """Return all images in one grid (H, W, 3), nearly square unless `columns` is given.

        Also raises `CatganError` for no seeds and for a grid that does not fit into memory.
        """
        z = self._latents_of(seeds, latents)
        check_grid_size(len(z), columns, self.resolution)
        return make_grid(self.synthesize(z, truncation), columns)

    def morph(self, a: int, b: int, frames: int = 24, truncation: float = 1.0) -> np.ndarray:
        """Return `frames` images that interpolate from seed `a` to seed `b`, both included."""
        return self.synthesize(morph_latents(self.latents([a, b]), frames), truncation)

    def loop(
        self,
        seeds: Seeds | None = None,
        frames: int = 60,
        truncation: float = 1.0,
        on_progress: OnProgress | None = None,
        *,
        latents: Latents | None = None,
    ) -> np.ndarray:
        """Return `frames` images that pass through all seeds and back to just before the first.

        Also raises `CatganError` for fewer frames than seeds.
        """
        z = loop_latents(self._latents_of(seeds, latents), frames)
        return self.synthesize(z, truncation, on_progress)

    def _latents_of(self, seeds: Seeds | None, latents: Latents | None) -> np.ndarray:
        """Return the latents that a caller named in one of two ways, float32 (N, latent_size)."""
        if seeds is not None and latents is None:
            return self.latents(seeds)
        if latents is None or seeds is not None:
            raise CatganError("expected either seeds or latents, for example seeds=[7]")
        if isinstance(latents, str | os.PathLike):
            return self.load_latents(latents)
        return check_latents(latents, self.card.latent_size)

    def move(self, z: np.ndarray, moves: Mapping[int, float]) -> np.ndarray:
        """Return latents `z` (N, latent_size) moved along directions of the card.

        `moves` maps the number of a direction to an amount in standard deviations.

        Raises:
            CatganError: the card does not have a direction, or an amount is not a number.
        """
        directions, z = self.card.directions, check_latents(z, self.card.latent_size)
        if not isinstance(moves, Mapping):
            raise CatganError(
                f"moves = {quoted(moves)}: expected a mapping from directions to amounts, for "
                "example moves={0: 2.0}"
            )
        for number, amount in moves.items():
            if not is_integer(number) or not 0 <= number < len(directions):
                available = f"0 to {len(directions) - 1}" if directions else "none"
                raise CatganError(
                    f"{self.where}: has no direction {quoted(number)}: it has {available}; "
                    "`catgan edit` shows them"
                )
            amount = check_number(f"amount of direction {number}", amount, -MAX_MOVE, MAX_MOVE)
            z = z + np.float32(amount) * directions[int(number)].vector
        return z

    def synthesize(
        self, z: np.ndarray, truncation: float = 1.0, on_progress: OnProgress | None = None
    ) -> np.ndarray:
        """Return one image for each row of `z` (N, latent_size).

        Images are generated one at a time, because rounding can depend on the batch size, and a
        seed must always give the same image.

        Raises:
            CatganError: `z` has another shape or type, or is not finite.
        """
        truncation, z = check_truncation(truncation), check_latents(z, self.card.latent_size)
        side = self.resolution
        images = np.empty((len(z), side, side, 3), np.uint8)
        psi = np.array([truncation], np.float32)
        parallel = self.threads is None and len(z) >= MIN_PARALLEL_IMAGES
        session = self.single_session if parallel else self.session

        def generate(row: np.ndarray) -> np.ndarray:
            return _run(session, row[None], psi, self.where)

        generated = ordered_map(generate, z) if parallel else ((row, generate(row)) for row in z)
        for index, (_, image) in enumerate(generated):
            if image.shape != images.shape[1:] or image.dtype != np.uint8:
                raise CatganError(
                    f"{self.where}: its model generates {image.dtype} {image.shape}, not what its "
                    "card describes: export the run again"
                )
            images[index] = image
            if on_progress:
                on_progress(index + 1)
        return images

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The ONNX Runtime session that uses all processors, or `threads` of them, per image.

        It is created for the first image. Raises `CatganError` for a model that is not a generator.
        """
        return self._open_session(self.threads or 0)

    @cached_property
    def single_session(self) -> onnxruntime.InferenceSession:
        """The ONNX Runtime session that uses only the calling thread."""
        return self._open_session(1)

    def _open_session(self, threads: int) -> onnxruntime.InferenceSession:
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # fatal only: errors are raised in one line below
        # The same bytes can also be a model in ONNX Runtime's own format, which is not checked.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            session = onnxruntime.InferenceSession(
                self.model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _runtime_error(self.where, error) from None
        inputs = {each.name: (each.type, each.shape) for each in session.get_inputs()}
        outputs = {each.name: (each.type, each.shape) for each in session.get_outputs()}
        side = self.resolution
        if (
            set(inputs) != set(INPUTS)
            or inputs["z"][0] != "tensor(float)"
            or inputs["z"][1][1:] != [self.card.latent_size]
            or isinstance(inputs["z"][1][0], int)
            or inputs["truncation"] != ("tensor(float)", [1])
            or set(outputs) != {OUTPUT}
            or outputs[OUTPUT][0] != "tensor(uint8)"
            or outputs[OUTPUT][1][1:] != [side, side, 3]
        ):
            raise CatganError(
                f"{self.where}: its model is not the generator that its card describes: "
                "export the run again"
            )
        return session


def load_generator(path: str | os.PathLike[str] | None = None) -> Generator:
    """Return the generator in the artifact at `path`, or without `path` the bundled one.

    Raises:
        CatganError: the file is not an artifact, or the package has no bundled generator.
    """
    if path is None:
        path = embedded_generator()
        if path is None:
            raise CatganError(
                "this catgan has no bundled generator: name an exported one (.onnx) or a run, or "
                "train one with `catgan train`"
            )
    if not isinstance(path, str | os.PathLike):
        raise CatganError(f"path = {quoted(path)}: expected a path: name a .onnx file")
    if Path(path).suffix in CHECKS:
        raise CatganError(
            f"{path}: is for another framework, but catgan samples from .onnx files: name one of "
            "those; `catgan info` shows this file's card"
        )
    model, document = read_artifact(path)
    return Generator(model, parse_card(document, str(path)), str(path))


def embedded_generator() -> Path | None:
    """Return the path of the bundled generator, or None if the package has none."""
    path = Path(__file__).parents[1] / "pretrained" / "generator.onnx"
    return path if path.is_file() else None


def _run(
    session: onnxruntime.InferenceSession, z: np.ndarray, psi: np.ndarray, where: str
) -> np.ndarray:
    try:
        (image,) = session.run([OUTPUT], {"z": z, "truncation": psi})[0]
    except Exception as error:
        raise _runtime_error(where, error) from None
    return image


def _runtime_error(where: str, error: Exception) -> CatganError:
    """Return the `CatganError` for an ONNX Runtime error, most of which have no class."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    reason = "".join(c for c in first if c.isprintable())[:200]
    remedy = "export the run again"
    if isinstance(error, MemoryError) or re.search(r"allocat|bad_alloc", first):
        remedy = "it needs more memory than is free: close other programs"
    return CatganError(f"{where}: ONNX Runtime cannot use it ({reason}): {remedy}")
