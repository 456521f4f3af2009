"""The ASGI application: the models, the queue, the memory, the routes, and what surrounds them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from catgan.serve import images, inference_protocol, openai, page
from catgan.serve.cache import ByteCache
from catgan.serve.caching import caching_headers, entity_tag, is_known
from catgan.serve.edge import Edge, Guard
from catgan.serve.engine import Engine
from catgan.serve.limits import Budget, RateLimiter, read_body
from catgan.serve.metrics import Metrics
from catgan.serve.models import Model, Models, Stop
from catgan.serve.openapi import describe
from catgan.serve.problems import ProblemError
from catgan.serve.settings import Settings

T = TypeVar("T")


class MorphLimit:
    """Lets so many morphs be drawn at the same time: with `with`, or `ProblemError` 503."""

    def __init__(self, limit: int) -> None:
        self.limit, self.running = limit, 0

    def __enter__(self) -> None:
        if self.running >= self.limit:
            raise ProblemError(
                503,
                f"{self.running} morphs are being drawn, at most {self.limit} are at once",
                reason="morphs",
                retry_after=1,
            )
        self.running += 1

    def __exit__(self, *error: object) -> None:
        self.running -= 1


class Service:
    """Draws cats over HTTP; an ASGI application. Its state belongs to the event loop's thread.

    `draining`: not ready any more; every answer asks its client to close the connection.
    """

    def __init__(self, models: Models, settings: Settings) -> None:
        self.settings = settings
        self.models = models
        self.page = page.Page(models.default)
        self.draining = False
        self.engine = Engine(settings.workers, settings.queue, settings.request_timeout)
        self.cache = ByteCache(settings.cache)
        self.morphs = MorphLimit(settings.max_morphs)
        self.buffers = Budget(settings.max_buffered)
        self.metrics = Metrics()
        watched: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("catgan_queue_images", "Images accepted and not done.", lambda: self.engine.pending),
            ("catgan_cache_bytes", "Bytes of answers in memory.", lambda: self.cache.size),
            ("catgan_buffered_bytes", "Of bodies and long answers.", lambda: self.buffers.used),
            ("catgan_morphs", "Morphs being drawn.", lambda: self.morphs.running),
            ("catgan_ready", "Whether it takes requests.", lambda: not self.draining),
        )
        for name, description, read in watched:
            self.metrics.watch(name, description, read)
        router = Router(
            [
                *images.routes(self),
                *openai.routes(self),
                *inference_protocol.routes(self),
                Route("/models", self._models),
                Route("/metrics", self._metrics),
                Route("/openapi.json", self._openapi),
                *(page.routes(self) if settings.page else ()),
            ],
            redirect_slashes=False,
        )
        app: ASGIApp = Guard(router, self, RateLimiter(settings.rate))
        if settings.cors_origins:
            app = CORSMiddleware(
                app,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "HEAD", "POST"],
                allow_headers=["Authorization", inference_protocol.HEADER_LENGTH],
                expose_headers=["ETag", "Retry-After", inference_protocol.HEADER_LENGTH],
            )
        self._app = Edge(app, self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._app(scope, receive, send)

    def replace_models(self, models: Models, new_page: page.Page) -> None:
        """Take other models from the next request on; what is being drawn is not disturbed."""
        self.models, self.page = models, new_page

    def close(self) -> None:
        """End the workers."""
        self.engine.close()

    async def body(self, request: Request) -> bytes:
        """Return the body of a request, within the limits; raises as `read_body` does."""
        settings = self.settings
        return await read_body(request, settings.max_body, settings.request_timeout, self.buffers)

    async def draw(self, request: Request, model: Model, count: int, job: Callable[[Stop], T]) -> T:
        """Return what `job` returns, run by a worker; it draws `count` images with `model`.

        Raises as `Engine.run` does.
        """

        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        result = await self.engine.run(job, count, gone)
        self.metrics.images.labels(model.name).inc(count)
        return result

    async def answer(
        self,
        request: Request,
        model: Model,
        key: tuple[object, ...],
        media_type: str,
        count: int,
        job: Callable[[Stop], bytes],
        limit: MorphLimit | None = None,
    ) -> Response:
        """Answer with the bytes that `key` alone decides: from the client's memory, ours, or drawn.

        `job` draws them, `count` images, within `limit`. A HEAD draws nothing.
        """
        tag = entity_tag(key)
        headers = dict(caching_headers(request, tag, private=bool(self.settings.token)))
        if is_known(request, tag):
            return Response(status_code=304, headers=headers)
        content = self.cache.get(tag)
        if request.method == "HEAD":
            response = Response(content, headers=headers, media_type=media_type)
            if content is None:
                del response.headers["Content-Length"]
            return response
        self.metrics.cache.labels("miss" if content is None else "hit").inc()
        if content is None:
            with limit or nullcontext():
                content = await self.draw(request, model, count, job)
            self.cache.put(tag, content)
        return Response(content, headers=headers, media_type=media_type)

    async def _models(self, request: Request) -> Response:
        content = [
            {
                "name": model.name,
                "default": model is self.models.default,
                "checksum": model.checksum,
                "address": f"artifacts/{model.checksum}",
                "resolution": model.resolution,
                "latent_size": model.card.latent_size,
                "data": model.card.data_name,
                "license": model.card.license,
                "credit": model.card.credit,
            }
            for model in self.models.by_name.values()
        ]
        return JSONResponse({"models": content}, headers={"Cache-Control": "no-cache"})

    async def _metrics(self, request: Request) -> Response:
        content = generate_latest(self.metrics.registry)
        headers = {"Cache-Control": "no-store", "Content-Type": CONTENT_TYPE_LATEST}
        return Response(content, headers=headers)

    async def _openapi(self, request: Request) -> Response:
        content = describe(self.settings, self.models.default.resolution)
        return JSONResponse(content, headers={"Cache-Control": "no-cache"})


async def reload(service: Service, load: Callable[[Models], Models]) -> None:
    """Load models in a thread and replace the service's; raises what `load` raises."""

    def prepare() -> tuple[Models, page.Page]:
        models = load(service.models)
        return models, page.Page(models.default)

    service.replace_models(*await asyncio.to_thread(prepare))
