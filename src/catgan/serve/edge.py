"""ASGI middleware around every request: id, log, headers, errors, token, rate limit."""

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

HEALTH_PATHS = ("/v2/health/live", "/v2/health/ready")  # for probes, which have no token
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
CLIENT_GONE = 499  # nginx's code; appears only in the log and the metrics
MAX_LOGGED_PATH = 300  # characters
CHUNK_SIZE = 65_536  # bytes of a response passed to the connection at once
_HINTS = {404: "no such path: /openapi.json lists them"}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

access_log = logging.getLogger("catgan.serve.access")
error_log = logging.getLogger("catgan.serve.error")


def log_line(**values: object) -> str:
    """Return one log line: ASCII JSON with the current time."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")  # noqa: UP017
    return json.dumps({"time": now, **values})


def path_of(scope: Scope) -> str:
    """Return a request's path relative to where the application is mounted."""
    return scope["path"].removeprefix(scope.get("root_path", "")) or "/"


class Edge:
    """The outermost middleware: assigns request ids, adds response headers, writes the log.

    A long response is sent in chunks, each after the client has read the one before, so that a
    connection buffers one chunk and not the whole response. Its bytes count in `service.buffers`
    until all are sent.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request or the server's lifespan events; close WebSockets."""
        if scope["type"] == "lifespan":
            await _handle_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._handle_http(scope, receive, send)
        else:  # a WebSocket
            await send({"type": "websocket.close"})

    async def _handle_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, status, size, reserved = time.perf_counter(), CLIENT_GONE, 0, 0
        client_id = Headers(scope=scope).get("x-request-id", "")
        request_id = client_id if _REQUEST_ID.fullmatch(client_id) else secrets.token_hex(8)
        scope["catgan.request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            nonlocal status, size, reserved
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                length = int(headers.get("content-length", 0))
                if length > CHUNK_SIZE and scope["method"] != "HEAD":
                    self.service.buffers.reserve(length)
                    reserved = length
                status = message["status"]
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-ID"] = request_id
                if self.service.draining:
                    headers["Connection"] = "close"
                await send(message)
            else:
                try:
                    async with asyncio.timeout(self.service.settings.send_timeout):
                        for chunk in _chunks(message):
                            await send(chunk)
                            size += len(chunk["body"])
                except TimeoutError:
                    status = CLIENT_GONE
                    raise ClientGoneError from None

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            self.service.buffers.release(reserved)
            seconds = time.perf_counter() - started
            endpoint = scope.get("endpoint")
            route = getattr(endpoint, "__name__", "none").strip("_")  # a label of the metrics
            self.service.metrics.requests.labels(route, status).inc()
            self.service.metrics.seconds.labels(route).observe(seconds)
            if access_log.isEnabledFor(logging.INFO):
                query = scope.get("query_string", b"").decode("latin-1")
                line = log_line(
                    id=request_id,
                    client=_client(scope),
                    method=scope["method"],
                    path=(scope["path"] + ("?" + query if query else ""))[:MAX_LOGGED_PATH],
                    status=status,
                    bytes=size,
                    ms=round(1000 * seconds, 2),
                )
                access_log.info("%s", line)


class Guard:
    """Middleware that limits the rate, checks the token, and turns errors into responses."""

    def __init__(self, app: ASGIApp, service: Service, limiter: RateLimiter) -> None:
        self.app, self.service, self.limiter = app, service, limiter
        token = service.settings.token
        self.token = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request."""
        response_started = False

        async def tracking_send(message: Message) -> None:
            nonlocal response_started
            response_started = True
            await send(message)

        scope.setdefault("app", self.service)  # makes Starlette raise for an unknown route
        try:
            if path_of(scope) not in HEALTH_PATHS:
                self.limiter.check(_client(scope))  # first, so that guesses of the token count
                self._check_token(scope)
            await self.app(scope, receive, tracking_send)
            return
        except ClientGoneError:
            return
        except ProblemError as error:
            problem = error
        except HTTPException as error:  # Starlette's: unknown path or method
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
            if response_started:
                raise
            problem = ProblemError(500, "a bug in catgan: see the server's log", reason="bug")
        self.service.metrics.rejected.labels(problem.reason).inc()
        await problem_response(problem, path_of(scope))(scope, receive, send)

    def _check_token(self, scope: Scope) -> None:
        if self.token is None:
            return
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode("latin-1"), self.token)
        if not is_right or scheme.lower() != "bearer":
            raise ProblemError(
                401,
                "missing or wrong token: send the header Authorization: Bearer TOKEN",
                reason="token",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def _handle_lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _chunks(message: Message) -> Iterator[Message]:
    body = message.get("body", b"")
    for start in range(0, max(1, len(body)), CHUNK_SIZE):
        more = start + CHUNK_SIZE < len(body) or message.get("more_body", False)
        yield {**message, "body": body[start : start + CHUNK_SIZE], "more_body": more}
