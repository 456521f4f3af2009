"""What an artifact says of itself: its card, read from JSON that anyone may have written."""

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
MAX_TEXT = 2_000  # characters of one text that are kept


@dataclass(frozen=True)
class Direction:
    """A unit vector in the space of z along which images change; `name` says how, if known.

    `share`: of the variance of the generator's first maps, from 0 to 1.
    """

    name: str
    share: float
    vector: np.ndarray


@dataclass(frozen=True)
class Score:
    """One evaluation: its line for people, its numbers, and the fingerprint they hold under."""

    line: str
    values: dict[str, Any]
    fingerprint: dict[str, Any]


@dataclass(frozen=True)
class Ancestor:
    """A generator that another one was started from, and on whose photos it learned."""

    name: str
    recipe: str
    images: int
    data: str
    license: str
    credit: str


@dataclass(frozen=True)
class Card:
    """The parts of the card that the runtime uses or shows; `document` is the whole JSON."""

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
        """With which recipe, on how many images, and for how long, if that is known."""
        seen = f"{self.recipe}, {self.images:,} images seen"
        return f"{seen} in {self.training}" if self.training else seen

    def lines(self) -> list[tuple[str, str]]:
        """What a person wants to know, as pairs of a title and a text."""
        parity = self.parity
        lines = [
            ("generator", f"{self.name}, {self.resolution} x {self.resolution} px"),
            ("trained", self.trained),
            ("on", f"{self.data_images:,} images of {self.data_name}"),
            *((("began as", describe_lineage(self.lineage)),) if self.lineage else ()),
            ("credit", self.credit),
            ("license", self.license),
            *(("score", score.line) for score in self.scores or ()),
            ("latents", f"{self.latent_size} numbers; a seed is from 0 to 2^63 - 1"),
            (
                "stored as",
                f"{self.precision}; against {parity.get('reference', 'torch')}, over "
                f"{parity.get('seeds')} seeds, at most "
                f"{parity.get('largest')} and on average {parity.get('mean', math.nan):.2g} "
                "of 255 steps apart",
            ),
            ("made by", f"catgan {self.catgan}"),
        ]
        if not self.scores:
            lines.insert(
                5 + bool(self.lineage),
                ("score", "none: it was exported from a run that was not evaluated"),
            )
        return lines


def parse_card(document: Mapping[str, Any], where: str) -> Card:
    """The card that `document` is; `CatganError` for one that is none or of another format."""
    if document.get("format") != FORMAT:
        raise CatganError(
            f"{where}: its card has format {str(document.get('format'))[:20]!r}, this catgan reads "
            f"{FORMAT}: upgrade catgan, or export the run again"
        )
    try:
        clean = _clean(document)
        network, data = clean["config"]["network"], clean["data"]
        size = _whole(network["latent_size"], 1, 4096)
        card = Card(
            name=_text(clean["name"]),
            catgan=_text(clean["catgan"]),
            precision=_text(clean["precision"]),
            resolution=_whole(network["resolution"], 1, 1024),
            latent_size=size,
            images=_whole(clean["images"], 0, 2**63),
            recipe=_text(clean["config"]["recipe"]),
            training=_training(clean.get("training")),
            data_name=_text(data["name"]),
            data_images=_whole(data["images"], 0, 2**63),
            license=_text(data["license"]),
            credit=_text(data["credit"]),
            scores=tuple(
                Score(_text(score["line"]), _table(score["values"]), _table(score["fingerprint"]))
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
            raise ValueError("its latents are made in a way that this catgan does not know")
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
    """Return the ancestors in JSON, the nearest first; [] where there are none.

    Raises `ValueError` or `TypeError` for what is no lineage.
    """
    if value is None:
        return []
    return [
        Ancestor(
            name=_clean(_text(each["name"])),
            recipe=_clean(_text(each["recipe"])),
            images=_whole(each["images"], 0, 2**63),
            data=_clean(_text(each["data"])),
            license=_clean(_text(each["license"])),
            credit=_clean(_text(each["credit"])),
        )
        for each in map(_table, _list(value, MAX_ANCESTORS))
    ]


def describe_lineage(lineage: Sequence[Ancestor]) -> str:
    """Return the chain in one line, the nearest first."""
    return ", which began as ".join(
        f"{each.name} ({each.images:,} images seen of {each.data}, {each.license})"
        for each in lineage
    )


def direction_to_json(direction: Direction) -> dict[str, Any]:
    """A direction as the card holds it: the vector as little-endian float32 in base64."""
    vector = base64.b64encode(direction.vector.astype("<f4").tobytes()).decode("ascii")
    return {"name": direction.name, "share": direction.share, "vector": vector}


def _direction(value: Any, size: int) -> Direction:
    encoded = _table(value)["vector"]
    if not isinstance(encoded, str) or len(encoded) > 8 * size + 8:
        raise ValueError("a direction is no vector")
    data = base64.b64decode(encoded, validate=True)
    if len(data) != 4 * size:
        raise ValueError("a direction does not have the latents' length")
    vector = np.frombuffer(data, "<f4").astype(np.float32)
    if not np.isfinite(vector).all() or not 0.99 < np.linalg.norm(vector) < 1.01:
        raise ValueError("a direction does not have length one")
    return Direction(_text(value["name"]), _number(value["share"]), vector)


def _training(value: Any) -> str:
    """How long it took, on what; empty for a card that does not tell."""
    if value is None:
        return ""
    hours = _number(_table(value)["hours"])
    time = f"{60 * hours:.0f} minutes" if hours < 2 else f"{hours:.1f} hours"
    return f"{time} on {_text(value['machine'])}"


def _parity(value: Any) -> dict[str, Any]:
    table = _table(value)
    _whole(table["seeds"], 1, 2**31)
    _whole(table["largest"], 0, 255)
    _number(table["mean"])
    _text(table.get("reference", ""))
    return table


def _clean(value: Any) -> Any:
    """JSON whose texts can be shown in a terminal: nothing but what can be printed."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(each) for key, each in value.items()}
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is none")
    return value[:MAX_TEXT]


def _whole(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError("a number is impossible")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("a number is impossible")
    return float(value)


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("a table is none")
    return value


def _list(value: Any, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise TypeError("a list is none, or too long")
    return value
