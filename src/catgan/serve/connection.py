"""uvicorn's HTTP protocol with limits on a client's time and bytes.

uvicorn limits only the time between two requests, and each byte restarts that timer: a client that
sends a byte a second or never reads its response keeps its connection forever, and httptools
accepts a header of any length. Here each stage (header, response, sending) has a deadline that no
byte extends. Slow connections are closed, long headers are rejected.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from catgan.serve.edge import SECURITY_HEADERS
from catgan.serve.problems import ProblemError, problem_response

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from catgan.serve.service import Service

MAX_PIPELINED = 16  # requests that wait on the same connection
SPARE_CONNECTIONS = 64  # over the limit: these get a 503 response, any more are reset
LINGER_SECONDS = 1.0  # for a client to read an error response before its connection is aborted


def protocol_for(service: Service) -> type[HttpToolsProtocol]:
    """Return the connection class that enforces the limits of `service`."""
    settings = service.settings
    # Receiving the body, generating the images, sending the response.
    response_timeout = 2 * settings.request_timeout + settings.send_timeout

    class Connection(HttpToolsProtocol):
        deadline: asyncio.TimerHandle | None = None
        running: RequestResponseCycle | None = None  # the current request, or the last one
        is_rejected = False  # received data is ignored from now on
        in_message = False  # a request has begun and is not complete
        in_header = False
        header_read = 0  # bytes of the header that the parser has processed
        header_received = 0  # bytes of the header after the packet in which it began

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            excess = len(self.connections) - settings.max_connections
            if excess > SPARE_CONNECTIONS:
                transport.abort()
            elif excess > 0:
                self.app = _too_many_connections
                self._set_deadline(LINGER_SECONDS, self._header_overdue)
            else:
                self._set_deadline(settings.header_timeout, self._header_overdue)

        def connection_lost(self, exc: Exception | None) -> None:
            self._set_deadline(None)
            super().connection_lost(exc)
            self._unset_keepalive_if_required()  # uvicorn keeps this timer after a reset
            self.pipeline.clear()
            if self.running is not None:  # uvicorn notifies only the newest request
                self.running.disconnected = True
                self.running.message_event.set()

        def data_received(self, data: bytes) -> None:
            if self.is_rejected:
                return
            if self.deadline is None:  # the first byte of the next request
                self._set_deadline(settings.header_timeout, self._header_overdue)
            if self.in_header:
                self.header_received += len(data)
            super().data_received(data)
            too_long = self.in_header and self.header_received > settings.max_header
            if too_long and not self.transport.is_closing():
                self._reject(431, "the header is too long")

        def on_message_begin(self) -> None:
            if len(self.pipeline) >= MAX_PIPELINED:
                raise ValueError("too many pipelined requests on one connection")
            self.in_message = self.in_header = True
            self.header_read = self.header_received = 0
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._count(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._count(len(name) + len(value))
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self.in_header = False
            waiting = len(self.pipeline)
            super().on_headers_complete()
            if len(self.pipeline) == waiting:
                self.running = self.cycle
            # The application enforces the timeout of a request. This deadline covers what it
            # cannot see: a body that continues after the response, a response that nobody reads.
            self._set_deadline(response_timeout, self.transport.abort)

        def on_message_complete(self) -> None:
            self.in_message = False
            super().on_message_complete()
            if self.cycle.response_complete:
                self._wait_until_sent()

        def on_response_complete(self) -> None:
            next_request = self.pipeline[-1][0] if self.pipeline else None
            super().on_response_complete()
            if next_request is not None:
                self.running = next_request
                self._set_deadline(response_timeout, self.transport.abort)
            elif not self.in_message:
                self._wait_until_sent()

        def shutdown(self) -> None:
            """Close the connection: after its current response, or now.

            A connection without a request so far, or with half a header, gets `LINGER_SECONDS`:
            its request may be in transit.
            """
            responding = self.cycle is not None and not self.cycle.response_complete
            if not responding and (self.cycle is None or self.in_header):
                self._set_deadline(LINGER_SECONDS, self.transport.abort)
            else:
                super().shutdown()

        def send_400_response(self, msg: str) -> None:
            if self.header_read > settings.max_header:
                self._reject(431, "the header is too long")
            else:
                self._reject(400, "the request is not valid HTTP")

        def _count(self, length: int) -> None:
            self.header_read += length
            if self.header_read > settings.max_header:
                raise ValueError("the header is too long")

        def _header_overdue(self) -> None:
            if self.in_header:
                self._reject(408, f"the header took longer than {settings.header_timeout:g} s")
            else:
                self.transport.abort()

        def _reject(self, status: int, detail: str) -> None:
            """Send an error response to an invalid request and close the connection.

            Requests before it on the same connection get their responses first; then the
            connection closes without the error response.
            """
            service.metrics.rejected.labels("protocol").inc()
            self.is_rejected = True
            running, in_body = self.running, self.in_message and not self.in_header
            if running is not None and running.response_complete:
                running = None
            if running is not None and in_body:  # the newest request's body will never be complete
                if self.pipeline:
                    self.pipeline.popleft()
                elif not running.response_started:
                    running.disconnected = True
                    running.message_event.set()
                    running = None
            if running is not None:
                last = self.pipeline[0][0] if self.pipeline else running
                last.keep_alive = False
                return
            self.transport.write(_plain_response(status, detail))
            self.transport.close()
            self._set_deadline(LINGER_SECONDS, self.transport.abort)

        def _wait_until_sent(self) -> None:
            """Set a deadline for the client to read what is left of the last response."""
            if self.transport.get_write_buffer_size():
                self._set_deadline(settings.send_timeout, self.transport.abort)
            else:
                self._set_deadline(None)

        def _set_deadline(self, seconds: float | None, action: Any = None) -> None:
            if self.deadline is not None:
                self.deadline.cancel()
            self.deadline = None if seconds is None else self.loop.call_later(seconds, action)

    return Connection


async def _too_many_connections(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        problem = ProblemError(
            503, "too many connections", retry_after=1, headers={"Connection": "close"}
        )
        response = problem_response(problem, scope["path"])
        response.headers.update(SECURITY_HEADERS)
        await response(scope, receive, send)


def _plain_response(status: int, detail: str) -> bytes:
    title = HTTPStatus(status).phrase
    body = json.dumps({"title": title, "status": status, "detail": detail}).encode()
    headers = SECURITY_HEADERS | {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "Connection": "close",
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {title}\r\n{head}\r\n".encode() + body
