"""A service to test: in this process, or as `catgan serve` in one of its own."""

from __future__ import annotations

import contextlib
import os
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
