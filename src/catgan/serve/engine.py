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
from contextlib import suppress
from typing import Any, TypeVar

from catgan.serve.models import Stop
from catgan.serve.problems import ProblemError

T = TypeVar("T")
_SMOOTHING = 0.05  # of the exponential moving average of the seconds an image takes
_INITIAL_ESTIMATE = 0.02  # seconds an image
GROUP = 8  # results that the event loop gets at once while more jobs wait
MAX_HOLD = 0.1  # seconds that a result waits for the rest of its group


class Engine:
    """Runs jobs on `workers` threads, with at most `capacity` images accepted and not yet done.

    A job counts as many images as it generates. It gets a `Stop` that tells it when to give up:
    its client is gone, or `timeout` seconds have passed.
    """

    def __init__(self, workers: int, capacity: int, timeout: float) -> None:
        self.workers, self.capacity, self.timeout = workers, capacity, timeout
        self.pending = 0  # images
        self._waiting = 0  # jobs that no worker has started
        self._group: list[tuple[asyncio.Future[Any], Future[Any]]] = []  # finished, not delivered
        self._groups = 0  # delivered
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
            with suppress(Exception):  # some servers raise when the client is gone
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
            self._deliver(at_least=GROUP)
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
                self._group.append((result, work))
                number, is_first = self._groups, len(self._group) == 1
            if not self._deliver(at_least=GROUP) and is_first:
                with suppress(RuntimeError):  # the event loop is closed
                    loop = result.get_loop()
                    loop.call_soon_threadsafe(loop.call_later, MAX_HOLD, self._deliver, 1, number)

        try:
            work = self._executor.submit(timed)
        except RuntimeError:  # it is closed
            with self._lock:
                self.pending -= images
                self._waiting -= 1
            raise
        work.add_done_callback(finish)
        return work

    def _deliver(self, at_least: int, number: int | None = None) -> bool:
        """Hand the group of finished results to their event loops; return whether there was one.

        Only if it has `at_least` so many results, or if no job waits; with a `number`, only if it
        is that group.
        """
        with self._lock:
            is_due = len(self._group) >= at_least or self._waiting <= 0
            if not self._group or not is_due or number not in (None, self._groups):
                return False
            group, self._group = self._group, []
            self._groups += 1
        for loop in {result.get_loop() for result, _ in group}:
            own = [each for each in group if each[0].get_loop() is loop]
            with suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(_set_results, own)
        return True


def _set_results(group: list[tuple[asyncio.Future[Any], Future[Any]]]) -> None:
    for result, work in group:
        if result.done():  # its request has given up
            continue
        if work.cancelled():
            result.cancel()
        elif error := work.exception():
            # A future takes any error but this one.
            is_special = isinstance(error, StopIteration)
            result.set_exception(RuntimeError(error) if is_special else error)
        else:
            result.set_result(work.result())


class ClientGoneError(Exception):
    """The client closed the connection before its response was sent."""
