"""The bounded queue in front of the workers: a request is accepted at once, or rejected at once."""

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
_SMOOTHING = 0.05  # of the moving average of the time that an image takes
_FIRST_GUESS = 0.02  # seconds an image


class Engine:
    """Runs jobs on `workers` threads; at most `capacity` images are accepted and not yet done.

    A job counts as many images as it draws. It gets a `Stop`, by which it learns that nobody waits
    for it any more: its client is gone, or `timeout` seconds have passed.
    """

    def __init__(self, workers: int, capacity: int, timeout: float) -> None:
        self.workers, self.capacity, self.timeout = workers, capacity, timeout
        self.pending = 0  # images
        self._seconds = _FIRST_GUESS
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(workers, "draw")

    async def run(
        self, job: Callable[[Stop], T], images: int, gone: Callable[[], Awaitable[None]]
    ) -> T:
        """Return what `job` returns; `gone` returns when the client has gone.

        Raises:
            ProblemError: 503, the queue is full or the time is over.
            ClientGoneError: nobody waits for the answer.
        """
        stop = Stop()
        work = self._submit(job, images, stop)
        result = asyncio.wrap_future(work)
        leaving = asyncio.ensure_future(gone())
        try:
            done, _ = await asyncio.wait(
                (result, leaving), timeout=self.timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if result in done:
                return result.result()
            if leaving in done:
                raise ClientGoneError
            raise ProblemError(
                503,
                f"drawing took longer than the {self.timeout:g} s that a request may take",
                reason="timeout",
                retry_after=self.retry_after(),
            )
        finally:
            leaving.cancel()
            if not result.done():
                stop.requested = True
                work.cancel()  # if it has not begun
                result.cancel()

    def retry_after(self) -> int:
        """Return after how many seconds the queue should have room."""
        return max(1, math.ceil(self.pending * self._seconds / self.workers))

    def close(self) -> None:
        """Drop what has not begun, and wait for what has."""
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
            began = time.perf_counter()
            try:
                return job(stop)
            finally:
                seconds = (time.perf_counter() - began) / images
                self._seconds += _SMOOTHING * (seconds - self._seconds)

        def release(_: Future[T]) -> None:
            with self._lock:
                self.pending -= images

        work = self._executor.submit(timed)
        work.add_done_callback(release)
        return work


class ClientGoneError(Exception):
    """The client has closed the connection before its answer was ready."""
