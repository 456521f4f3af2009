"""The model card of an artifact, parsed from untrusted JSON."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catgan.errors import CatganError

FORMAT = 2
LATENTS = "philox4x32-10 box-muller"  # of generation/latents.py
PRECISIONS = ("float32", "float16", "int8")
MAX_DIRECTIONS = 64
MAX_SCORES = 256
MAX_ANCESTORS = 50
MAX_TEXT = 2_000  # characters; the rest of a text is cut off


@dataclass(frozen=True)
class Direction:
    """A unit vector (latent_size,) in the space of z along which images change.

    `name` says what changes, or is empty. `share` is the fraction, from 0 to 1, of the variance of
    the generator's first feature maps that it explains.
    """

    name: str
    share: float
    vector: np.ndarray


@dataclass(frozen=True)
class Score:
    """One evaluation: a readable line, its numbers, and the fingerprint under which they hold."""

    line: str
    values: dict[str, Any]
    fingerprint: dict[str, Any]


@dataclass(frozen=True)
class Ancestor:
    """A generator whose weights another one was initialized with, and its training photos."""

    name: str
    recipe: str
    images: int
    data: str
    license: str
    credit: str


@dataclass(frozen=True)
class Card:
    """The fields of a card that the runtime uses or shows; `document` is the complete JSON."""

    name: str
    catgan: str
    precision: str
    resolution: int
    latent_size: int
    images: int
    recipe: str
    training: str
    data_name: str
    data_images: int
    license: str
    credit: str
    scores: tuple[Score, ...]
    directions: tuple[Direction, ...]
    parity: dict[str, Any]
    lineage: tuple[Ancestor, ...]
    document: dict[str, Any]

    @property
    def trained(self) -> str:
        """The recipe, the images seen, and the training time if it is known."""
        seen = f"{self.recipe}, {self.images:,} images seen"
        return f"{seen} in {self.training}" if self.training else seen

    def lines(self) -> list[tuple[str, str]]:
        """Return a summary for people, as pairs of a title and a text."""
        parity = self.parity
        lines = [
            ("generator", f"{self.name}, {self.resolution} x {self.resolution} px"),
            ("trained", self.trained),
            ("data", f"{self.data_images:,} images of {self.data_name}"),
            *((("began as", describe_lineage(self.lineage)),) if self.lineage else ()),
            ("credit", self.credit),
            ("license", self.license),
            *(("score", score.line) for score in self.scores or ()),
            ("latents", f"{self.latent_size} numbers; a seed is from 0 to 2^63 - 1"),
            (
                "precision",
                f"{self.precision}; over {parity.get('seeds')} seeds, images differ from "
                f"{parity.get('reference', 'torch')} by at most {parity.get('largest')} and on "
                f"average {parity.get('mean', math.nan):.2g} of 255 levels",
            ),
            ("written by", f"catgan {self.catgan}"),
        ]
        if not self.scores:
            lines.insert(
                5 + bool(self.lineage),
                ("score", "none: the run was exported without an evaluation"),
            )
        return lines


def parse_card(document: Mapping[str, Any], where: str) -> Card:
    """Return the card in a JSON object; errors name the file `where`.

    Raises:
        CatganError: the card is damaged or has another format version.
    """
    if document.get("format") != FORMAT:
        raise CatganError(
            f"{where}: its card has format {str(document.get('format'))[:20]!r}, but this catgan "
            f"reads format {FORMAT}: upgrade catgan, or export the run again"
        )
    try:
        clean = _printable(document)
        network, data = clean["config"]["network"], clean["data"]
        size = _integer(network["latent_size"], 1, 4096)
        card = Card(
            name=_text(clean["name"]),
            catgan=_text(clean["catgan"]),
            precision=_text(clean["precision"]),
            resolution=_integer(network["resolution"], 1, 1024),
            latent_size=size,
            images=_integer(clean["images"], 0, 2**63),
            recipe=_text(clean["config"]["recipe"]),
            training=_training(clean.get("training")),
            data_name=_text(data["name"]),
            data_images=_integer(data["images"], 0, 2**63),
            license=_text(data["license"]),
            credit=_text(data["credit"]),
            scores=tuple(
                Score(_text(score["line"]), _object(score["values"]), _object(score["fingerprint"]))
                for score in _list(clean["scores"], MAX_SCORES)
            ),
            directions=tuple(
                _direction(each, size) for each in _list(clean["directions"], MAX_DIRECTIONS)
            ),
            parity=_parity(clean["parity"]),
            lineage=tuple(read_lineage(clean.get("lineage"))),
            document=clean,
        )
        if clean["latents"] != LATENTS:
            raise ValueError("its latents use a method unknown to this catgan")
    except (
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
        binascii.Error,
    ) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CatganError(
            f"{where}: its card is damaged ({reason[:200]}): export the run again"
        ) from None
    return card


def read_lineage(value: Any) -> list[Ancestor]:
    """Return the ancestors in JSON, nearest first; [] if there are none.

    Raises:
        ValueError, TypeError, KeyError: `value` is not a lineage.
    """
    if value is None:
        return []
    return [
        Ancestor(
            name=_printable(_text(each["name"])),
            recipe=_printable(_text(each["recipe"])),
            images=_integer(each["images"], 0, 2**63),
            data=_printable(_text(each["data"])),
            license=_printable(_text(each["license"])),
            credit=_printable(_text(each["credit"])),
        )
        for each in map(_object, _list(value, MAX_ANCESTORS))
    ]


def describe_lineage(lineage: Sequence[Ancestor]) -> str:
    """Return the ancestors on one line, nearest first."""
    return ", which began as ".join(
        f"{each.name} ({each.images:,} images seen of {each.data}, {each.license})"
        for each in lineage
    )


def direction_to_json(direction: Direction) -> dict[str, Any]:
    """Return a direction as JSON: the vector as little-endian float32 in base64."""
    vector = base64.b64encode(direction.vector.astype("<f4").tobytes()).decode("ascii")
    return {"name": direction.name, "share": direction.share, "vector": vector}


def _direction(value: Any, size: int) -> Direction:
    encoded = _object(value)["vector"]
    if not isinstance(encoded, str) or len(encoded) > 8 * size + 8:
        raise ValueError("a direction is not a vector")
    data = base64.b64decode(encoded, validate=True)
    if len(data) != 4 * size:
        raise ValueError("a direction does not have the latents' length")
    vector = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(vector).all() or not 0.99 < np.linalg.norm(vector) < 1.01:
        raise ValueError("a direction does not have length one")
    return Direction(_text(value["name"]), _number(value["share"]), vector)


def _training(value: Any) -> str:
    """Return the training time and the machine, or "" if the card has neither."""
    if value is None:
        return ""
    hours = _number(_object(value)["hours"])
    time = f"{60 * hours:.0f} minutes" if hours < 2 else f"{hours:.1f} hours"
    return f"{time} on {_text(value['machine'])}"


def _parity(value: Any) -> dict[str, Any]:
    table = _object(value)
    _integer(table["seeds"], 1, 2**31)
    _integer(table["largest"], 0, 255)
    _number(table["mean"])
    _text(table.get("reference", ""))
    return table


def _printable(value: Any) -> Any:
    """Return JSON with unprintable characters replaced, so that a terminal can show it."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    if isinstance(value, list):
        return [_printable(each) for each in value]
    if isinstance(value, dict):
        return {_printable(key): _printable(each) for key, each in value.items()}
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("expected a string")
    return value[:MAX_TEXT]


def _integer(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"expected a whole number from {low} to {high}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("expected a finite number")
    return float(value)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("expected a JSON object")
    return value


def _list(value: Any, max_length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > max_length:
        raise TypeError(f"expected a list of at most {max_length}")
    return value
