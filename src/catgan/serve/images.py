"""GET routes for images: one image, a grid, a morph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catgan.errors import CatganError
from catgan.generation.animation import MAX_FRAMES_PER_SECOND, encode_animation
from catgan.generation.grid import encode_image, enlarge, make_grid
from catgan.generation.interpolation import check_frames, loop_latents
from catgan.serve.models import Stop, generate_images
from catgan.serve.problems import ProblemError
from catgan.serve.queries import (
    FORMATS,
    MEDIA_TYPES,
    MORPH_FORMATS,
    Query,
    check_pixels,
    parse_path_seed,
    requested_model,
)

if TYPE_CHECKING:
    from catgan.serve.service import Service

GAP = 2  # pixels between the images of a grid, as in `catgan sample`
DEFAULT_FRAMES, DEFAULT_FRAMES_PER_SECOND = 60, 20  # as in `catgan morph`


def routes(service: Service) -> list[Route]:
    """Return the routes, each with and without an artifact's checksum in the path."""
    settings = service.settings

    async def image(request: Request) -> Response:
        query = Query(request, ("truncation", "size", "model"))
        model = requested_model(request, service.models, query.values.get("model"))
        image_format = request.path_params["format"]
        if image_format not in FORMATS:
            raise ProblemError(404, f"unknown image format: expected {', '.join(FORMATS)}")
        seed = parse_path_seed(request.path_params["seed"])
        truncation, size = query.truncation(), query.size(model, settings)
        check_pixels(size * size, settings.max_pixels)

        def generate(stop: Stop) -> bytes:
            z = model.generator.latents([seed])
            (generated,) = generate_images(model, z, truncation, stop)
            return encode_image(enlarge(generated, size), FORMATS[image_format])

        key = (model.checksum, "image", seed, truncation, size, image_format)
        media_type = MEDIA_TYPES[image_format]
        return await service.cached_response(request, model, key, media_type, 1, generate)

    async def grid(request: Request) -> Response:
        query = Query(request, ("seeds", "columns", "truncation", "size", "format", "model"))
        model = requested_model(request, service.models, query.values.get("model"))
        image_format = query.choice("format", tuple(FORMATS))
        seeds = query.seeds(settings.max_seeds)
        truncation, size = query.truncation(), query.size(model, settings)
        square = next(n for n in range(1, len(seeds) + 1) if n * n >= len(seeds))
        columns = query.integer("columns", square, 1, len(seeds))
        rows = -(-len(seeds) // columns)
        check_pixels((columns * (size + GAP)) * (rows * (size + GAP)), settings.max_pixels)

        def generate(stop: Stop) -> bytes:
            images = generate_images(model, model.generator.latents(seeds), truncation, stop)
            return encode_image(make_grid(images, columns, GAP, size), FORMATS[image_format])

        key = (model.checksum, "grid", tuple(seeds), columns, truncation, size, image_format)
        media_type = MEDIA_TYPES[image_format]
        return await service.cached_response(request, model, key, media_type, len(seeds), generate)

    async def morph(request: Request) -> Response:
        query = Query(request, ("seeds", "frames", "fps", "truncation", "size", "format", "model"))
        model = requested_model(request, service.models, query.values.get("model"))
        morph_format = query.choice("format", MORPH_FORMATS)
        seeds = query.seeds(min(settings.max_seeds, settings.max_frames))
        default = max(len(seeds), min(DEFAULT_FRAMES, settings.max_frames))
        frames = query.integer("frames", default, 2, settings.max_frames)
        fps = query.integer("fps", DEFAULT_FRAMES_PER_SECOND, 1, MAX_FRAMES_PER_SECOND)
        truncation, size = query.truncation(), query.size(model, settings)
        try:
            check_frames(len(seeds), frames)
        except CatganError as error:
            raise ProblemError(400, str(error).replace("--seeds 3,9", "?seeds=3,9")) from None
        check_pixels(frames * size * size, settings.max_pixels)

        def generate(stop: Stop) -> bytes:
            z = loop_latents(model.generator.latents(seeds), frames)
            generated = generate_images(model, z, truncation, stop)
            return encode_animation(generated, f".{morph_format}", fps, size)

        key = (model.checksum, "morph", tuple(seeds), frames, fps, truncation, size, morph_format)
        media_type = MEDIA_TYPES[morph_format]
        return await service.cached_response(
            request, model, key, media_type, frames, generate, service.morphs
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
