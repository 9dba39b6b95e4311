"""Whose turn it is among the waiters of one process."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

LOOK_S = 1.0
"""Longest sleep without a look at the shared state."""
TURN_S = 0.05
"""How often the first of this process's waiters looks whether a lease of another process came free."""


class Turns:
    """Wakes this process's waiters when their lease is due, so that they need not all ask the database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: OrderedDict[int, threading.Event] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def wait(self, ticket: int) -> None:
        """Sleep until called, or for a while; only the first in line looks often."""
        with self._lock:
            event = self._waiting.setdefault(ticket, threading.Event())
            first = next(iter(self._waiting)) == ticket
        event.wait(TURN_S if first else LOOK_S)
        event.clear()

    def leave(self, ticket: int) -> None:
        with self._lock:
            self._waiting.pop(ticket, None)
            self._wake(list(self._waiting)[:1])

    def call(self, granted: Sequence[int]) -> None:
        with self._lock:
            self._wake([ticket for ticket in granted if ticket in self._waiting])

    def _wake(self, tickets: Sequence[int]) -> None:
        for ticket in tickets:
            self._waiting[ticket].set()
