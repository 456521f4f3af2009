"""Entity tags, and what a cache may do with an answer (RFC 9110, RFC 9111)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from starlette.requests import Request

_TAG = re.compile(r'(?:W/)?("[^"]*")')
_YEAR = 31_536_000  # seconds


def entity_tag(key: object) -> str:
    """Return the tag of what `key` alone decides, by its `repr`."""
    return f'"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}"'


def is_known(request: Request, tag: str) -> bool:
    """Return whether the client has what the tag stands for (If-None-Match)."""
    known = request.headers.get("if-none-match")
    return known is not None and (known.strip() == "*" or tag in _TAG.findall(known))


def caching_headers(request: Request, tag: str, *, private: bool) -> Mapping[str, str]:
    """Return the headers of an answer that its address and its tag describe.

    Under an address with an artifact's checksum it never changes. `private`: a token was asked
    for, so a shared cache must not give it to others.
    """
    whose = "private" if private else "public"
    if "checksum" in request.path_params:
        return {"ETag": tag, "Cache-Control": f"{whose}, max-age={_YEAR}, immutable"}
    return {"ETag": tag, "Cache-Control": f"{whose}, no-cache"}
