"""Serve the page of `catgan web` at /; the server generates images if the browser cannot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from catgan.serve.caching import caching_headers, entity_tag, is_known
from catgan.serve.models import Model
from catgan.web.site import content_security_policy, site_files

if TYPE_CHECKING:
    from catgan.serve.service import Service

INDEX = "index.html"
_MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "json": "application/json",
}


class Page:
    """The files of the web page for one model, with the entity tag of each."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.files: Mapping[str, bytes] = site_files(model.generator, f"v2/models/{model.name}")
        self.tags = {name: entity_tag(content) for name, content in self.files.items()}
        self.policy = content_security_policy(self.files[INDEX].decode())


def routes(service: Service) -> list[Route]:
    """Return a route for each file of the page; the file names do not depend on the model."""

    def file_route(path: str, name: str) -> Route:
        async def file(request: Request) -> Response:
            page = service.page
            tag = page.tags[name]
            headers = {
                **caching_headers(request, tag, private=bool(service.settings.token)),
                "Content-Security-Policy": page.policy,
            }
            if is_known(request, tag):
                return Response(status_code=304, headers=headers)
            media_type = _MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
            return Response(page.files[name], headers=headers, media_type=media_type)

        return Route(path, file)

    names = service.page.files
    return [file_route("/", INDEX), *(file_route(f"/{name}", name) for name in names)]
