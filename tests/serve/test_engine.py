"""The queue: bounded, rejected at once, and freed by those who leave."""

from __future__ import annotations

import asyncio
import threading

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed: NOT tested")

from catgan.serve.engine import ClientGoneError, Engine
from catgan.serve.problems import ProblemError


async def forever():
    await asyncio.Event().wait()


@pytest.fixture
def make_engine():
    engines = []

    def make(workers=1, capacity=4, timeout=30.0):
        engines.append(Engine(workers, capacity, timeout))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


def test_what_a_job_returns_or_raises_comes_back(make_engine):
    engine = make_engine()

    def fail(stop):
        raise KeyError("reason")

    assert asyncio.run(engine.run(lambda stop: 7, 1, forever)) == 7
    with pytest.raises(KeyError, match="reason"):
        asyncio.run(engine.run(fail, 1, forever))
    assert engine.pending == 0
    assert asyncio.run(engine.run(lambda stop: 8, 4, forever)) == 8  # the worker goes on


def test_more_than_the_queue_holds_is_refused_while_what_was_accepted_is_done(make_engine):
    engine, go = make_engine(capacity=4), threading.Event()

    async def overload():
        accepted = [asyncio.create_task(engine.run(lambda stop: go.wait(30), 2, forever))]
        accepted.append(asyncio.create_task(engine.run(lambda stop: "second", 2, forever)))
        await asyncio.sleep(0.01)
        with pytest.raises(ProblemError, match="the queue is full") as caught:
            await engine.run(lambda stop: "third", 1, forever)
        go.set()
        return caught.value, await asyncio.gather(*accepted)

    problem, answers = asyncio.run(overload())
    assert problem.status == 503
    assert int(problem.headers["Retry-After"]) >= 1
    assert answers == [True, "second"]
    assert engine.pending == 0


def test_what_takes_too_long_is_given_up_and_stopped(make_engine):
    engine, stopped = make_engine(timeout=0.05), threading.Event()

    def slow(stop):
        while not stop.requested:
            pass
        stopped.set()

    with pytest.raises(ProblemError, match="took longer than"):
        asyncio.run(engine.run(slow, 1, forever))
    assert stopped.wait(30)


def test_a_client_that_leaves_frees_its_place_at_once(make_engine):
    engine, go = make_engine(capacity=4), threading.Event()
    procedural = []

    async def leave():
        running = asyncio.create_task(engine.run(lambda stop: go.wait(30), 1, forever))
        await asyncio.sleep(0.01)

        async def gone():
            return

        with pytest.raises(ClientGoneError):
            await engine.run(lambda stop: procedural.append("nobody waits"), 3, gone)
        assert engine.pending == 1
        go.set()
        await running

    asyncio.run(leave())
    assert procedural == []
    assert engine.pending == 0


def test_it_says_later_when_more_is_waiting(make_engine):
    engine = make_engine(workers=2, capacity=1000)
    engine.pending = 1
    soon = engine.retry_after()
    engine.pending = 1000
    assert 1 == soon < engine.retry_after()
