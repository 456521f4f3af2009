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
    """A job that ends when it is told to."""

    def __init__(self, value):
        self.value, self.started, self.go = value, threading.Event(), threading.Event()

    def __call__(self, stop):
        self.started.set()
        assert self.go.wait(30)
        return self.value

    async def finish(self):
        """Let the job end once a worker has started it."""
        assert await asyncio.to_thread(self.started.wait, 30)
        self.go.set()


async def results(tasks, count):
    """Return the results of `tasks` as soon as there are `count`."""
    async with asyncio.timeout(30):
        while sum(task.done() for task in tasks) < count:
            await asyncio.sleep(0.001)
    return [task.result() for task in tasks if task.done()]


def test_finished_results_wait_for_their_group_while_jobs_wait(make_engine, monkeypatch):
    monkeypatch.setattr("catgan.serve.engine.MAX_HOLD", 30)
    engine = make_engine(capacity=100)
    steps = [Step(number) for number in range(GROUP + 3)]

    async def run():
        tasks = [asyncio.create_task(engine.run(step, 1, forever)) for step in steps]
        for step in steps[: GROUP - 1]:
            await step.finish()
        assert await asyncio.to_thread(steps[GROUP - 1].started.wait, 30)
        await asyncio.sleep(0.02)
        assert await results(tasks, 0) == []
        await steps[GROUP - 1].finish()
        assert await results(tasks, GROUP) == list(range(GROUP))
        await steps[GROUP].finish()
        assert await asyncio.to_thread(steps[GROUP + 1].started.wait, 30)
        await asyncio.sleep(0.02)
        assert await results(tasks, GROUP) == list(range(GROUP))
        await steps[GROUP + 1].finish()  # and the last job starts, so that none waits
        assert await results(tasks, GROUP + 2) == list(range(GROUP + 2))
        await steps[GROUP + 2].finish()
        assert await results(tasks, GROUP + 3) == list(range(GROUP + 3))

    asyncio.run(run())
    assert engine.pending == 0


def test_no_finished_result_is_held_for_longer_than_the_limit(make_engine):
    engine, steps = make_engine(capacity=100), [Step(number) for number in range(3)]

    async def run():
        tasks = [asyncio.create_task(engine.run(step, 1, forever)) for step in steps]
        await steps[0].finish()
        assert await results(tasks, 1) == [0]  # while the second is generated and the third waits
        for step in steps[1:]:
            await step.finish()
        assert await results(tasks, 3) == [0, 1, 2]

    asyncio.run(run())


def test_errors_in_a_group_stay_with_their_jobs(make_engine):
    engine, first = make_engine(capacity=100), Step("first")

    def fail(error):
        def job(stop):
            raise error

        return job

    jobs = [first, fail(KeyError("a")), lambda stop: 2, fail(StopIteration(3)), lambda stop: 4]

    async def run():
        tasks = [asyncio.create_task(engine.run(job, 1, forever)) for job in jobs]
        await asyncio.sleep(0.01)
        first.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(each) if isinstance(each, Exception) else each for each in asyncio.run(run())] == [
        "first",
        KeyError,
        2,
        RuntimeError,
        4,
    ]


def test_requests_from_several_event_loops_share_the_workers(make_engine):
    engine, values = make_engine(workers=2, capacity=100), {}

    async def run(number):
        jobs = (engine.run(lambda stop, i=i: (number, i), 1, forever) for i in range(20))
        return await asyncio.gather(*jobs)

    def client(number):
        values[number] = asyncio.run(run(number))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == {number: [(number, i) for i in range(20)] for number in range(3)}


def test_closing_cancels_what_waits_and_rejects_the_rest(make_engine):
    engine, step = make_engine(), Step("running")

    async def run():
        tasks = [asyncio.create_task(engine.run(job, 1, forever)) for job in (step, Step("never"))]
        assert await asyncio.to_thread(step.started.wait, 30)
        closing = asyncio.create_task(asyncio.to_thread(engine.close))
        await asyncio.sleep(0.02)
        step.go.set()
        await closing
        with pytest.raises(RuntimeError):
            await engine.run(lambda stop: "late", 1, forever)
        return await asyncio.gather(*tasks, return_exceptions=True)

    running, cancelled = asyncio.run(run())
    assert running == "running"
    assert isinstance(cancelled, asyncio.CancelledError)
    assert engine.pending == 0


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
    monkeypatch.setattr("catgan.serve.engine.MAX_HOLD", 30)
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
