"""SQLite's writers in a queue, over all threads and processes of a machine.

SQLite takes one writer at a time; those who wait look again after up to 100 ms, and the unlucky ones do so for seconds
(measured, 16 threads of 2 processes: 1 in 100 waited 1.4 s for writes of 4 ms; in a queue 0.1 s). So a writer first
waits for the lock of a file beside the database, which the system grants in turn and takes back from a process that
dies. SQLite's own lock still decides: who does not know of the queue only waits as ever.
"""

import os
import sqlite3
from typing import Any

from ingest_pipeline.errors import StoreUnavailable

try:
    from fcntl import LOCK_EX, LOCK_UN, flock
except ImportError:  # Windows: they wait as SQLite lets them
    flock = None  # type: ignore[assignment]

SUFFIX = ".queue"


class QueueingConnection(sqlite3.Connection):
    """``wait_for_turn`` before a write transaction is begun; ``commit`` and ``rollback`` end the turn."""

    def __init__(self, database: str, *args: Any, **options: Any) -> None:
        super().__init__(database, *args, **options)
        self._path = database + SUFFIX
        self._file = -1
        self._has_turn = False

    def wait_for_turn(self) -> None:
        """Raises StoreUnavailable."""
        if flock is None:
            return
        try:
            if self._file < 0:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            flock(self._file, LOCK_EX)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot open {SUFFIX} beside the database: {error.strerror}; check INGEST_HOME"
            ) from None
        self._has_turn = True

    def end_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            flock(self._file, LOCK_UN)

    def commit(self) -> None:
        super().commit()
        self.end_turn()

    def rollback(self) -> None:
        super().rollback()
        self.end_turn()

    def close(self) -> None:
        super().close()
        self._has_turn = False
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
