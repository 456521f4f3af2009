"""The server: uvicorn, with signals that lose no request.

SIGTERM, SIGINT and Ctrl-Break: readiness goes false, and for `drain` seconds requests are still
accepted, each answer asking its client to close the connection, so that a balancer and clients that
keep connections can turn away. Then it stops listening, finishes what was accepted, and returns.
SIGHUP: the artifacts are read again, beside the requests; where that fails, the old ones stay.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn

from catgan.errors import CatganError
from catgan.serve.connection import protocol_for
from catgan.serve.edge import access_log, error_log, log_line
from catgan.serve.models import Models
from catgan.serve.service import Service, reload

BACKLOG = 1_024  # connections that the system keeps until they are accepted


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. Raises `CatganError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CatganError(
            f"cannot listen on {host} port {port} ({reason}): choose another --host or --port"
        ) from None
    # asyncio does this for sockets that name their protocol only. Without it the body of an answer
    # waits for the client to acknowledge the header, 40 ms on Linux.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(service: Service, listener: socket.socket, load: Callable[[Models], Models]) -> None:
    """Serve until a signal ends it; `load` makes the models anew, on SIGHUP.

    Its argument is the models that are served now.
    """
    settings = service.settings
    _configure_logs(settings.access_log)
    config = uvicorn.Config(
        service,
        loop="asyncio",
        http=protocol_for(service),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
    )
    # Declared as whole numbers, but used as any.
    times: Any = config
    times.timeout_keep_alive = settings.keep_alive
    times.timeout_graceful_shutdown = settings.grace - settings.drain
    try:
        _Server(config, service, load).run([listener])
    finally:
        listener.close()
        service.close()


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, service: Service, load: Callable[[Models], Models]
    ) -> None:
        super().__init__(config)
        self.service, self.load = service, load
        self.ends = 0  # signals to end
        self.hangups = 0  # signals to reload that nobody has looked at
        self.reloading: asyncio.Task[None] | None = None
        self.stop_at = 0.0  # on the clock `time.monotonic`

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Note signals, without ending by them at the end as uvicorn does."""
        numbers = {signal.SIGINT, signal.SIGTERM}
        for name in ("SIGBREAK", "SIGHUP"):  # Windows has the first, the others the second
            if hasattr(signal, name):
                numbers.add(getattr(signal, name))
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == getattr(signal, "SIGHUP", None):
            self.hangups += 1
        else:
            self.ends += 1

    async def on_tick(self, counter: int) -> bool:
        """Do what signals asked for; called ten times a second."""
        await super().on_tick(counter)
        if self.hangups and (self.reloading is None or self.reloading.done()):
            self.hangups = 0
            self.reloading = asyncio.create_task(self._reload())
        if self.ends and not self.service.draining:
            self.service.draining = True
            self.stop_at = time.monotonic() + self.service.settings.drain
        return self.service.draining and (self.ends > 1 or time.monotonic() >= self.stop_at)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, then wait for what was accepted."""
        for listener in sockets or []:
            await self._stop_listening(listener)
        await super().shutdown(sockets)

    async def _stop_listening(self, listener: socket.socket) -> None:
        """Take what the system has accepted for us, and have it accept no more.

        Closing the socket would reset those connections.
        """
        loop = asyncio.get_running_loop()
        try:
            loop.remove_reader(listener)
        except NotImplementedError:  # Windows' event loop
            return
        waiting = []
        with suppress(OSError):  # BlockingIOError: nobody waits
            while True:
                waiting.append(listener.accept()[0])
        with suppress(OSError):  # systems other than Linux may reject it
            listener.shutdown(socket.SHUT_RDWR)
        for each in waiting:
            with suppress(OSError):
                await loop.connect_accepted_socket(self._connection, each)

    def _connection(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state={})

    async def _reload(self) -> None:
        metrics = self.service.metrics.reloads
        try:
            await reload(self.service, self.load)
        except CatganError as error:
            metrics.labels("failed").inc()
            error_log.error("%s", log_line(error=f"not reloaded, the old ones stay: {error}"))
        else:
            metrics.labels("done").inc()
            names = {name: model.checksum for name, model in self.service.models.by_name.items()}
            access_log.info("%s", log_line(reloaded=names))


def _configure_logs(access: bool) -> None:
    """The access log to stdout, errors to stderr, a line of JSON each; none of uvicorn's own."""
    logging.raiseExceptions = False  # a log that nobody reads any more is no reason to complain
    for log, stream in ((access_log, sys.stdout), (error_log, sys.stderr)):
        log.handlers = [logging.StreamHandler(stream)]
        log.propagate = False
        log.setLevel(logging.INFO)
    access_log.disabled = not access
    # It warns of every request that is not HTTP; a bug of ours is in our log with its request's id.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
