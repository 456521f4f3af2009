"""The artifacts being served, each with one single-threaded session for all workers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from catgan.errors import CatganError, quoted
from catgan.generation.card import Card
from catgan.generation.generator import Generator, load_generator

BUNDLED = "catgan"  # the name of the package's generator
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Model:
    """A named artifact. `checksum` is the first 16 hex digits of its file's SHA-256.

    All workers share one session: it may run in several threads at once, and one copy of the
    weights stays in the processor's caches where several would replace one another.
    """

    def __init__(self, name: str, generator: Generator) -> None:
        self.name = name
        self.checksum = hashlib.sha256(generator.model).hexdigest()[:16]
        # The model's name in the place of its path, so that errors reveal no path.
        self.generator = Generator(generator.model, generator.card, name, threads=1)
        self.generator.sample([0])  # a model that cannot run fails here, not at the first request

    @property
    def card(self) -> Card:
        """The artifact's card."""
        return self.generator.card

    @property
    def resolution(self) -> int:
        """Side of its images in pixels."""
        return self.card.resolution


@dataclass(frozen=True)
class Models:
    """The models by name, of which the first is the default, and by checksum.

    `by_checksum` also keeps the models that the last reload replaced, so that URLs with their
    checksums keep working.
    """

    by_name: Mapping[str, Model]
    by_checksum: Mapping[str, Model] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        generators: Sequence[tuple[str, Generator]],
        previous: Models | None = None,
    ) -> Models:
        """Return the models of named generators, reusing those of `previous` that are unchanged.

        Raises:
            CatganError: ONNX Runtime cannot run a model.
        """
        by_name = {}
        for name, generator in generators:
            known = previous.by_name.get(name) if previous else None
            unchanged = known is not None and known.generator.model == generator.model
            by_name[name] = known if known and unchanged else Model(name, generator)
        replaced = previous.by_name.values() if previous else ()
        by_checksum = {model.checksum: model for model in (*replaced, *by_name.values())}
        return cls(by_name, by_checksum)

    @property
    def default(self) -> Model:
        """The model of requests that name none."""
        return next(iter(self.by_name.values()))


def load_generators(paths: Sequence[Path]) -> list[tuple[str, Generator]]:
    """Load artifacts and return them with their names, the files' stems.

    Without `paths`, returns the bundled generator.

    Raises:
        CatganError: a file is no artifact, its name does not fit into a URL, or two files have the
            same name.
    """
    if not paths:
        return [(BUNDLED, load_generator())]
    generators: dict[str, Generator] = {}
    for path in paths:
        name = path.stem
        if not _NAME.fullmatch(name):
            raise CatganError(
                f"{path}: the file's name is the model's name in URLs: use at most 64 ASCII "
                "letters, digits, '.', '_' and '-'"
            )
        if name in generators:
            raise CatganError(f"{path}: duplicate model name {quoted(name)}: rename the file")
        generators[name] = load_generator(path)
    return list(generators.items())


def generate_images(model: Model, z: np.ndarray, truncation: float, stop: Stop) -> np.ndarray:
    """Return one image for each row of `z`, uint8, (N, resolution, resolution, 3).

    Raises `StoppedError` once `stop` is requested.
    """
    return model.generator.synthesize(z, truncation, lambda done: stop.check())


class StoppedError(Exception):
    """A job was stopped because nobody waits for its result."""


class Stop:
    """A flag by which the event loop asks a worker's job to stop."""

    def __init__(self) -> None:
        self.requested = False

    def check(self) -> None:
        """Raise `StoppedError` if a stop was requested."""
        if self.requested:
            raise StoppedError
