"""Computing one thread at a time.

A call takes milliseconds of litellm's computing before it is sent and after it is answered, and Python runs one thread
at a time in any case. Where dozens of threads want to, one in the midst of a transaction waits for all of them at every
statement, and holds the database for that long. So they wait here instead, and only for their turn at litellm.
Those whose answer has come go first: what is paid is stored before more is asked.
"""

import threading
from collections import deque
from typing import Any


class Turn:
    """``with turn:`` around the computing, ``pause`` and ``resume`` around what waits in its midst.

    Used from several threads; ``pause`` and ``resume`` do nothing in a thread that is not in such a block.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._resuming: deque[threading.Lock] = deque()
        self._beginning: deque[threading.Lock] = deque()
        self._mine = threading.local()

    def __enter__(self) -> None:
        self._mine.inside = True
        self._take(self._beginning)

    def __exit__(self, *_: object) -> None:
        self.pause()
        self._mine.inside = False

    @property
    def waiting(self) -> int:
        """Threads that wait for their turn."""
        return len(self._resuming) + len(self._beginning)

    def pause(self, *_: object) -> None:
        """Let others compute."""
        if not getattr(self._mine, "has_it", False):
            return
        self._mine.has_it = False
        with self._lock:
            waiting = self._resuming or self._beginning
            following = waiting.popleft() if waiting else None
            self._taken = following is not None
        if following is not None:
            following.release()

    def resume(self) -> None:
        """Wait for one's turn, before those who only begin."""
        if getattr(self._mine, "inside", False) and not getattr(self._mine, "has_it", False):
            self._take(self._resuming)

    def read(self, response: Any) -> None:
        """Take in an HTTP response, however slowly it comes, and only then go on computing."""
        response.read()
        self.resume()

    def _take(self, queue: deque[threading.Lock]) -> None:
        called: threading.Lock | None = None
        with self._lock:
            if self._taken:
                called = threading.Lock()
                called.acquire()
                queue.append(called)
            self._taken = True
        if called is not None:
            called.acquire()
        self._mine.has_it = True
