"""Limits on clients: requests a second, size of a body, bytes in transit."""

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
MAX_CLIENTS = 65_536  # with a bucket; the least recently seen is dropped first
BURST_SECONDS = 2  # an idle client may send this many seconds' worth of requests at once


class RateLimiter:
    """A token bucket for each client address, refilled with `rate` tokens a second.

    An IPv6 /64 network counts as one client, because providers assign one to each customer.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst = rate, max(1.0, rate * BURST_SECONDS)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, last request

    def check(self, address: str) -> None:
        """Count a request from `address`; raises `ProblemError` 429 if it exceeds the rate."""
        if not self.rate:
            return
        client, now = _network(address), self._clock()
        tokens, last_request = self._buckets.pop(client, (self.burst, now))
        tokens = min(self.burst, tokens + self.rate * (now - last_request))
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
    except ValueError:  # a Unix socket's path, or an arbitrary string from a proxy
        return address[:MAX_ADDRESS]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


class ByteBudget:
    """Limits the total bytes of request bodies and long responses in transit."""

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0

    def reserve(self, size: int) -> None:
        """Count `size` bytes; raises `ProblemError` 503 over the limit.

        With nothing else in transit, any size is accepted.
        """
        if self.used and self.used + size > self.limit:
            raise ProblemError(
                503,
                f"requests and responses in transit take {self.used:,} of {self.limit:,} bytes: "
                "try again later",
                reason="memory",
                retry_after=1,
            )
        self.used += size

    def release(self, size: int) -> None:
        """Stop counting `size` bytes."""
        self.used -= size


async def read_body(request: Request, limit: int, timeout: float, budget: ByteBudget) -> bytes:
    """Return the body of a request; its bytes count in `budget` while it arrives.

    Raises:
        ProblemError: 413 if it is longer than `limit` bytes, 408 if it takes longer than `timeout`
            seconds, 415 if it is compressed, 503 if `budget` is exhausted.
        ClientGoneError: the client closed the connection before the end of the body.
    """
    too_long = ProblemError(413, f"the body is longer than {limit:,} bytes", reason="body")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ProblemError(415, "the body is compressed: send it uncompressed", reason="encoding")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limit:
        raise too_long
    body, reserved = bytearray(), 0
    try:
        async with asyncio.timeout(timeout):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limit:
                    raise too_long
                budget.reserve(len(chunk))
                reserved += len(chunk)
                body += chunk
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
        budget.release(reserved)
    return bytes(body)
