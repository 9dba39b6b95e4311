"""Extracting stored documents while nobody waits: a few threads of this process, under the limits of everything else.

Nothing depends on it: what it does not get to (the process ends, too much is due, the budget is spent) is pending in
the store, and done by the next sync or when the process starts again.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from sqlalchemy.exc import SQLAlchemyError

from ingest_pipeline.errors import IngestError

MAX_DUE = 10_000
"""Documents that wait here at the most; more are left to the next sync."""
CLOSING_S = 10.0
"""How long the end of the process waits for what is under way."""

_log = logging.getLogger(__name__)


class Background:
    """``extract`` takes a profile and documents of it. Used from several threads.

    Documents of one profile are taken by one thread at a time, together: a person who writes quickly is not asked about
    twice.
    """

    def __init__(self, extract: Callable[[str, Sequence[str]], None], threads: int) -> None:
        self._extract = extract
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="background")
        self._changed = threading.Condition()
        self._due: dict[str, list[str]] = {}
        self._waiting = 0
        self._running: dict[str, Future[None]] = {}
        self._closed = False

    def add(self, profile_id: str, documents: Sequence[str]) -> None:
        with self._changed:
            if self._closed or not documents:
                return
            if self._waiting + len(documents) > MAX_DUE:
                _log.warning("%d documents are left to the next sync: too many are due", len(documents))
                return
            self._waiting += len(documents)
            self._due.setdefault(profile_id, []).extend(documents)
            if profile_id not in self._running:
                self._running[profile_id] = self._pool.submit(self._work, profile_id)

    def drain(self, timeout_s: float) -> bool:
        """Wait until nothing is due. False when it takes longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout_s)

    def close(self) -> None:
        """Begin nothing any more, and wait a little for what is under way. Idempotent."""
        with self._changed:
            self._closed = True
            running = list(self._running.values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in running if not future.cancelled()], CLOSING_S)

    def _work(self, profile_id: str) -> None:
        try:
            while documents := self._take(profile_id):
                self._try(profile_id, documents)
        except BaseException:
            _log.exception("documents are left to the next sync")
            with self._changed:
                self._waiting -= len(self._due.pop(profile_id, ()))
                self._end(profile_id)
            raise

    def _take(self, profile_id: str) -> list[str]:
        with self._changed:
            documents = [] if self._closed else self._due.pop(profile_id, [])
            self._waiting -= len(documents)
            if not documents:
                # Under the same lock: what comes from now on starts anew.
                self._end(profile_id)
            return documents

    def _end(self, profile_id: str) -> None:
        del self._running[profile_id]
        self._changed.notify_all()

    def _try(self, profile_id: str, documents: Sequence[str]) -> None:
        try:
            self._extract(profile_id, documents)
        except IngestError as error:
            _log.warning("%d documents are left to the next sync: %s", len(documents), type(error).__name__)
        except SQLAlchemyError as error:
            # Its text may quote values.
            _log.warning("%d documents are left to the next sync: %s", len(documents), type(error).__name__)
