"""A worker pool behind a bounded queue: a request is accepted or rejected immediately.

While requests wait, the event loop gets the images of several at once. Generating an image fills
the processor's caches with weights, so that the code that responds is slow the first time: eight
responses in a row cost half of what they cost one at a time.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from catgan.serve.models import Stop
from catgan.serve.problems import ProblemError

T = TypeVar("T")
_SMOOTHING = 0.05  # of the exponential moving average of the seconds an image takes
_INITIAL_ESTIMATE = 0.02  # seconds an image
GROUP = 8  # results that the event loop gets at once while more jobs wait


class Engine:
    """Runs jobs on `workers` threads, with at most `capacity` images accepted and not yet done.

    A job counts as many images as it generates. It gets a `Stop` that tells it when to give up:
    its client is gone, or `timeout` seconds have passed.
    """

    def __init__(self, workers: int, capacity: int, timeout: float) -> None:
        self.workers, self.capacity, self.timeout = workers, capacity, timeout
        self.pending = 0  # images
        self._waiting = 0  # jobs that no worker has started
        self._finished: list[tuple[asyncio.Future[Any], Future[Any]]] = []  # not yet delivered
        self._seconds_per_image = _INITIAL_ESTIMATE
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(workers, "generate")

    async def run(
        self,
        job: Callable[[Stop], T],
        images: int,
        wait_for_disconnect: Callable[[], Awaitable[None]],
    ) -> T:
        """Return the result of `job`, which generates `images` images.

        `wait_for_disconnect` returns once the client has closed the connection.

        Raises:
            ProblemError: 503 if the queue is full or the job takes longer than the timeout.
            ClientGoneError: the client closed the connection first.
        """
        stop, loop = Stop(), asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        work = self._submit(job, images, stop, result)

        def give_up(error: Exception) -> None:
            if not result.done():
                result.set_exception(error)

        async def watch() -> None:
            await wait_for_disconnect()
            give_up(ClientGoneError())

        watcher = loop.create_task(watch())
        timer = loop.call_later(self.timeout, lambda: give_up(self._timeout_problem()))
        try:
            return await result
        finally:
            timer.cancel()
            watcher.cancel()
            if not work.done():
                stop.requested = True
                work.cancel()  # has an effect only if it has not started

    def retry_after(self) -> int:
        """Return the estimated seconds until the queue has room, at least 1."""
        return max(1, math.ceil(self.pending * self._seconds_per_image / self.workers))

    def close(self) -> None:
        """Cancel the jobs that have not started, and wait for those that have."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _timeout_problem(self) -> ProblemError:
        return ProblemError(
            503,
            f"generating the images took longer than the limit of {self.timeout:g} s",
            reason="timeout",
            retry_after=self.retry_after(),
        )

    def _submit(
        self, job: Callable[[Stop], T], images: int, stop: Stop, result: asyncio.Future[T]
    ) -> Future[T]:
        """Queue a job whose outcome goes to `result`."""
        with self._lock:
            full = self.pending + images > self.capacity
            if not full:
                self.pending += images
                self._waiting += 1
        if full:
            raise ProblemError(
                503,
                f"the queue is full ({self.pending} of {self.capacity} images): try again later",
                reason="queue",
                retry_after=self.retry_after(),
            )

        def timed() -> T:
            with self._lock:
                self._waiting -= 1
            if images > 1:  # takes long: let no finished result wait for it
                self._deliver(at_least=1)
            stop.check()
            started = time.perf_counter()
            try:
                return job(stop)
            finally:
                seconds = (time.perf_counter() - started) / images
                self._seconds_per_image += _SMOOTHING * (seconds - self._seconds_per_image)

        def finish(work: Future[T]) -> None:
            with self._lock:
                self.pending -= images
                if work.cancelled():
                    self._waiting -= 1
                else:
                    self._finished.append((result, work))
            self._deliver(at_least=GROUP)

        work = self._executor.submit(timed)
        work.add_done_callback(finish)
        return work

    def _deliver(self, at_least: int) -> None:
        """Hand the finished results to their event loops: `at_least` so many, or if no job waits.

        If a job waits, the worker that starts it comes back here.
        """
        with self._lock:
            if self._waiting and len(self._finished) < at_least:
                return
            finished, self._finished = self._finished, []
        for loop in {result.get_loop() for result, _ in finished}:
            if not loop.is_closed():
                own = [each for each in finished if each[0].get_loop() is loop]
                loop.call_soon_threadsafe(_set_results, own)


def _set_results(finished: list[tuple[asyncio.Future[Any], Future[Any]]]) -> None:
    for result, work in finished:
        if result.done():  # its request has given up
            continue
        error = work.exception()
        if error is None:
            result.set_result(work.result())
        else:
            result.set_exception(error)


class ClientGoneError(Exception):
    """The client closed the connection before its response was sent."""
