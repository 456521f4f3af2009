"""What asks a run to stop after the step it is in: the clock, Ctrl-C, SIGTERM or Ctrl-Break.

A second signal ends it at once. Under torchrun a second SIGTERM does not: a cluster sends one to
every process, torchrun sends them another, and kills by itself what has not ended 30 seconds later.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

from catgan.training import distributed


class StopSignals:
    """A context in which signals are noted: `received` is the number of the one to stop for.

    `deadline` is on the clock `time.monotonic`.
    """

    received: int | None = None

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def asked(self, by_the_run: bool = False) -> bool:
        """Whether to stop, for a signal, the time, or as the main process wants it `by_the_run`.

        All processes of a job must ask together, and get the same answer.
        """
        late = by_the_run or time.monotonic() >= self.deadline
        agreed = distributed.highest(self.received or int(late))  # a signal's is 2 or more
        if agreed > 1:
            self.received = agreed
        return agreed > 0

    def __enter__(self) -> StopSignals:
        self.previous = {}
        self.relayed = distributed.world().processes > 1
        if threading.current_thread() is threading.main_thread():  # the only one that may handle
            numbers = [signal.SIGINT, signal.SIGTERM]
            if hasattr(signal, "SIGBREAK"):  # Windows' Ctrl-Break; SIGTERM reaches nobody there
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
