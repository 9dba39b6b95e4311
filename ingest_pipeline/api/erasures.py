"""Erasing people over HTTP: one after the other, in a thread that goes on whether or not somebody waits for it.

What was asked for stands in the store until it is done: a server that starts, or another one that runs, goes on with
what a killed one left.
"""

import logging
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from threading import Event, Lock, Thread

from sqlalchemy.exc import SQLAlchemyError

from ingest_pipeline.erasing import Forgotten, erase, prove, searched_folders
from ingest_pipeline.errors import IngestError, ProfileNotFound, StoreUnavailable
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.leases import kept
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.erasures import LEASE, Asked, ask, claim_abandoned, renew, settle
from ingest_pipeline.store.proving import purge

POLL_S = 60.0
"""How often a process looks for erasures that another one left."""

_log = logging.getLogger(__name__)


class Erasures:
    """One per process. Who asks for the same person meanwhile gets the same outcome."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self._engine = pipeline, pipeline.engine
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="erase")
        self._running: dict[str, Future[Forgotten]] = {}
        self._lock = Lock()
        self._stop = Event()
        self._watcher = Thread(target=self._watch, name="erasures", daemon=True)
        self._watcher.start()

    def begin(self, profile_id: str, actor: str, via: Via = Via.API) -> Future[Forgotten]:
        """What is done; its ``proof`` is empty when the database's files could not be looked through.

        The future raises ProfileNotFound when somebody else was faster, StoreUnavailable when the server stops: the
        same call goes on then, and so does the server that starts next.
        """
        asked = Asked(profile_id, actor, via)
        ask(self._engine, asked, datetime.now(UTC))
        return self._start(asked, resumed=False)

    def _start(self, asked: Asked, resumed: bool) -> Future[Forgotten]:
        with self._lock:
            running = self._running.get(asked.profile_id)
            if running is None:
                running = self._pool.submit(self._erase, asked, resumed)
                self._running[asked.profile_id] = running
                running.add_done_callback(partial(self._ended, asked.profile_id))
            return running

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except (IngestError, SQLAlchemyError) as error:
                _log.error("erasures that were broken off cannot be looked for: %s", _reason(error))
            self._stop.wait(POLL_S)

    def look(self) -> None:
        """Keep what waits here for its turn, and take up what nobody is at work on any more."""
        with self._lock:
            waiting = list(self._running)
        for profile_id in waiting:
            renew(self._engine, profile_id, datetime.now(UTC) + LEASE)
        for asked in claim_abandoned(self._engine, datetime.now(UTC)):
            _log.info("profile %s: an erasure that was broken off goes on", asked.profile_id)
            self._start(asked, resumed=True)

    def stop(self) -> None:
        """Break off what is under way, at its next step."""
        self._stop.set()

    def close(self) -> None:
        self.stop()
        self._watcher.join()
        self._pool.shutdown(wait=True)

    def _erase(self, asked: Asked, resumed: bool) -> Forgotten:
        mine = partial(renew, self._engine, asked.profile_id)
        if not mine(datetime.now(UTC) + LEASE) and resumed:
            raise ProfileNotFound  # another server has done it meanwhile
        with kept(lambda: mine(datetime.now(UTC) + LEASE), LEASE.total_seconds() / 3):
            try:
                gone = self._erase_and_prove(asked)
            except ProfileNotFound:
                if resumed:
                    self._purge(asked.profile_id)
                settle(self._engine, asked.profile_id)
                raise
            except StoreUnavailable:
                if self._stop.is_set():
                    mine(datetime.now(UTC))
                raise
        settle(self._engine, asked.profile_id)
        return gone

    def _purge(self, profile_id: str) -> None:
        """Whoever erased the person was killed before the end: what was deleted may still be in the files."""
        try:
            purge(self._engine)
        except (StoreUnavailable, SQLAlchemyError):
            _log.warning("profile %s is erased, but the database could not be written anew", profile_id)

    def _erase_and_prove(self, asked: Asked) -> Forgotten:
        progress, profile_id = _UntilStopped(self._stop), asked.profile_id
        settings = self._pipeline.settings
        refold = partial(fold_profiles, self._engine, self._pipeline.schema, rules=settings.fold_rules())
        gone, remnants = erase(self._engine, profile_id, refold, asked.actor, asked.via, progress)
        try:
            gone = replace(gone, proof=prove(self._engine, remnants, progress, searched_folders(settings)))
        except (StoreUnavailable, SQLAlchemyError):
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
            _log.error("profile %s is not erased yet: %s", profile_id, _reason(error))


def _reason(error: BaseException) -> str:
    """A database's own message may quote values."""
    return str(error) if isinstance(error, IngestError) else type(error).__name__


class _UntilStopped:
    """A ``Progress`` at whose next step an erasure ends. It may end at any: the same command finds what is left."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop

    def start(self, stage: str, total: int | None) -> None:
        self.advance(0)

    def advance(self, steps: int = 1) -> None:
        if self._stop.is_set():
            raise StoreUnavailable("the server stops; the same call goes on with what is left")
