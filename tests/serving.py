"""A service to test: in this process, or as `catgan serve` in one of its own."""

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
START = 60  # seconds that a busy machine may take to start it


class Server:
    """A running `catgan serve`: its process, its address, and what it has written so far."""

    def __init__(self, *words, environment=None):
        variables = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "catgan", "serve", *map(str, words), "--port", "0"],
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
        end = time.monotonic() + START
        while not (found := re.search(r"serving +(http://(.+):(\d+))/", "".join(self.err))):
            assert self.process.poll() is None, self.err
            assert time.monotonic() < end, self.err
            time.sleep(0.02)
        self.url, self.port = found[1], int(found[3])

    def get(self, path, **headers):
        """Status, headers and body of a request on a connection of its own."""
        return fetch(self.url + path, **headers)

    def connect(self):
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def exchange(self, request):
        """What comes back for some bytes, to the end of the connection."""
        with self.connect() as connection:
            connection.sendall(request)
            return read_all(connection)

    def stop(self, number=signal.SIGTERM, seconds=60):
        """End it by a signal; its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        for reader in self.readers:
            reader.join(10)
        return code


@contextlib.contextmanager
def serving(*words, environment=None):
    """A server that ends with the block; nothing it wrote is a traceback."""
    server = Server(*words, environment=environment)
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
    """Status, headers and body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data, named)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def read_all(connection):
    """What a connection sends until its end."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def procedural(cats, seed):
    """The file of one seed, as Python draws it."""
    return encode_image(cats.sample([seed])[0], "PNG")


class Load(threading.Thread):
    """A client that asks for one seed after the other until told to stop, as `keep` says."""

    def __init__(self, server, cats, first, keep):
        super().__init__(daemon=True)
        self.server, self.cats, self.seed, self.keep = server, cats, first, keep
        self.done, self.lost, self.stopping = 0, [], threading.Event()

    def run(self):
        """Ask until told to stop, or until nobody listens any more."""
        connection = None
        while not self.stopping.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    return  # it does not listen any more
            try:
                connection.request("GET", f"/cats/{self.seed}.png")
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                return
            if answer.status != 200 or body != procedural(self.cats, self.seed):
                self.lost.append(answer.status)
            self.done += 1
            self.seed += 1
            if not self.keep or answer.will_close:
                connection.close()
                connection = None


def load(server, cats, count=6):
    """Clients at work, each with an answer already; half of them keep their connections."""
    clients = [Load(server, cats, 10_000 * number, number % 2) for number in range(count)]
    for client in clients:
        client.start()
    end = time.monotonic() + START
    while not all(client.done or client.lost for client in clients):
        assert time.monotonic() < end, "some clients got no answer"
        time.sleep(0.01)
    return clients


def finish(clients):
    """End the clients; none has lost a request, or got anything but what it asked for."""
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join(60)
        assert not client.is_alive(), "a client waits for ever"
    assert [client.lost for client in clients] == [[]] * len(clients)


def proxy(ports):
    """A small balancer: connections go round robin to servers that accept them; its port.

    `ports`, a list, may change meanwhile.
    """
    turn = itertools.count()

    async def pump(reader, writer):
        with contextlib.suppress(OSError):
            while part := await reader.read(65_536):
                writer.write(part)
                await writer.drain()
        writer.close()

    async def connect(reader, writer):
        first = next(turn)
        for number in range(len(ports)):
            with contextlib.suppress(ConnectionRefusedError):
                port = ports[(first + number) % len(ports)]
                theirs = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(pump(reader, theirs[1]), pump(theirs[0], writer))
                return
        writer.close()

    loop, ready = asyncio.new_event_loop(), queue.SimpleQueue()

    async def start():
        server = await asyncio.start_server(connect, "127.0.0.1", 0)
        ready.put(server.sockets[0].getsockname()[1])

    def run():
        loop.create_task(start())
        loop.run_forever()

    threading.Thread(target=run, daemon=True).start()
    return ready.get(timeout=10)
