"""Parse and check the path and query parameters of requests; mistakes are `ProblemError`s."""

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

FORMATS = {"png": "PNG", "webp": "WEBP", "jpg": "JPEG"}  # image formats: name in URLs, in Pillow
MORPH_FORMATS = ("webp", "gif")
MEDIA_TYPES = {
    "png": "image/png",
    "webp": "image/webp",
    "jpg": "image/jpeg",
    "gif": "image/gif",
}
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?")


class Query:
    """The query parameters of a request.

    Raises `ProblemError` 400 for an unknown or repeated parameter, and for an invalid value.
    """

    def __init__(self, request: Request, known: tuple[str, ...]) -> None:
        pairs = request.query_params.multi_items()
        self.values = dict(pairs)
        for name in self.values:
            if name not in known:
                raise ProblemError(
                    400, f"unknown parameter {quoted(name)}: expected {', '.join(known)}"
                )
        if len(pairs) > len(self.values):
            raise ProblemError(400, "repeated parameter: name each parameter once")

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Return an integer parameter from `low` to `high`."""
        text = self.values.get(name, str(default))
        if not re.fullmatch("[0-9]{1,9}", text, re.ASCII) or not low <= int(text) <= high:
            raise ProblemError(
                400, f"{name}={quoted(text)}: expected a whole number from {low} to {high}"
            )
        return int(text)

    def truncation(self) -> float:
        """Return the truncation, from 0 to 1; 1 if it is absent."""
        text = self.values.get("truncation", "1").strip()  # a plus sign arrives as a space
        number = float(text) if _NUMBER.fullmatch(text) else -1.0
        if not 0 <= number <= 1:
            raise ProblemError(400, f"truncation={quoted(text)}: expected a number from 0 to 1")
        return abs(number)  # -0.0 and 0.0 share one cache key

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return a parameter that is one of `choices`; the first if it is absent."""
        text = self.values.get(name, choices[0])
        if text not in choices:
            raise ProblemError(400, f"{name}={quoted(text)}: expected {', '.join(choices)}")
        return text

    def seeds(self, limit: int) -> list[int]:
        """Return the seeds, at most `limit`; the parameter is required."""
        if "seeds" not in self.values:
            raise ProblemError(
                400, "missing parameter seeds: expected ?seeds=0-15 or ?seeds=3,9,27"
            )
        try:
            return parse_seeds(self.values["seeds"], limit)
        except CatganError as error:
            raise ProblemError(400, str(error)) from None

    def size(self, model: Model, settings: Settings) -> int:
        """Return the side of an image in pixels; the model's resolution if it is absent."""
        side = model.resolution
        return self.integer("size", side, side, max(side, settings.max_size))


def parse_path_seed(text: str) -> int:
    """Return the seed in a path; raises `ProblemError` 400."""
    if not re.fullmatch("[0-9]{1,19}", text, re.ASCII) or int(text) > MAX_SEED:
        raise ProblemError(
            400, f"invalid seed {quoted(text)}: expected a whole number from 0 to {MAX_SEED}"
        )
    return int(text)


def requested_model(request: Request, models: Models, name: str | None) -> Model:
    """Return the model of the checksum in the path, else of `name`, else the default.

    Raises `ProblemError` 404 for an unknown checksum or name.
    """
    checksum = request.path_params.get("checksum")
    if checksum is not None:
        model = models.by_checksum.get(checksum)
        if model is None:
            raise ProblemError(404, f"unknown artifact {quoted(checksum)}: see /models")
        return model
    return model_by_name(models, name)


def model_by_name(models: Models, name: str | None) -> Model:
    """Return the model `name`, or the default for None; raises `ProblemError` 404."""
    if name is None:
        return models.default
    if name not in models.by_name:
        raise ProblemError(404, f"unknown model {quoted(name)}: see /models")
    return models.by_name[name]


def check_pixels(pixels: int, limit: int) -> None:
    """Raise `ProblemError` 413 for a response of more than `limit` pixels."""
    if pixels > limit:
        raise ProblemError(
            413,
            f"{pixels:,} pixels exceed the limit of {limit:,} a response: request fewer or "
            "smaller images",
        )
