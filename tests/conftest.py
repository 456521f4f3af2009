"""No test reaches the network: a connection to anything but this machine fails at once."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

LOCAL = ("127.", "::1", "localhost")


class NetworkError(AssertionError):
    """A test tried to leave this machine."""


def _refuse_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: it hears of every connection of this process, from whatever library."""
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # a path: a Unix socket
    elif event == "socket.getaddrinfo":
        host = arguments[0] or ""
    else:
        return
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if name and not name.startswith(LOCAL) and name != socket.gethostname():
        raise NetworkError(f"a test asks for {name}: tests use the loopback interface only")


@pytest.fixture(scope="module", params=["probed", "plain"])
def processor(request: pytest.FixtureRequest) -> Iterator[str]:
    """This machine as the probe finds it, then as if the probe had found nothing.

    So the plain path (float32, no fused operator) is tested on every machine. The value is the
    setting of the precision that `auto` chooses.
    """
    from processors import seen_as  # imports torch, which light tests do without

    with seen_as(request.param) as precision:
        yield precision


@pytest.fixture
def bfloat16(request: pytest.FixtureRequest) -> None:
    """Skip a test of bfloat16, visibly, where this machine cannot compute in it."""
    from catgan.networks import capabilities

    if not capabilities.bfloat16_works():
        pytest.skip("no bfloat16 convolutions on this processor: NOT tested")


def pytest_configure(config: pytest.Config) -> None:
    sys.addaudithook(_refuse_the_network)
