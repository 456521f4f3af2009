"""Requests to stop after the current step: the clock, Ctrl-C, SIGTERM or Ctrl-Break.

A second signal ends the run at once. Under torchrun a second SIGTERM does not: a cluster sends one
to every process, torchrun sends them another, and itself kills any process that has not ended 30
seconds later.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

from catgan.training import distributed


class StopSignals:
    """Context that records signals: `received` is the number of the signal to stop for.

    `deadline` is a time of `time.monotonic`.
    """

    received: int | None = None

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def asked(self, by_the_run: bool = False) -> bool:
        """Return whether to stop: for a signal, the deadline, or because of `by_the_run`.

        `by_the_run` counts on the main process. All processes of a job must call this at the same
        step, and get the same answer.
        """
        is_due = by_the_run or time.monotonic() >= self.deadline
        agreed = distributed.all_reduce_max(self.received or int(is_due))  # signals are 2 or more
        if agreed > 1:
            self.received = agreed
        return agreed > 0

    def __enter__(self) -> StopSignals:
        self.previous = {}
        self.relayed = distributed.world().processes > 1
        if threading.current_thread() is threading.main_thread():  # only it may set handlers
            numbers = [signal.SIGINT, signal.SIGTERM]
            if hasattr(signal, "SIGBREAK"):  # Windows' Ctrl-Break; SIGTERM does nothing there
                numbers.append(signal.SIGBREAK)
            for number in numbers:
                self.previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and not (self.relayed and number == signal.SIGTERM):
            raise KeyboardInterrupt
        self.received = number
