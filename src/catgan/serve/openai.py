"""OpenAI's image API, for its clients: POST /v1/images/generations.

OpenAI requires a prompt; it has no effect here, since the generator is unconditional. Without a
`seed` the seeds are random; the response contains the seed of each image.
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
from catgan.serve.models import Model, Stop, generate_images
from catgan.serve.problems import ProblemError
from catgan.serve.queries import FORMATS, check_pixels, model_by_name

if TYPE_CHECKING:
    from catgan.serve.service import Service

MAX_RANDOM_SEED = 2**31 - 1  # exact in JavaScript's numbers
OUTPUT_FORMATS = {"png": "png", "webp": "webp", "jpeg": "jpg"}  # OpenAI's name, ours


def routes(service: Service) -> list[Route]:
    """Return the routes."""
    settings = service.settings

    async def generations(request: Request) -> Response:
        document = bodies.parse_json_object(await service.body(request))
        bodies.get_string(document, "prompt")  # rejects another type
        model = model_by_name(service.models, bodies.get_string(document, "model"))
        if bodies.get_string(document, "response_format") not in (None, "b64_json"):
            raise ProblemError(
                422, "response_format: expected b64_json; for a URL use GET /cats/7.png"
            )
        if document.get("stream") not in (None, False):
            raise ProblemError(422, "stream: expected false; images are not streamed")
        output_format = bodies.get_string(document, "output_format")
        output_format = "png" if output_format is None else output_format
        if output_format not in OUTPUT_FORMATS:
            raise ProblemError(
                422,
                f"output_format={quoted(output_format)}: expected {', '.join(OUTPUT_FORMATS)}",
            )
        count = bodies.get_int(document, "n", 1, 1, settings.max_seeds)
        first = bodies.get_int(document, "seed", -1, 0, MAX_SEED - count + 1)
        truncation = bodies.get_float(document, "truncation", 1, 0, 1)
        size = _parse_size(bodies.get_string(document, "size"), model, settings.max_size)
        check_pixels(count * size * size, settings.max_pixels)
        seeds = (
            [secrets.randbelow(MAX_RANDOM_SEED + 1) for _ in range(count)]
            if first < 0
            else list(range(first, first + count))
        )
        pillow_format = FORMATS[OUTPUT_FORMATS[output_format]]

        def generate(stop: Stop) -> list[dict[str, Any]]:
            images = generate_images(model, model.generator.latents(seeds), truncation, stop)
            files = (encode_image(enlarge(image, size), pillow_format) for image in images)
            return [
                {"b64_json": base64.b64encode(file).decode("ascii"), "seed": seed}
                for seed, file in zip(seeds, files, strict=True)
            ]

        del document  # it can take many times the body's memory, and the queue may be long
        data = await service.generate(request, model, count, generate)
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


def _parse_size(text: str | None, model: Model, limit: int) -> int:
    """Return the side in pixels of "auto" or "256x256"; raises `ProblemError` 422."""
    side = model.resolution
    if text in (None, "auto"):
        return side
    match = re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", text, re.ASCII)
    limit = max(side, limit)
    if not match or match[1] != match[2] or not side <= int(match[1]) <= limit:
        raise ProblemError(
            422,
            f"size={quoted(text)}: expected auto or a square from {side}x{side} to {limit}x{limit}",
        )
    return int(match[1])
