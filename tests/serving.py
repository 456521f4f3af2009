"""Run `catgan serve` in a process of its own, and put it under load."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import catgan
from catgan.generation.grid import encode_image

SOURCE = Path(catgan.__file__).parents[1]
START_TIMEOUT = 60  # seconds; a busy machine can be slow


class Server:
    """A running `catgan serve`: its process, URL, and output so far."""

    def __init__(self, *arguments, environment=None):
        variables = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "catgan", "serve", *map(str, arguments), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=variables | (environment or {}),
        )
        self.out, self.err = [], []
        self.readers = [
            threading.Thread(target=lines.extend, args=[stream], daemon=True)
            for lines, stream in ((self.out, self.process.stdout), (self.err, self.process.stderr))
        ]
        for reader in self.readers:
            reader.start()
        end = time.monotonic() + START_TIMEOUT
        while not (found := re.search(r"serving +(http://(.+):(\d+))/", "".join(self.err))):
            assert self.process.poll() is None, self.err
            assert time.monotonic() < end, self.err
            time.sleep(0.02)
        self.url, self.port = found[1], int(found[3])

    def get(self, path, **headers):
        """Return status, headers and body of a GET request on a new connection."""
        return fetch(self.url + path, **headers)

    def connect(self):
        """Return a new TCP connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def exchange(self, request):
        """Send raw bytes; return everything the server sends until it closes the connection."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_all(connection)

    def stop(self, number=signal.SIGTERM, seconds=60):
        """Send a signal, wait for the process to end, and return its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        for reader in self.readers:
            reader.join(10)
        return code


@contextlib.contextmanager
def serving(*arguments, environment=None):
    """Run a server for the block; fail if its output has a traceback."""
    server = Server(*arguments, environment=environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()
        for reader in server.readers:
            reader.join(10)
        server.process.stdout.close()
        server.process.stderr.close()
    assert "Traceback" not in "".join(server.out + server.err)


def fetch(url, data=None, **headers):
    """Return status, headers and body of a response."""
    header_fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, header_fields)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def read_all(connection):
    """Return everything a connection receives until it is closed."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def expected_png(cats, seed):
    """Return the PNG file of one seed, as the Python API generates it."""
    return encode_image(cats.sample([seed])[0], "PNG")


class LoadClient(threading.Thread):
    """A client that requests one seed after the other until it is stopped.

    `keep_alive`: reuse the connection. `failures` collects errors and wrong responses.
    """

    def __init__(self, server, cats, first, keep_alive):
        super().__init__(daemon=True)
        self.server, self.cats, self.seed, self.keep_alive = server, cats, first, keep_alive
        self.done, self.failures, self.stopping = 0, [], threading.Event()

    def run(self):
        """Send requests until stopped, or until the server stops listening."""
        connection = None
        while not self.stopping.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    return  # the server no longer listens
            try:
                connection.request("GET", f"/cats/{self.seed}.png")
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                return
            if response.status != 200 or body != expected_png(self.cats, self.seed):
                self.failures.append(response.status)
            self.done += 1
            self.seed += 1
            if not self.keep_alive or response.will_close:
                connection.close()
                connection = None


def start_load(server, cats, count=6):
    """Return running clients that have a response already; half of them keep connections open."""
    clients = [LoadClient(server, cats, 10_000 * number, number % 2) for number in range(count)]
    for client in clients:
        client.start()
    end = time.monotonic() + START_TIMEOUT
    while not all(client.done or client.failures for client in clients):
        assert time.monotonic() < end, "some clients got no response"
        time.sleep(0.01)
    return clients


def finish_load(clients):
    """Stop the clients; assert that no request failed or got a wrong response."""
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join(60)
        assert not client.is_alive(), "a client is stuck"
    failures = [client.failures for client in clients if client.failures]
    assert not failures, failures


def start_proxy(ports):
    """Start a round-robin TCP load balancer over the servers at `ports`; return its port.

    Servers that refuse a connection are skipped. The list `ports` may change meanwhile.
    """
    connection_count = itertools.count()

    async def pump(reader, writer):
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def connect(client_reader, client_writer):
        first = next(connection_count)
        for number in range(len(ports)):
            with contextlib.suppress(ConnectionRefusedError):
                port = ports[(first + number) % len(ports)]
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(pump(client_reader, writer), pump(reader, client_writer))
                return
        client_writer.close()

    loop, ready = asyncio.new_event_loop(), queue.SimpleQueue()

    async def start():
        server = await asyncio.start_server(connect, "127.0.0.1", 0)
        ready.put(server.sockets[0].getsockname()[1])

    def run():
        loop.create_task(start())
        loop.run_forever()

    threading.Thread(target=run, daemon=True).start()
    return ready.get(timeout=10)
