"""Cats by address: one image, a grid, a morph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catgan.errors import CatganError
from catgan.generation.animation import MAX_FRAMES_PER_SECOND, encode_animation
from catgan.generation.grid import encode_image, enlarge, make_grid
from catgan.generation.interpolation import check_frames, loop_latents
from catgan.serve.models import Stop, images_of
from catgan.serve.problems import ProblemError
from catgan.serve.queries import (
    FORMATS,
    MEDIA_TYPES,
    Query,
    check_pixels,
    chosen_model,
    path_seed,
)

if TYPE_CHECKING:
    from catgan.serve.service import Service

GAP = 2  # pixels between the images of a grid, as `catgan sample` has it
DEFAULT_FRAMES, DEFAULT_RATE = 60, 20  # those of `catgan morph`


def routes(service: Service) -> list[Route]:
    """Return the routes, each with and without the checksum of an artifact."""
    settings = service.settings

    async def image(request: Request) -> Response:
        query = Query(request, ("truncation", "size", "model"))
        model = chosen_model(request, service.models, query.values.get("model"))
        kind = request.path_params["format"]
        if kind not in FORMATS:
            raise ProblemError(404, f"no such format: expected {', '.join(FORMATS)}")
        seed = path_seed(request.path_params["seed"])
        truncation, size = query.truncation(), query.size(model, settings)
        check_pixels(size * size, settings.max_pixels)

        def draw(stop: Stop) -> bytes:
            (procedural,) = images_of(model, model.generator.latents([seed]), truncation, stop)
            return encode_image(enlarge(procedural, size), FORMATS[kind])

        key = (model.checksum, "image", seed, truncation, size, kind)
        return await service.answer(request, model, key, MEDIA_TYPES[kind], 1, draw)

    async def grid(request: Request) -> Response:
        query = Query(request, ("seeds", "columns", "truncation", "size", "format", "model"))
        model = chosen_model(request, service.models, query.values.get("model"))
        kind = query.choice("format", tuple(FORMATS))
        seeds = query.seeds(settings.max_seeds)
        truncation, size = query.truncation(), query.size(model, settings)
        square = next(n for n in range(1, len(seeds) + 1) if n * n >= len(seeds))
        columns = query.whole("columns", square, 1, len(seeds))
        rows = -(-len(seeds) // columns)
        check_pixels((columns * (size + GAP)) * (rows * (size + GAP)), settings.max_pixels)

        def draw(stop: Stop) -> bytes:
            images = images_of(model, model.generator.latents(seeds), truncation, stop)
            return encode_image(make_grid(images, columns, GAP, size), FORMATS[kind])

        key = (model.checksum, "grid", tuple(seeds), columns, truncation, size, kind)
        return await service.answer(request, model, key, MEDIA_TYPES[kind], len(seeds), draw)

    async def morph(request: Request) -> Response:
        query = Query(request, ("seeds", "frames", "fps", "truncation", "size", "format", "model"))
        model = chosen_model(request, service.models, query.values.get("model"))
        kind = query.choice("format", ("webp", "gif"))
        seeds = query.seeds(min(settings.max_seeds, settings.max_frames))
        default = max(len(seeds), min(DEFAULT_FRAMES, settings.max_frames))
        frames = query.whole("frames", default, 2, settings.max_frames)
        rate = query.whole("fps", DEFAULT_RATE, 1, MAX_FRAMES_PER_SECOND)
        truncation, size = query.truncation(), query.size(model, settings)
        try:
            check_frames(len(seeds), frames)
        except CatganError as error:
            raise ProblemError(400, str(error).replace("--seeds 3,9", "?seeds=3,9")) from None
        check_pixels(frames * size * size, settings.max_pixels)

        def draw(stop: Stop) -> bytes:
            z = loop_latents(model.generator.latents(seeds), frames)
            procedural = images_of(model, z, truncation, stop)
            return encode_animation(procedural, f".{kind}", rate, size)

        key = (model.checksum, "morph", tuple(seeds), frames, rate, truncation, size, kind)
        return await service.answer(
            request, model, key, MEDIA_TYPES[kind], frames, draw, service.morphs
        )

    return [
        Route(start + path, endpoint)
        for start in ("", "/artifacts/{checksum}")
        for path, endpoint in (
            ("/cats/{seed}.{format}", image),
            ("/grid", grid),
            ("/morph", morph),
        )
    ]
