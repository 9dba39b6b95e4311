"""The thread of each server process that works on uploads; the store says whose turn it is."""

import logging
import math
import time
from datetime import UTC, datetime
from threading import Event, Thread

from sqlalchemy.exc import SQLAlchemyError

from ingest_pipeline.errors import IngestError
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.store.uploads import remove_ended
from ingest_pipeline.uploads import work_once

POLL_S = 5.0
"""How often a process looks for uploads that another one left."""

REMOVE_S = 3600.0
"""How often it removes those that ended long ago."""

_log = logging.getLogger(__name__)


class UploadWorker:
    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._stopping, self._woken = Event(), Event()
        self._removed_at = -math.inf
        self._thread = Thread(target=self._run, name="uploads", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._woken.set()

    def stop(self) -> None:
        """Begin nothing any more."""
        self._stopping.set()
        self._woken.set()

    def join(self) -> None:
        """Wait until what was begun is stored."""
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                worked = work_once(self._pipeline, self._stopping)
                self._remove_ended()
            except (IngestError, SQLAlchemyError) as error:
                # A database's message may quote values.
                reason = str(error) if isinstance(error, IngestError) else type(error).__name__
                _log.error("a batch cannot go on: %s; it is tried again", reason)
                worked = False
            if not worked:
                self._woken.wait(POLL_S)
                self._woken.clear()

    def _remove_ended(self) -> None:
        if time.monotonic() - self._removed_at >= REMOVE_S:
            self._removed_at = time.monotonic()
            remove_ended(self._pipeline.engine, datetime.now(UTC))
