"""An audit hook that rejects every connection and look-up but those of this machine."""

from __future__ import annotations

import socket
from typing import Any

LOCAL = ("127.", "::1", "localhost")


class NetworkError(AssertionError):
    """A test tried to leave this machine."""


def refuse_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: it hears of every connection that Python makes in this process.

    Native libraries that call the system themselves are not heard.
    """
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # a path: a Unix socket
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0] or ""
    else:
        return
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if name and not name.startswith(LOCAL) and name != socket.gethostname():
        raise NetworkError(f"a test asks for {name}: tests use the loopback interface only")
