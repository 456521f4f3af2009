"""The server: uvicorn with a graceful shutdown and reload that lose no request.

SIGTERM, SIGINT and Ctrl-Break: the server reports that it is not ready, and accepts requests for
another `drain` seconds. Every response then asks its client to close the connection, so that load
balancers and clients with open connections can switch to another server. After that it stops
listening, finishes the accepted requests, and returns. A second signal ends the drain at once.

SIGHUP: the server reloads the artifacts while it serves. If that fails, it keeps the old ones.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
import socket
import struct
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

BACKLOG = 1_024  # connections that the system queues until they are accepted
HANDSHAKE_SECONDS = 0.2  # for connections that have begun to open when listening ends
SO_ATTACH_FILTER = 26  # Linux; the module socket lacks it
# Classic BPF, (code, jump if true, jump if false, operand), from byte 0 of the TCP header: drop a
# segment that opens a connection (SYN without ACK), pass all others.
DROP_SYN = (
    (0x30, 0, 0, 13),  # load the byte of flags
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # unless it is SYN alone, skip one
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFF_FFFF),  # pass
)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        CatganError: the address is in use or unavailable.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CatganError(
            f"cannot listen on {host} port {port} ({reason}): choose another --host or --port"
        ) from None
    # asyncio sets this only on sockets created with an explicit protocol. Without it the body of a
    # response waits for the client to acknowledge the header, 40 ms on Linux.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def serve(
    service: Service,
    listener: socket.socket,
    load: Callable[[Models], Models],
    on_start: Callable[[], None],
) -> None:
    """Serve until a signal stops the server. On SIGHUP, `load(current models)` reloads them.

    `on_start` is called once requests and signals are handled; before, SIGHUP ends the process.
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
    untyped: Any = config  # uvicorn declares these as int, but accepts fractions
    untyped.timeout_keep_alive = settings.keep_alive
    untyped.timeout_graceful_shutdown = max(
        settings.grace - settings.drain - HANDSHAKE_SECONDS, 0.0
    )
    # These objects live as long as the server, except models that a reload replaces, which need no
    # collection. One that looked at all of them would hold up every request for 50 ms, some times a
    # minute under load.
    gc.collect()
    gc.freeze()
    try:
        _Server(config, service, load, on_start).run([listener])
    finally:
        gc.unfreeze()
        listener.close()
        service.close()


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        load: Callable[[Models], Models],
        on_start: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self.service, self.load, self.on_start = service, load, on_start
        self.stop_signals = 0
        self.reload_requested = False
        self.reloading: asyncio.Task[None] | None = None
        self.drain_end = 0.0  # on the clock `time.monotonic`

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals inside the block; unlike uvicorn's, do not raise them again afterwards."""
        numbers = {signal.SIGINT, signal.SIGTERM}
        for name in ("SIGBREAK", "SIGHUP"):  # on Windows, on POSIX
            if hasattr(signal, name):
                numbers.add(getattr(signal, name))
        previous = {number: signal.signal(number, self._handle_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle_signal(self, number: int, frame: FrameType | None) -> None:
        if number == getattr(signal, "SIGHUP", None):
            self.reload_requested = True
        else:
            self.stop_signals += 1

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections, then call `on_start`."""
        await super().startup(sockets)
        self.on_start()

    async def on_tick(self, counter: int) -> bool:
        """Act on signals; return whether to shut down. Called ten times a second."""
        await super().on_tick(counter)
        if self.reload_requested and (self.reloading is None or self.reloading.done()):
            self.reload_requested = False
            self.reloading = asyncio.create_task(self._reload())
        if self.stop_signals and not self.service.draining:
            self.service.draining = True
            self.drain_end = time.monotonic() + self.service.settings.drain
        drained = self.stop_signals > 1 or time.monotonic() >= self.drain_end
        return self.service.draining and drained

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, then wait for the accepted requests."""
        for listener in sockets or []:
            await self._stop_listening(listener)
        await super().shutdown(sockets)

    async def _stop_listening(self, listener: socket.socket) -> None:
        """Accept the connections in the system's queue, then have the system accept no more.

        Closing the socket right away would reset those connections. It would also reset any that
        arrives after the last `accept`, which on a busy server is some milliseconds before. So on
        Linux no connection can begin to open from here on: a client that tries repeats its SYN
        after a second, and is then refused.
        """
        loop = asyncio.get_running_loop()
        if _drop_new_connections(listener):
            await asyncio.sleep(HANDSHAKE_SECONDS)
        try:
            loop.remove_reader(listener)
        except NotImplementedError:  # Windows' event loop
            return
        queued = []
        with suppress(OSError):  # BlockingIOError: the queue is empty
            while True:
                queued.append(listener.accept()[0])
        with suppress(OSError):  # systems other than Linux may reject it
            listener.shutdown(socket.SHUT_RDWR)
        for each in queued:
            with suppress(OSError):
                await loop.connect_accepted_socket(self._new_connection, each)

    def _new_connection(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state={})

    async def _reload(self) -> None:
        metrics = self.service.metrics.reloads
        try:
            await reload(self.service, self.load)
        except CatganError as error:
            metrics.labels("failed").inc()
            error_log.error("%s", log_line(error=f"not reloaded, old models stay: {error}"))
        else:
            metrics.labels("done").inc()
            names = {name: model.checksum for name, model in self.service.models.by_name.items()}
            access_log.info("%s", log_line(reloaded=names))


def _drop_new_connections(listener: socket.socket) -> bool:
    """Have the system ignore clients that open a connection; return whether it can (Linux)."""
    if sys.platform != "linux":
        return False
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in DROP_SYN)
    buffer = ctypes.create_string_buffer(program)
    option = struct.pack("HP", len(DROP_SYN), ctypes.addressof(buffer))
    try:
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, option)
    except OSError:  # not permitted in this sandbox
        return False
    return True


def _configure_logs(access: bool) -> None:
    """Send the access log to stdout and errors to stderr, as JSON lines; silence uvicorn's logs."""
    logging.raiseExceptions = False  # a closed stdout or stderr must not cause tracebacks
    for log, stream in ((access_log, sys.stdout), (error_log, sys.stderr)):
        log.handlers = [logging.StreamHandler(stream)]
        log.propagate = False
        log.setLevel(logging.INFO)
    access_log.disabled = not access
    # uvicorn warns about every invalid request; our log has errors with their request's id.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
