"""Erasing people over HTTP: one after the other, in a thread that goes on whether or not somebody waits for it."""

import logging
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from threading import Event, Lock

from sqlalchemy.exc import DBAPIError

from ingest_pipeline.erasing import Forgotten, erase, prove, searched_folders
from ingest_pipeline.errors import IngestError, ProfileNotFound, StoreUnavailable
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.store.audit_log import Via

_log = logging.getLogger(__name__)


class Erasures:
    """One per process. Who asks for the same person meanwhile gets the same outcome."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="erase")
        self._running: dict[str, Future[Forgotten]] = {}
        self._lock = Lock()
        self._stop = Event()

    def begin(self, profile_id: str, actor: str, via: Via = Via.API) -> Future[Forgotten]:
        """What is done; its ``proof`` is empty when the database's files could not be looked through.

        The future raises ProfileNotFound when somebody else was faster, StoreUnavailable when the server stops: the
        same call goes on then.
        """
        with self._lock:
            running = self._running.get(profile_id)
            if running is None:
                running = self._pool.submit(self._erase, profile_id, actor, via)
                self._running[profile_id] = running
                running.add_done_callback(partial(self._ended, profile_id))
            return running

    def stop(self) -> None:
        """Break off what is under way, at its next step."""
        self._stop.set()

    def close(self) -> None:
        self.stop()
        self._pool.shutdown(wait=True)

    def _erase(self, profile_id: str, actor: str, via: Via) -> Forgotten:
        progress = _UntilStopped(self._stop)
        settings, engine = self._pipeline.settings, self._pipeline.engine
        refold = partial(fold_profiles, engine, self._pipeline.schema, rules=settings.fold_rules())
        gone, remnants = erase(engine, profile_id, refold, actor, via, progress)
        try:
            gone = replace(gone, proof=prove(engine, remnants, progress, searched_folders(settings)))
        except (StoreUnavailable, DBAPIError):
            _log.warning("profile %s is erased, but the database's files could not be looked through", profile_id)
            return gone
        if not gone.clean:
            left = Counter({scan.place: scan.identifiers + scan.texts for scan in gone.proof if not scan.clean})
            _log.warning("profile %s is erased, but something is left: %s", profile_id, dict(left))
        return gone

    def _ended(self, profile_id: str, future: Future[Forgotten]) -> None:
        with self._lock:
            self._running.pop(profile_id, None)
        error = None if future.cancelled() else future.exception()
        if error is not None and not isinstance(error, ProfileNotFound):
            # A database's message may quote values.
            reason = str(error) if isinstance(error, IngestError) else type(error).__name__
            _log.error("profile %s is not erased yet: %s", profile_id, reason)


class _UntilStopped:
    """A ``Progress`` at whose next step an erasure ends. It may end at any: the same command finds what is left."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop

    def start(self, stage: str, total: int | None) -> None:
        self.advance(0)

    def advance(self, steps: int = 1) -> None:
        if self._stop.is_set():
            raise StoreUnavailable("the server stops; the same call goes on with what is left")
