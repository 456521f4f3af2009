"""The guard in conftest.py bites. The addresses are those set aside for examples (RFC 5737)."""

from __future__ import annotations

import http.client
import socket
import urllib.request

import pytest


def test_a_connection_to_elsewhere_is_refused():
    with socket.socket() as connection, pytest.raises(AssertionError, match=r"asks for 192\.0\.2"):
        connection.connect(("192.0.2.1", 80))


def test_a_packet_to_elsewhere_is_refused():
    with (
        socket.socket(type=socket.SOCK_DGRAM) as packets,
        pytest.raises(AssertionError, match="loopback"),
    ):
        packets.sendto(b"", ("192.0.2.1", 53))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: socket.create_connection(("example.org", 443)),
        lambda: http.client.HTTPSConnection("example.org").request("GET", "/"),
        lambda: urllib.request.urlopen("http://example.org/"),
    ],
)
def test_a_name_is_not_even_looked_up(ask):
    with pytest.raises(AssertionError, match=r"asks for example\.org"):
        ask()


def test_this_machine_is_open():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1])).close()
