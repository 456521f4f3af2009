"""A generator that needs no torch: an artifact in ONNX Runtime, seeds in, images out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from catgan.errors import CatganError, quoted
from catgan.generation.artifact import read_artifact
from catgan.generation.card import Card, parse_card
from catgan.generation.checks import (
    check_latents,
    check_number,
    check_truncation,
    is_whole,
)
from catgan.generation.foreign import CHECKS
from catgan.generation.grid import check_grid_size, make_grid
from catgan.generation.interpolation import check_frames, loop_latents, morph_latents
from catgan.generation.latents import latents
from catgan.generation.seeds import check_seeds
from catgan.onnx_runtime import load_onnxruntime
from catgan.parallel import ordered_map

if TYPE_CHECKING:
    import onnxruntime

BUNDLED = "bundled"  # what names the generator that the package carries, beside paths
INPUTS = ("z", "truncation")
OUTPUT = "images"

# From so many images on each processor draws its own, instead of all of them a part of one.
MIN_IMAGES_APART = 4
MAX_MOVE = 1e6  # standard deviations; a cat is gone after ten

Seeds = Sequence[int] | np.ndarray
OnProgress = Callable[[int], None]  # images that are done


class Generator:
    """Draws cats: `load_generator` opens one. An image is a pure function of (file, seed, psi).

    Images are uint8, (N, resolution, resolution, 3), RGB. `truncation` (psi) is from 0 to 1: 1 is
    the generator as it was trained, less is less variety, nearer to the average; 0 is the mean
    image. `seeds` are a list, tuple, range or 1-d array of whole numbers from 0 to 2^63 - 1. Every
    method raises `CatganError` for an argument of another type or out of range. `threads`: how many
    a call takes, for one image after the other; None takes all processors.
    """

    def __init__(self, model: bytes, card: Card, where: str, *, threads: int | None = None) -> None:
        self.card = card
        self.where = where
        self.model = model  # the whole file
        self.threads = threads

    @property
    def resolution(self) -> int:
        """Side of the square images in pixels."""
        return self.card.resolution

    def latents(self, seeds: Seeds) -> np.ndarray:
        """The seeds' noise, float32 (N, latent_size); see `catgan.generation.latents`."""
        return latents(check_seeds(seeds), self.card.latent_size)

    def sample(
        self,
        seeds: Seeds,
        truncation: float = 1.0,
        moves: Mapping[int, float] | None = None,
        on_progress: OnProgress | None = None,
    ) -> np.ndarray:
        """One image a seed, the same whatever the other seeds.

        `moves`: how far along which of the card's directions, in standard deviations.
        """
        truncation = check_truncation(truncation)
        z = self.latents(seeds)
        moved = z if moves is None else self.move(z, moves)
        return self.synthesize(moved, truncation, on_progress)

    def grid(self, seeds: Seeds, columns: int | None = None, truncation: float = 1.0) -> np.ndarray:
        """All images on one sheet, (H, W, 3); near square unless `columns` says otherwise.

        Raises `CatganError` for no seeds, and for a sheet that memory does not hold, too.
        """
        checked = check_seeds(seeds)
        check_grid_size(len(checked), columns, self.resolution)
        return make_grid(self.sample(checked, truncation), columns)

    def morph(self, a: int, b: int, frames: int = 24, truncation: float = 1.0) -> np.ndarray:
        """`frames` images from the cat of seed `a` to that of seed `b`, both included."""
        return self.synthesize(morph_latents(self.latents([a, b]), frames), truncation)

    def loop(
        self,
        seeds: Seeds,
        frames: int = 60,
        truncation: float = 1.0,
        on_progress: OnProgress | None = None,
    ) -> np.ndarray:
        """`frames` images through the cats of all `seeds` and back to just before the first.

        Raises `CatganError` for fewer frames than seeds, too.
        """
        checked = check_seeds(seeds)
        check_frames(len(checked), frames)
        z = loop_latents(self.latents(checked), frames)
        return self.synthesize(z, truncation, on_progress)

    def move(self, z: np.ndarray, moves: Mapping[int, float]) -> np.ndarray:
        """Latents `z` (N, latent_size) moved along directions of the card, by their numbers.

        Raises `CatganError` for a direction that the card has not, and an amount that is no number.
        """
        directions, z = self.card.directions, check_latents(z, self.card.latent_size)
        if not isinstance(moves, Mapping):
            raise CatganError(
                f"moves must say how far along which direction, not {quoted(moves)}: write, say, "
                "moves={0: 2.0}"
            )
        for number, amount in moves.items():
            if not is_whole(number) or not 0 <= number < len(directions):
                have = f"0 to {len(directions) - 1}" if directions else "none"
                raise CatganError(
                    f"{self.where}: has no direction {quoted(number)}: it has {have}; "
                    "`catgan edit` shows them"
                )
            far = check_number(f"the move along direction {number}", amount, -MAX_MOVE, MAX_MOVE)
            z = z + np.float32(far) * directions[int(number)].vector
        return z

    def synthesize(
        self, z: np.ndarray, truncation: float = 1.0, on_progress: OnProgress | None = None
    ) -> np.ndarray:
        """One image for each row of `z` (N, latent_size).

        Images are drawn one at a time: how a processor rounds can depend on how many are drawn
        together, and a seed is to be the same image always. Raises `CatganError` for latents of
        another shape or type, or that are not finite.
        """
        truncation, z = check_truncation(truncation), check_latents(z, self.card.latent_size)
        side = self.resolution
        images = np.empty((len(z), side, side, 3), np.uint8)
        psi = np.array([truncation], np.float32)
        apart = self.threads is None and len(z) >= MIN_IMAGES_APART
        session = self.single_session if apart else self.session

        def draw(row: np.ndarray) -> np.ndarray:
            return _run(session, row[None], psi, self.where)

        procedural = ordered_map(draw, z) if apart else ((row, draw(row)) for row in z)
        for index, (_, image) in enumerate(procedural):
            if image.shape != images.shape[1:] or image.dtype != np.uint8:
                raise CatganError(
                    f"{self.where}: its model draws {image.dtype} {image.shape}, not what its card "
                    "describes: export the run again"
                )
            images[index] = image
            if on_progress:
                on_progress(index + 1)
        return images

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        """The ONNX Runtime session whose images take all processors, or `threads` of them.

        It is made at the first image; `CatganError` for a foreign model.
        """
        return self._open_session(self.threads or 0)

    @cached_property
    def single_session(self) -> onnxruntime.InferenceSession:
        """As `session`, but an image takes the processor of the thread that draws it."""
        return self._open_session(1)

    def _open_session(self, threads: int) -> onnxruntime.InferenceSession:
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # what fails is said in one line, below
        # Bytes can be a model in ONNX Runtime's own format as well, which nobody has checked.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            session = onnxruntime.InferenceSession(
                self.model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise _unusable(self.where, error) from None
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
    """The generator in an artifact, or without `path` the one that the package carries.

    Raises `CatganError` for a file that is none, and where the package carries none.
    """
    if path is None:
        path = embedded_generator()
        if path is None:
            raise CatganError(
                "this catgan carries no generator: name an exported one (.onnx) or a run, or train "
                "one with `catgan train`"
            )
    if not isinstance(path, str | os.PathLike):
        raise CatganError(
            f"a generator is opened by its path, not {quoted(path)}: name a .onnx file"
        )
    if Path(path).suffix in CHECKS:
        raise CatganError(
            f"{path}: is for another framework, and catgan draws from .onnx files: name such a "
            "one; `catgan info` shows what this is"
        )
    model, document = read_artifact(path)
    return Generator(model, parse_card(document, str(path)), str(path))


def embedded_generator() -> Path | None:
    """The artifact that the package carries, if it carries one."""
    path = Path(__file__).parents[1] / "pretrained" / "generator.onnx"
    return path if path.is_file() else None


def _run(
    session: onnxruntime.InferenceSession, z: np.ndarray, psi: np.ndarray, where: str
) -> np.ndarray:
    try:
        (image,) = session.run([OUTPUT], {"z": z, "truncation": psi})[0]
    except Exception as error:
        raise _unusable(where, error) from None
    return image


def _unusable(where: str, error: Exception) -> CatganError:
    """What to raise for an error of ONNX Runtime's, which has no classes for most."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    reason = "".join(c for c in first if c.isprintable())[:200]
    remedy = "export the run again"
    if isinstance(error, MemoryError) or re.search(r"allocat|bad_alloc", first):
        remedy = "it needs more memory than is free: close other programs"
    return CatganError(f"{where}: ONNX Runtime cannot use it ({reason}): {remedy}")
