"""The artifacts that are served: each with one single-threaded session for every worker."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import LifoQueue

import numpy as np

from catgan.errors import CatganError, quoted
from catgan.generation.card import Card
from catgan.generation.generator import Generator, load_generator

BUNDLED = "catgan"  # the name of the package's generator
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Model:
    """One artifact under a name. `checksum`: the first 16 hex digits of its file's sha256."""

    def __init__(self, name: str, generator: Generator, workers: int) -> None:
        self.name = name
        self.generator = generator
        self.checksum = hashlib.sha256(generator.model).hexdigest()[:16]
        # Errors name the model by its name: a response holds no path.
        self._idle: LifoQueue[Generator] = LifoQueue()
        for _ in range(workers):
            session = Generator(generator.model, generator.card, name, threads=1)
            session.sample([0])  # what it fails on, it fails on here
            self._idle.put(session)

    @property
    def card(self) -> Card:
        """What the artifact says of itself."""
        return self.generator.card

    @property
    def resolution(self) -> int:
        """Side of its images in pixels."""
        return self.card.resolution

    @contextmanager
    def session(self) -> Iterator[Generator]:
        """Lend a generator that no other thread uses; waits where all are lent."""
        session = self._idle.get()
        try:
            yield session
        finally:
            self._idle.put(session)


@dataclass(frozen=True)
class Models:
    """The models by name, the first one being the default; and by checksum.

    `by_checksum` also holds those that a reload has just replaced, so that an address with a
    checksum that a client was given a moment ago still answers.
    """

    by_name: Mapping[str, Model]
    by_checksum: Mapping[str, Model] = field(default_factory=dict)

    @classmethod
    def of(
        cls, generators: Sequence[tuple[str, Generator]], workers: int, before: Models | None = None
    ) -> Models:
        """Make the models; one whose file has not changed since `before` is kept as it is.

        Raises `CatganError` for a model that ONNX Runtime cannot use.
        """
        by_name = {}
        for name, generator in generators:
            known = before.by_name.get(name) if before else None
            same = known is not None and known.generator.model == generator.model
            by_name[name] = known if known and same else Model(name, generator, workers)
        replaced = before.by_name.values() if before else ()
        by_checksum = {model.checksum: model for model in (*replaced, *by_name.values())}
        return cls(by_name, by_checksum)

    @property
    def default(self) -> Model:
        """The model that is taken where a request names none."""
        return next(iter(self.by_name.values()))


def load_generators(paths: Sequence[Path]) -> list[tuple[str, Generator]]:
    """Open artifacts under their file names' stems; without `paths`, the package's generator.

    Raises `CatganError` for a file that is none, and for two of one name.
    """
    if not paths:
        return [(BUNDLED, load_generator())]
    generators: dict[str, Generator] = {}
    for path in paths:
        name = path.stem
        if not _NAME.fullmatch(name):
            raise CatganError(
                f"{path}: cannot be an address: name the file by ASCII letters, digits, '.', '_' "
                "and '-', at most 64"
            )
        if name in generators:
            raise CatganError(
                f"{path}: a model named {quoted(name)} is there already: rename the file"
            )
        generators[name] = load_generator(path)
    return list(generators.items())


def images_of(model: Model, z: np.ndarray, truncation: float, stop: Stop) -> np.ndarray:
    """Draw one image for each row of `z`, (N, side, side, 3) uint8, unless told to stop."""
    with model.session() as session:
        return session.synthesize(z, truncation, lambda done: stop.check())


class StoppedError(Exception):
    """Nobody waits for this work any more."""


class Stop:
    """Tells a worker's job that nobody waits for it any more."""

    def __init__(self) -> None:
        self.requested = False

    def check(self) -> None:
        """Raise `StoppedError` if it was requested."""
        if self.requested:
            raise StoppedError
