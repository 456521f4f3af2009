"""The worker pool: a bounded queue, immediate rejection, timeouts, disconnects."""

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


def test_run_returns_result_or_raises_error_of_job(make_engine):
    engine = make_engine()

    def fail(stop):
        raise KeyError("reason")

    assert asyncio.run(engine.run(lambda stop: 7, 1, forever)) == 7
    with pytest.raises(KeyError, match="reason"):
        asyncio.run(engine.run(fail, 1, forever))
    assert engine.pending == 0
    assert asyncio.run(engine.run(lambda stop: 8, 4, forever)) == 8  # the worker still runs


def test_full_queue_rejects_new_jobs_and_finishes_accepted_ones(make_engine):
    engine, go = make_engine(capacity=4), threading.Event()

    async def overload():
        accepted = [asyncio.create_task(engine.run(lambda stop: go.wait(30), 2, forever))]
        accepted.append(asyncio.create_task(engine.run(lambda stop: "second", 2, forever)))
        await asyncio.sleep(0.01)
        with pytest.raises(ProblemError, match="the queue is full") as caught:
            await engine.run(lambda stop: "third", 1, forever)
        go.set()
        return caught.value, await asyncio.gather(*accepted)

    problem, results = asyncio.run(overload())
    assert problem.status == 503
    assert int(problem.headers["Retry-After"]) >= 1
    assert results == [True, "second"]
    assert engine.pending == 0


def test_timeout_stops_job(make_engine):
    engine, stopped = make_engine(timeout=0.05), threading.Event()

    def slow(stop):
        while not stop.requested:
            pass
        stopped.set()

    with pytest.raises(ProblemError, match="took longer than"):
        asyncio.run(engine.run(slow, 1, forever))
    assert stopped.wait(30)


def test_disconnect_frees_queue_immediately(make_engine):
    engine, go = make_engine(capacity=4), threading.Event()
    started = []

    async def leave():
        running = asyncio.create_task(engine.run(lambda stop: go.wait(30), 1, forever))
        await asyncio.sleep(0.01)

        async def disconnected():
            return

        with pytest.raises(ClientGoneError):
            await engine.run(lambda stop: started.append(True), 3, disconnected)
        assert engine.pending == 1
        go.set()
        await running

    asyncio.run(leave())
    assert started == []
    assert engine.pending == 0


def test_retry_after_grows_with_queue(make_engine):
    engine = make_engine(workers=2, capacity=1000)
    engine.pending = 1
    soon = engine.retry_after()
    engine.pending = 1000
    assert 1 == soon < engine.retry_after()
