"""What one client may ask for: requests a second, bytes of a body."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request

from catgan.serve.engine import ClientGoneError
from catgan.serve.problems import ProblemError

MAX_ADDRESS = 64  # characters
MAX_CLIENTS = 65_536  # that are remembered; the one not seen for longest is forgotten first
BURST_SECONDS = 2  # a client that was quiet may send the requests of so many seconds at once


class RateLimiter:
    """A token bucket for each client address, `rate` tokens a second.

    An IPv6 network of 64 bits counts as one client, as it is what one customer is given.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst = rate, max(1.0, rate * BURST_SECONDS)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def check(self, address: str) -> None:
        """Count a request of a client; raises `ProblemError` 429 for one too many."""
        if not self.rate:
            return
        client, now = _network(address), self._clock()
        tokens, then = self._buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + self.rate * (now - then))
        allowed = tokens >= 1
        self._buckets[client] = (tokens - allowed, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise ProblemError(
                429,
                f"more than {self.rate:g} requests a second from one address",
                reason="rate",
                retry_after=max(1, math.ceil((1 - tokens) / self.rate)),
            )


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a socket's path, or what a proxy calls its client
        return address[:MAX_ADDRESS]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


class Budget:
    """Counts the bytes that bodies and long answers on their way hold together."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    def take(self, size: int) -> None:
        """Count bytes; raises `ProblemError` 503 for too many. One alone may be of any size."""
        if self.used and self.used + size > self.limit:
            raise ProblemError(
                503,
                f"requests and answers on their way hold {self.used:,} of {self.limit:,} bytes: "
                "try again later",
                reason="memory",
                retry_after=1,
            )
        self.used += size

    def give_back(self, size: int) -> None:
        """Count bytes no more."""
        self.used -= size


async def read_body(request: Request, limit: int, timeout: float, budget: Budget) -> bytes:
    """Return the body of a request, which counts in `budget` while it arrives.

    Raises:
        ProblemError: 413, it is longer than `limit` bytes; 408, it takes longer than `timeout`
            seconds; 415, it is compressed.
        ProblemError: 503, bodies and answers on their way take too much memory.
        ClientGoneError: the client closed the connection within it.
    """
    too_long = ProblemError(413, f"the body is longer than {limit:,} bytes", reason="body")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ProblemError(415, "the body is compressed: send it as it is", reason="encoding")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limit:
        raise too_long
    body, held = bytearray(), 0
    try:
        async with asyncio.timeout(timeout):
            async for part in request.stream():
                if len(body) + len(part) > limit:
                    raise too_long
                budget.take(len(part))
                held += len(part)
                body += part
    except TimeoutError:
        raise ProblemError(
            408,
            f"the body took longer than {timeout:g} s",
            reason="slow",
            headers={"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise ClientGoneError from None
    finally:
        budget.give_back(held)
    return bytes(body)
