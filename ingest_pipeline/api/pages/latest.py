"""What may take long to find out: asked in a thread, a tenth of the time at most; meanwhile the last answer stands.

On a small store everything is asked anew for each page. On one with 100 million documents, where counting takes
minutes, a page is there at once, with what was counted last.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock, Thread
from typing import Generic, TypeVar

WAIT_S = 1.5
"""How long a page waits for an answer; one that takes no longer is never older than its page."""

REST = 9
"""After a longer one nothing is asked for so many times as long as it took."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """An answer, and when it was there."""

    value: T
    at: datetime


class Latest(Generic[T]):
    """Thread-safe; one per process and question. ``fresh_s``: how long any answer will do. ``clock``: seconds."""

    def __init__(
        self,
        ask: Callable[[], T],
        wait_s: float = WAIT_S,
        fresh_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._wait_s, self._fresh_s, self._clock = ask, wait_s, fresh_s, clock
        self._lock = Lock()
        self._asked: Future[Found[T]] | None = None
        self._last: Found[T] | None = None
        self._rests_until = 0.0

    def load(self) -> Found[T] | None:
        """The newest answer; None when there is none yet, and it takes longer: look again. Raises what asking does."""
        with self._lock:
            if self._asked is None:
                if self._last is not None and self._clock() < self._rests_until:
                    return self._last
                self._asked = Future()
                # Not waited for when the process ends: it may take minutes.
                Thread(target=self._find, args=(self._asked,), name="latest", daemon=True).start()
            asked = self._asked
        try:
            return asked.result(self._wait_s)
        except NotYet:
            return self._last

    def _find(self, asked: "Future[Found[T]]") -> None:
        begun = self._clock()
        try:
            found = Found(self._ask(), datetime.now(UTC))
        except BaseException as error:  # noqa: BLE001 - whoever asked raises it
            with self._lock:
                self._asked = None
            asked.set_exception(error)
            return
        took = self._clock() - begun
        with self._lock:
            self._asked, self._last = None, found
            self._rests_until = self._clock() + max(self._fresh_s, REST * took if took > self._wait_s else 0.0)
        asked.set_result(found)
