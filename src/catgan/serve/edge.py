"""What surrounds every request: its id, the log, the headers, errors, the token, the rate."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import secrets
import time
import traceback
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from catgan.errors import CatganError
from catgan.serve.engine import ClientGoneError
from catgan.serve.limits import RateLimiter
from catgan.serve.problems import ProblemError, problem_response

if TYPE_CHECKING:
    from catgan.serve.service import Service

HEALTH = ("/v2/health/live", "/v2/health/ready")  # asked by probes, which have no token
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
CLIENT_GONE = 499  # in the log and the metrics only, as nginx has it
MAX_LOGGED = 300  # characters of an address
PIECE = 65_536  # bytes of an answer that are handed to the connection at once
_HINTS = {404: "nothing here: /openapi.json lists the addresses"}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

access_log = logging.getLogger("catgan.serve.access")
error_log = logging.getLogger("catgan.serve.error")


def log_line(**values: object) -> str:
    """Return a line of the log: JSON in ASCII, with the time."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")  # noqa: UP017
    return json.dumps({"time": now, **values})


def path_of(scope: Scope) -> str:
    """Return the path of a request below where the application is mounted."""
    return scope["path"].removeprefix(scope.get("root_path", "")) or "/"


class Edge:
    """The outermost layer: gives each request an id, adds headers to its answer, logs it.

    A long answer goes out in pieces, each when the client has taken the one before, so that a
    connection copies one piece and not all of it. It counts in `service.buffers` until it is out.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the server's question whether it may start and end."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:  # a WebSocket
            await send({"type": "websocket.close"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status, size, held = time.perf_counter(), CLIENT_GONE, 0, 0
        given = Headers(scope=scope).get("x-request-id", "")
        number = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["catgan.request_id"] = number

        async def send_with_headers(message: Message) -> None:
            nonlocal status, size, held
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                length = int(headers.get("content-length", 0))
                if length > PIECE and scope["method"] != "HEAD":
                    self.service.buffers.take(length)
                    held = length
                status = message["status"]
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = number
                if self.service.draining:
                    headers["Connection"] = "close"
                await send(message)
            else:
                try:
                    async with asyncio.timeout(self.service.settings.send_timeout):
                        for piece in _pieces(message):
                            await send(piece)
                            size += len(piece["body"])
                except TimeoutError:
                    status = CLIENT_GONE
                    raise ClientGoneError from None

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            self.service.buffers.give_back(held)
            seconds = time.perf_counter() - began
            endpoint = scope.get("endpoint")
            route = getattr(endpoint, "__name__", "none").strip("_")
            self.service.metrics.requests.labels(route, status).inc()
            self.service.metrics.seconds.labels(route).observe(seconds)
            if access_log.isEnabledFor(logging.INFO):
                query = scope.get("query_string", b"").decode("latin-1")
                line = log_line(
                    id=number,
                    client=_client(scope),
                    method=scope["method"],
                    path=(scope["path"] + ("?" + query if query else ""))[:MAX_LOGGED],
                    status=status,
                    bytes=size,
                    ms=round(1000 * seconds, 2),
                )
                access_log.info("%s", line)


class Guard:
    """Asks for the token, counts requests, and turns every error into an answer of one line."""

    def __init__(self, app: ASGIApp, service: Service, limiter: RateLimiter) -> None:
        self.app, self.service, self.limiter = app, service, limiter
        token = service.settings.token
        self.expected = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = False

        async def send_once_started(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        scope.setdefault("app", self.service)  # so that Starlette raises what it cannot route
        try:
            if path_of(scope) not in HEALTH:
                self.limiter.check(_client(scope))  # first, so that guesses of the token count
                self._check_token(scope)
            await self.app(scope, receive, send_once_started)
            return
        except ClientGoneError:
            return
        except ProblemError as error:
            problem = error
        except HTTPException as error:  # Starlette's: there is no such address, or method
            detail = _HINTS.get(error.status_code, error.detail)
            headers = dict(error.headers or {})
            problem = ProblemError(error.status_code, detail, headers=headers)
        except CatganError as error:
            problem = ProblemError(500, str(error), reason="model")
        except Exception:
            error_log.error(
                "%s",
                log_line(id=scope.get("catgan.request_id"), error=traceback.format_exc()),
            )
            if started:
                raise
            problem = ProblemError(500, "a bug of catgan's; the log has it", reason="bug")
        self.service.metrics.rejected.labels(problem.reason).inc()
        await problem_response(problem, path_of(scope))(scope, receive, send)

    def _check_token(self, scope: Scope) -> None:
        if self.expected is None:
            return
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1"), self.expected)
        if not right or scheme.lower() != "bearer":
            raise ProblemError(
                401,
                "a token is needed: Authorization: Bearer TOKEN",
                reason="token",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def _live(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _pieces(message: Message) -> Iterator[Message]:
    body = message.get("body", b"")
    for start in range(0, max(1, len(body)), PIECE):
        more = start + PIECE < len(body) or message.get("more_body", False)
        yield {**message, "body": body[start : start + PIECE], "more_body": more}
