"""Requests a second, and bytes of a body."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed: NOT tested")

from starlette.requests import Request

from catgan.serve import limits
from catgan.serve.engine import ClientGoneError
from catgan.serve.limits import ByteBudget, RateLimiter, read_body
from catgan.serve.problems import ProblemError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def allowed(limiter, address):
    try:
        limiter.check(address)
    except ProblemError:
        return False
    return True


def test_rate_limit_sets_retry_after():
    limiter = RateLimiter(0.1, Clock())
    limiter.check("10.0.0.1")
    with pytest.raises(ProblemError) as caught:
        limiter.check("10.0.0.1")
    assert caught.value.status == 429
    assert caught.value.headers["Retry-After"] == "10"


def test_client_gets_rate_and_burst():
    clock = Clock()
    limiter = RateLimiter(5, clock)
    assert sum(allowed(limiter, "10.0.0.1") for _ in range(20)) == 10  # two seconds' worth
    assert allowed(limiter, "10.0.0.2")  # another client is not concerned
    clock.now += 1
    assert sum(allowed(limiter, "10.0.0.1") for _ in range(20)) == 5
    clock.now += 1000
    assert sum(allowed(limiter, "10.0.0.1") for _ in range(20)) == 10


def test_ipv6_network_is_one_client():
    limiter = RateLimiter(1, Clock())
    assert [allowed(limiter, f"2001:db8::{number}") for number in range(3)] == [True, True, False]
    assert allowed(limiter, "2001:db8:0:1::1")


def test_ipv4_mapped_addresses_are_separate_clients():
    limiter = RateLimiter(0.1, Clock())
    assert allowed(limiter, "::ffff:192.0.2.1")
    assert allowed(limiter, "::ffff:192.0.2.2")
    assert not allowed(limiter, "192.0.2.1")


def test_arbitrary_client_names_are_truncated():
    limiter = RateLimiter(0.1, Clock())
    assert allowed(limiter, "x" * 10_000)
    assert not allowed(limiter, "x" * 100)


def test_number_of_tracked_clients_is_bounded(monkeypatch):
    monkeypatch.setattr(limits, "MAX_CLIENTS", 3)
    limiter = RateLimiter(1, Clock())
    for number in range(10):
        limiter.check(f"10.0.0.{number}")
    assert len(limiter._buckets) == 3


def test_zero_rate_disables_limit():
    limiter = RateLimiter(0, Clock())
    assert all(allowed(limiter, "10.0.0.1") for _ in range(100))
    assert not limiter._buckets


def body_of(parts, headers=(), limit=10, timeout=30.0, budget=None):
    """What read_body makes of the parts of a body; None never comes."""
    budget = budget or ByteBudget(100)

    async def read():
        waiting = iter(parts)

        async def receive():
            part = next(waiting)
            if part is None:
                await asyncio.Event().wait()
            if part == "gone":
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": part, "more_body": part != b"end"}

        scope = {"type": "http", "method": "POST", "headers": list(headers)}
        return await read_body(Request(scope, receive), limit, timeout, budget)

    return asyncio.run(read())


def test_body_is_read_completely():
    assert body_of([b"one", b"two", b"end"]) == b"onetwoend"


@pytest.mark.parametrize(
    ("parts", "headers", "status"),
    [
        ([b"12345678", b"901", b"end"], [], 413),
        ([], [(b"content-length", b"11")], 413),
        ([], [(b"content-length", b"9" * 50)], 413),
        ([], [(b"content-encoding", b"gzip")], 415),
        ([b"1", None], [], 408),
    ],
)
def test_long_slow_or_compressed_body_is_rejected(parts, headers, status):
    budget = ByteBudget(100)
    with pytest.raises(ProblemError) as caught:
        body_of(parts, headers, timeout=0.05, budget=budget)
    assert caught.value.status == status
    assert budget.used == 0


def test_total_bytes_of_bodies_in_transit_are_bounded():
    budget = ByteBudget(10)
    budget.reserve(5)  # by another request
    assert body_of([b"12", b"end"], budget=budget) == b"12end"
    assert budget.used == 5
    with pytest.raises(ProblemError) as caught:
        body_of([b"123", b"456", b"end"], budget=budget)
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (503, "1")
    assert budget.used == 5


def test_disconnect_during_body_raises_client_gone():
    with pytest.raises(ClientGoneError):
        body_of([b"1", "gone"])
