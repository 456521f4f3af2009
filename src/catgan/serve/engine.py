"""A worker pool behind a bounded queue: a request is accepted or rejected immediately."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from catgan.serve.models import Stop
from catgan.serve.problems import ProblemError

T = TypeVar("T")
_SMOOTHING = 0.05  # of the exponential moving average of the seconds an image takes
_INITIAL_ESTIMATE = 0.02  # seconds an image


class Engine:
    """Runs jobs on `workers` threads, with at most `capacity` images accepted and not yet done.

    A job counts as many images as it generates. It gets a `Stop` that tells it when to give up:
    its client is gone, or `timeout` seconds have passed.
    """

    def __init__(self, workers: int, capacity: int, timeout: float) -> None:
        self.workers, self.capacity, self.timeout = workers, capacity, timeout
        self.pending = 0  # images
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
        stop = Stop()
        work = self._submit(job, images, stop)
        result = asyncio.wrap_future(work)
        disconnect = asyncio.ensure_future(wait_for_disconnect())
        try:
            done, _ = await asyncio.wait(
                (result, disconnect), timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if result in done:
                return result.result()
            if disconnect in done:
                raise ClientGoneError
            raise ProblemError(
                503,
                f"generating the images took longer than the limit of {self.timeout:g} s",
                reason="timeout",
                retry_after=self.retry_after(),
            )
        finally:
            disconnect.cancel()
            if not result.done():
                stop.requested = True
                work.cancel()  # has an effect only if it has not started
                result.cancel()

    def retry_after(self) -> int:
        """Return the estimated seconds until the queue has room, at least 1."""
        return max(1, math.ceil(self.pending * self._seconds_per_image / self.workers))

    def close(self) -> None:
        """Cancel the jobs that have not started, and wait for those that have."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _submit(self, job: Callable[[Stop], T], images: int, stop: Stop) -> Future[T]:
        with self._lock:
            full = self.pending + images > self.capacity
            if not full:
                self.pending += images
        if full:
            raise ProblemError(
                503,
                f"the queue is full ({self.pending} of {self.capacity} images): try again later",
                reason="queue",
                retry_after=self.retry_after(),
            )

        def timed() -> T:
            stop.check()
            started = time.perf_counter()
            try:
                return job(stop)
            finally:
                seconds = (time.perf_counter() - started) / images
                self._seconds_per_image += _SMOOTHING * (seconds - self._seconds_per_image)

        def release(_: Future[T]) -> None:
            with self._lock:
                self.pending -= images

        work = self._executor.submit(timed)
        work.add_done_callback(release)
        return work


class ClientGoneError(Exception):
    """The client closed the connection before its response was sent."""
