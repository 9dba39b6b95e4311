"""Progress of long work, for whoever is looking: a bar in a terminal, now and then a line in a run's log."""

import time
from collections.abc import Callable
from typing import Protocol


class Progress(Protocol):
    """Told of each stage's size and of every step. Counts only, never text."""

    def start(self, stage: str, total: int | None) -> None:
        """``total`` is None where the size is not known before."""
        ...

    def advance(self, steps: int = 1) -> None: ...


class LogProgress:
    """A line at most every ``every_s`` seconds, such as "extracting: 1,200 of 5,000 documents"."""

    def __init__(self, log: Callable[[str], None], every_s: float = 10.0, clock: Callable[[], float] = time.monotonic):
        self._log, self._every_s, self._clock = log, every_s, clock
        self._stage, self._total, self._done, self._last = "", 0, 0, clock()

    def start(self, stage: str, total: int | None) -> None:
        self._stage, self._total, self._done, self._last = stage, total or 0, 0, self._clock()

    def advance(self, steps: int = 1) -> None:
        self._done += steps
        if self._clock() - self._last >= self._every_s:
            self._last = self._clock()
            self._log(f"{self._stage}: {self._done:,}" + (f" of {self._total:,}" if self._total else ""))
