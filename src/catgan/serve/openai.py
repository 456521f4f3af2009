"""The shape of OpenAI's image API, so that its clients work: POST /v1/images/generations.

A prompt is required there and changes nothing here: a generator of cats draws cats. Without a
`seed` the seeds are random; each image says which one it has.
"""

from __future__ import annotations

import base64
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from catgan.errors import quoted
from catgan.generation.grid import encode_image, enlarge
from catgan.generation.seeds import MAX_SEED
from catgan.serve import bodies
from catgan.serve.models import Model, Stop, images_of
from catgan.serve.problems import ProblemError
from catgan.serve.queries import FORMATS, check_pixels, named_model

if TYPE_CHECKING:
    from catgan.serve.service import Service

MAX_RANDOM_SEED = 2**31 - 1  # JavaScript keeps it exactly
OUTPUT_FORMATS = {"png": "png", "webp": "webp", "jpeg": "jpg"}


def routes(service: Service) -> list[Route]:
    """Return the routes."""
    settings = service.settings

    async def generations(request: Request) -> Response:
        asked = bodies.parse_json_object(await service.body(request))
        bodies.text(asked, "prompt")
        model = named_model(service.models, bodies.text(asked, "model"))
        if bodies.text(asked, "response_format") not in (None, "b64_json"):
            raise ProblemError(422, "response_format: expected b64_json; /cats/7.png is an address")
        if asked.get("stream"):
            raise ProblemError(422, "stream: expected false; images are not streamed")
        output_format = bodies.text(asked, "output_format") or "png"
        if output_format not in OUTPUT_FORMATS:
            raise ProblemError(
                422,
                f"output_format={quoted(output_format)}: expected {', '.join(OUTPUT_FORMATS)}",
            )
        count = bodies.whole(asked, "n", 1, 1, settings.max_seeds)
        first = bodies.whole(asked, "seed", -1, 0, MAX_SEED - count + 1)
        truncation = bodies.number(asked, "truncation", 1, 0, 1)
        size = _size(bodies.text(asked, "size"), model, settings.max_size)
        check_pixels(count * size * size, settings.max_pixels)
        seeds = (
            [secrets.randbelow(MAX_RANDOM_SEED + 1) for _ in range(count)]
            if first < 0
            else list(range(first, first + count))
        )
        kind = FORMATS[OUTPUT_FORMATS[output_format]]

        def draw(stop: Stop) -> list[dict[str, Any]]:
            images = images_of(model, model.generator.latents(seeds), truncation, stop)
            files = (encode_image(enlarge(image, size), kind) for image in images)
            return [
                {"b64_json": base64.b64encode(file).decode("ascii"), "seed": seed}
                for seed, file in zip(seeds, files, strict=True)
            ]

        del asked  # which may take many times the body's memory, until it is this one's turn
        data = await service.draw(request, model, count, draw)
        content = {
            "created": int(time.time()),
            "data": data,
            "output_format": output_format,
            "size": f"{size}x{size}",
        }
        return JSONResponse(content, headers={"Cache-Control": "no-store"})

    async def openai_models(request: Request) -> Response:
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "catgan"}
            for name in service.models.by_name
        ]
        return JSONResponse({"object": "list", "data": data}, headers={"Cache-Control": "no-cache"})

    return [
        Route("/v1/images/generations", generations, methods=["POST"]),
        Route("/v1/models", openai_models),
    ]


def _size(text: str | None, model: Model, limit: int) -> int:
    side = model.resolution
    if text in (None, "auto"):
        return side
    match = re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", text, re.ASCII)
    limit = max(side, limit)
    if not match or match[1] != match[2] or not side <= int(match[1]) <= limit:
        raise ProblemError(
            422,
            f"size={quoted(text)}: expected auto, or a square, {side}x{side} to {limit}x{limit}",
        )
    return int(match[1])
