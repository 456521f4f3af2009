"""The worker pool: a bounded queue, immediate rejection, timeouts, disconnects."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed: NOT tested")

from catgan.serve.engine import GROUP, ClientGoneError, Engine
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


class Step:
    """A job that starts when it is told to, after its predecessors."""

    def __init__(self, value):
        self.value, self.started, self.go = value, threading.Event(), threading.Event()

    def __call__(self, stop):
        self.started.set()
        assert self.go.wait(30)
        return self.value

    async def finish(self):
        """Let the job end once a worker has started it; give the event loop time to notice."""
        assert await asyncio.to_thread(self.started.wait, 30)
        self.go.set()
        await asyncio.sleep(0.02)


def results(tasks):
    return [task.result() for task in tasks if task.done()]


def test_finished_results_wait_for_one_another_while_jobs_wait(make_engine):
    engine = make_engine(capacity=100)
    steps = [Step(number) for number in range(GROUP + 2)]

    async def run():
        tasks = [asyncio.create_task(engine.run(step, 1, forever)) for step in steps]
        delivered = []
        for step in steps:
            await step.finish()
            delivered.append(len(results(tasks)))
        return delivered, results(tasks)

    delivered, values = asyncio.run(run())
    assert delivered == [0] * (GROUP - 1) + [GROUP, GROUP, GROUP + 2]
    assert values == list(range(GROUP + 2))


def test_no_finished_result_waits_for_a_job_of_many_images(make_engine):
    engine, first, second = make_engine(capacity=100), Step("first"), Step("second")

    async def run():
        tasks = [asyncio.create_task(engine.run(first, 1, forever))]
        tasks.append(asyncio.create_task(engine.run(second, 64, forever)))
        await asyncio.sleep(0.01)
        await first.finish()
        assert await asyncio.to_thread(second.started.wait, 30)
        await asyncio.sleep(0.02)
        early = results(tasks)
        second.go.set()
        return early, await asyncio.gather(*tasks)

    assert asyncio.run(run()) == (["first"], ["first", "second"])


class ManualExecutor:
    """An executor whose only worker is the test."""

    def __init__(self, workers, name):
        self.queue = []

    def submit(self, function):
        self.queue.append((Future(), function))
        return self.queue[-1][0]

    def work(self, number):
        future, function = self.queue[number]
        future.set_result(function())

    def shutdown(self, **options):
        pass


def test_held_results_are_delivered_when_the_last_waiting_job_is_given_up(make_engine, monkeypatch):
    monkeypatch.setattr("catgan.serve.engine.ThreadPoolExecutor", ManualExecutor)
    engine = make_engine(capacity=100)

    async def run():
        gone = asyncio.Event()
        first = asyncio.create_task(engine.run(lambda stop: "first", 1, forever))
        waiting = asyncio.create_task(engine.run(lambda stop: "never", 1, gone.wait))
        await asyncio.sleep(0.01)
        engine._executor.work(0)
        await asyncio.sleep(0.01)
        held = not first.done()
        gone.set()
        with pytest.raises(ClientGoneError):
            await waiting
        return held, await asyncio.wait_for(first, 30)

    assert asyncio.run(run()) == (True, "first")
    assert engine.pending == 0


def test_retry_after_grows_with_queue(make_engine):
    engine = make_engine(workers=2, capacity=1000)
    engine.pending = 1
    soon = engine.retry_after()
    engine.pending = 1000
    assert 1 == soon < engine.retry_after()
