"""The ASGI application: models, worker queue, response cache, routes, middleware."""

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
from catgan.serve.limits import ByteBudget, RateLimiter, read_body
from catgan.serve.metrics import Metrics
from catgan.serve.models import Model, Models, Stop
from catgan.serve.openapi import describe
from catgan.serve.problems import ProblemError
from catgan.serve.settings import Settings

T = TypeVar("T")


class MorphLimit:
    """A context manager that limits concurrent morphs; raises `ProblemError` 503 over `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit, self.running = limit, 0

    def __enter__(self) -> None:
        if self.running >= self.limit:
            raise ProblemError(
                503,
                f"too many morphs: {self.running} in progress, at most {self.limit} at once",
                reason="morphs",
                retry_after=1,
            )
        self.running += 1

    def __exit__(self, *error: object) -> None:
        self.running -= 1


class Service:
    """The ASGI application that generates images over HTTP.

    Only the event loop's thread may touch its state. While `draining`, it reports that it is not
    ready, and every response asks the client to close the connection.
    """

    def __init__(self, models: Models, settings: Settings) -> None:
        self.settings = settings
        self.models = models
        self.page = page.Page(models.default)
        self.draining = False
        self.engine = Engine(settings.workers, settings.queue, settings.request_timeout)
        self.cache = ByteCache(settings.cache)
        self.morphs = MorphLimit(settings.max_morphs)
        self.buffers = ByteBudget(settings.max_buffered)
        self.metrics = Metrics()
        gauges: tuple[tuple[str, str, Callable[[], float]], ...] = (
            ("catgan_queue_images", "Images accepted, not yet done.", lambda: self.engine.pending),
            ("catgan_cache_bytes", "Bytes in the response cache.", lambda: self.cache.size),
            (
                "catgan_buffered_bytes",
                "Bytes of request bodies and long responses in transit.",
                lambda: self.buffers.used,
            ),
            ("catgan_morphs", "Morphs in progress.", lambda: self.morphs.running),
            ("catgan_ready", "Whether the server is ready.", lambda: not self.draining),
        )
        for name, description, read in gauges:
            self.metrics.add_gauge(name, description, read)
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
        """Handle one ASGI connection scope."""
        await self._app(scope, receive, send)

    def replace_models(self, models: Models, new_page: page.Page) -> None:
        """Use `models` from the next request on; requests in progress keep theirs."""
        self.models, self.page = models, new_page

    def close(self) -> None:
        """Stop the workers, after the jobs they have started."""
        self.engine.close()

    async def body(self, request: Request) -> bytes:
        """Return the body of a request, within the service's limits; raises as `read_body`."""
        settings = self.settings
        return await read_body(request, settings.max_body, settings.request_timeout, self.buffers)

    async def generate(
        self, request: Request, model: Model, count: int, job: Callable[[Stop], T]
    ) -> T:
        """Run `job`, which generates `count` images with `model`, on a worker; return its result.

        Raises as `Engine.run`.
        """

        async def wait_for_disconnect() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        result = await self.engine.run(job, count, wait_for_disconnect)
        self.metrics.images.labels(model.name).inc(count)
        return result

    async def cached_response(
        self,
        request: Request,
        model: Model,
        key: tuple[object, ...],
        media_type: str,
        count: int,
        job: Callable[[Stop], bytes],
        limit: MorphLimit | None = None,
    ) -> Response:
        """Return the response whose content is a pure function of `key`.

        The content comes from the client's cache (304), else from ours, else from `job`, which
        generates `count` images within `limit`. A HEAD request never runs `job`.
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
                content = await self.generate(request, model, count, job)
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
    """Load models in a thread, then replace the service's; raises what `load` raises."""

    def prepare() -> tuple[Models, page.Page]:
        models = load(service.models)
        return models, page.Page(models.default)

    service.replace_models(*await asyncio.to_thread(prepare))
