"""One connection: uvicorn's protocol, with the bounds on a client's time and bytes it lacks.

uvicorn bounds the time between two requests, and nothing else: a client that sends a byte a second,
or never reads its answer, keeps its connection for ever, as every byte puts the clock back, and
httptools reads a header of any length. Here each stage has a deadline that no byte moves: the
header, the answer, the sending of it. What is too slow is closed, what is too long is rejected.
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

MAX_PIPELINED = 16  # requests that wait behind one on the same connection
SPARE_CONNECTIONS = 64  # over the limit, to be told so
LINGER = 1.0  # seconds for a client to take the last words


def protocol_for(service: Service) -> type[HttpToolsProtocol]:
    """Return the class of the connections of a service, with its limits."""
    settings = service.settings
    answer_time = 2 * settings.request_timeout + settings.send_timeout  # body, drawing, sending

    class Connection(HttpToolsProtocol):
        deadline: asyncio.TimerHandle | None = None
        running: RequestResponseCycle | None = None  # that is answered, or was last
        is_rejected = False  # nothing that comes is read any more
        in_message = False  # a request has begun and not all of it is here
        in_header = False
        header_read = 0  # bytes of it that the parser has handed over
        header_received = 0  # bytes of it that came behind the packet in which it began

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            over = len(self.connections) - settings.max_connections
            if over > SPARE_CONNECTIONS:
                transport.abort()
            elif over > 0:
                self.app = _too_many_connections
                self._set_deadline(LINGER, self._header_overdue)
            else:
                self._set_deadline(settings.header_timeout, self._header_overdue)

        def connection_lost(self, exc: Exception | None) -> None:
            self._set_deadline(None)
            super().connection_lost(exc)
            self._unset_keepalive_if_required()  # uvicorn leaves it after a reset
            self.pipeline.clear()
            if self.running is not None:  # uvicorn tells the newest one only
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
                raise ValueError("too many requests at once on one connection")
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
            # The application answers within the time for a request; this is for what it cannot
            # see: a body that goes on after the answer, an answer that nobody takes.
            self._set_deadline(answer_time, self.transport.abort)

        def on_message_complete(self) -> None:
            self.in_message = False
            super().on_message_complete()
            if self.cycle.response_complete:
                self._wait_until_sent()

        def on_response_complete(self) -> None:
            following = self.pipeline[-1][0] if self.pipeline else None
            super().on_response_complete()
            if following is not None:
                self.running = following
                self._set_deadline(answer_time, self.transport.abort)
            elif not self.in_message:
                self._wait_until_sent()

        def shutdown(self) -> None:
            """End the connection: with its answer, else now, or when a request may have come.

            One may be on its way where none has come yet, and be half here.
            """
            answering = self.cycle is not None and not self.cycle.response_complete
            if not answering and (self.cycle is None or self.in_header):
                self._set_deadline(LINGER, self.transport.abort)
            else:
                super().shutdown()

        def send_400_response(self, msg: str) -> None:
            if self.header_read > settings.max_header:
                self._reject(431, "the header is too long")
            else:
                self._reject(400, "the request is not HTTP")

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
            """Answer what cannot become a request, and close; an earlier one gets its answer."""
            service.metrics.rejected.labels("protocol").inc()
            self.is_rejected = True
            running, in_body = self.running, self.in_message and not self.in_header
            if running is not None and running.response_complete:
                running = None
            if running is not None and in_body:  # the newest one's body will never be whole
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
            self._set_deadline(LINGER, self.transport.abort)

        def _wait_until_sent(self) -> None:
            """Nothing is on its way but, maybe, the end of an answer."""
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
