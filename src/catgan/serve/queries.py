"""What a request asks for, read from its address: each mistake is a `ProblemError` of one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.requests import Request

from catgan.errors import CatganError, quoted
from catgan.generation.seeds import MAX_SEED, parse_seeds
from catgan.serve.problems import ProblemError

if TYPE_CHECKING:
    from catgan.serve.models import Model, Models
    from catgan.serve.settings import Settings

FORMATS = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}  # and Pillow's names
MEDIA_TYPES = {
    "png": "image/png",
    "webp": "image/webp",
    "jpg": "image/jpeg",
    "gif": "image/gif",
}
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?")


class Query:
    """The parameters of an address. One that is unknown or there twice is a `ProblemError`, 400."""

    def __init__(self, request: Request, known: tuple[str, ...]) -> None:
        pairs = request.query_params.multi_items()
        self.values = dict(pairs)
        for name in self.values:
            if name not in known:
                raise ProblemError(
                    400, f"unknown parameter {quoted(name)}: known are {_list(known)}"
                )
        if len(pairs) > len(self.values):
            raise ProblemError(400, "a parameter is there twice: name each once")

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number."""
        text = self.values.get(name, str(default))
        if not re.fullmatch("[0-9]{1,9}", text, re.ASCII) or not low <= int(text) <= high:
            raise ProblemError(
                400, f"{name}={quoted(text)}: expected a whole number from {low} to {high}"
            )
        return int(text)

    def truncation(self) -> float:
        """Return the truncation, from 0 to 1."""
        text = self.values.get("truncation", "1").strip()  # a plus sign arrives as a space
        number = float(text) if _NUMBER.fullmatch(text) else -1.0
        if not 0 <= number <= 1:
            raise ProblemError(400, f"truncation={quoted(text)}: expected a number from 0 to 1")
        return abs(number)  # -0.0 and 0.0 are one

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return one of several words, the first unless one is named."""
        text = self.values.get(name, choices[0])
        if text not in choices:
            raise ProblemError(400, f"{name}={quoted(text)}: expected {_list(choices)}")
        return text

    def seeds(self, limit: int) -> list[int]:
        """Return the seeds, at most so many."""
        if "seeds" not in self.values:
            raise ProblemError(400, "seeds are missing: write, say, ?seeds=0-15 or ?seeds=3,9,27")
        try:
            return parse_seeds(self.values["seeds"], limit)
        except CatganError as error:
            raise ProblemError(400, str(error)) from None

    def size(self, model: Model, settings: Settings) -> int:
        """Return the side of an image in pixels."""
        side = model.resolution
        return self.whole("size", side, side, max(side, settings.max_size))


def path_seed(text: str) -> int:
    """Return the seed in a path."""
    if not re.fullmatch("[0-9]{1,19}", text, re.ASCII) or int(text) > MAX_SEED:
        raise ProblemError(
            400, f"invalid seed {quoted(text)}: expected a whole number from 0 to {MAX_SEED}"
        )
    return int(text)


def chosen_model(request: Request, models: Models, named: str | None) -> Model:
    """Return the model of a path with a checksum, else the one that is named, else the default."""
    checksum = request.path_params.get("checksum")
    if checksum is not None:
        model = models.by_checksum.get(checksum)
        if model is None:
            raise ProblemError(404, f"no artifact {quoted(checksum)} here: see /models")
        return model
    return named_model(models, named)


def named_model(models: Models, name: str | None) -> Model:
    """Return the model of a name, or the default one for None."""
    if name is None:
        return models.default
    if name not in models.by_name:
        raise ProblemError(404, f"no model {quoted(name)} here: see /models")
    return models.by_name[name]


def check_pixels(pixels: int, limit: int) -> None:
    """Raise `ProblemError` 413 for an answer of more pixels than the limit."""
    if pixels > limit:
        raise ProblemError(
            413, f"{pixels:,} pixels are more than the {limit:,} of one answer: ask for fewer"
        )


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(words)
