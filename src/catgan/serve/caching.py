"""HTTP caching: entity tags and Cache-Control (RFC 9110, RFC 9111)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from starlette.requests import Request

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_YEAR = 31_536_000  # seconds


def entity_tag(key: object) -> str:
    """Return the entity tag of a response that is a pure function of `key` (by its `repr`)."""
    return f'"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}"'


def is_known(request: Request, tag: str) -> bool:
    """Return whether the client already has the response of `tag` (If-None-Match)."""
    known = request.headers.get("if-none-match")
    return known is not None and (known.strip() == "*" or tag in _TAG.findall(known))


def caching_headers(request: Request, tag: str, *, private: bool) -> Mapping[str, str]:
    """Return the caching headers of a response.

    A URL that contains an artifact's checksum is immutable; any other must be revalidated.
    `private`: the service requires a token, so shared caches must not store the response.
    """
    scope = "private" if private else "public"
    if "checksum" in request.path_params:
        return {"ETag": tag, "Cache-Control": f"{scope}, max-age={_YEAR}, immutable"}
    return {"ETag": tag, "Cache-Control": f"{scope}, no-cache"}
