"""Computing one thread at a time.

A call takes milliseconds of litellm's computing before it is sent and after it is answered, and Python runs one thread
at a time in any case. Where dozens of threads want to, one in the midst of a transaction waits for all of them at every
statement, and holds the database for that long. So they wait here instead, and only for their turn at litellm.
"""

import threading
from typing import Any


class Turn:
    """``with turn:`` around the computing, ``pause`` and ``resume`` around what waits in its midst.

    Used from several threads; ``pause`` and ``resume`` do nothing in a thread that is not in such a block.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mine = threading.local()

    def __enter__(self) -> None:
        self._mine.inside = True
        self.resume()

    def __exit__(self, *_: object) -> None:
        self.pause()
        self._mine.inside = False

    def pause(self, *_: object) -> None:
        """Let others compute."""
        if getattr(self._mine, "has_it", False):
            self._mine.has_it = False
            self._lock.release()

    def resume(self) -> None:
        """Wait for one's turn."""
        if getattr(self._mine, "inside", False) and not getattr(self._mine, "has_it", False):
            self._lock.acquire()
            self._mine.has_it = True

    def read(self, response: Any) -> None:
        """Take in an HTTP response, however slowly it comes, and only then go on computing."""
        response.read()
        self.resume()
