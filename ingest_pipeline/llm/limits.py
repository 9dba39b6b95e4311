"""The limits database: its engine, its clock, and which workers are alive."""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    bindparam,
    create_engine,
    delete,
    event,
    func,
    literal_column,
    make_url,
    or_,
    select,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import QueuePool

from ingest_pipeline.llm.database import Database, Transaction
from ingest_pipeline.llm.tables import leases_table, limits_metadata, workers_table
from ingest_pipeline.store.round_trips import ping_when_idle
from ingest_pipeline.store.sqlite_queue import QueueingConnection

Clock: TypeAlias = Callable[[], float]
"""Seconds since the epoch."""

_log = logging.getLogger(__name__)

_CREATE_LOCK = 0x1_6E_67_65_73_74
SERVER_CLOCK: ColumnElement[float] = literal_column("EXTRACT(EPOCH FROM clock_timestamp())::double precision")
MAX_LEASE_S = 3_600.0
"""A worker's expiry further away than this was written by a clock that has been set back since."""

_SERVER_NOW = select(SERVER_CLOCK)
_RENEW = text(
    "INSERT INTO llm_workers (id, expires_at) VALUES (:worker, :until) "
    "ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at"
)
_expires = workers_table.c.expires_at
_LIVING = select(workers_table.c.id).where(_expires > bindparam("now"), _expires <= bindparam("latest"))
_BURY = delete(workers_table).where(or_(_expires <= bindparam("now"), _expires > bindparam("latest")))
_END_ORPHANS = delete(leases_table).where(leases_table.c.worker.not_in(select(workers_table.c.id)))
_END_LEASES = delete(leases_table).where(leases_table.c.worker == bindparam("worker"))
_END_WORKER = delete(workers_table).where(workers_table.c.id == bindparam("worker"))


def open_limits(url: str) -> Engine:
    """The engine of the limits database, its tables created where missing. SQLite files must be on a local disk."""
    if make_url(url).get_backend_name() == "sqlite":
        engine = _open_sqlite(url)
    else:
        address = make_url(url).set(drivername="postgresql+psycopg")
        engine = create_engine(address, hide_parameters=True, pool_size=5, max_overflow=0, pool_timeout=120)
        ping_when_idle(engine)
        event.listen(engine, "connect", _lose_moments)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_CREATE_LOCK)))
        limits_metadata.create_all(connection, checkfirst=True)
    return engine


def _lose_moments(connection: Any, _record: object) -> None:
    """A server that crashes may forget the last moment of what these tables say, which holds for moments only: nobody
    waits for its disk."""
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO off")
    connection.commit()


def _open_sqlite(url: str) -> Engine:
    database = make_url(url).database
    options: dict[str, Any] = {"check_same_thread": False, "timeout": 30}
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
        options["factory"] = QueueingConnection
    # One connection: LimitsDb's mutex hands it from thread to thread, which is quicker than SQLite's own waiting.
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
        connect_args=options,
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # every BEGIN is ours
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


class LimitsDb(Database):
    """The limits database and its clock.

    ``clock`` is for tests; else PostgreSQL's clock counts (``clock`` is None), so that machines need not agree on the
    time, and on SQLite the machine's own.
    """

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        super().__init__(engine)
        self.clock = clock or (time.time if self.is_sqlite else None)

    def now(self, tx: Transaction) -> float:
        return self.clock() if self.clock is not None else float(tx.run(_SERVER_NOW)[0][0])

    def read(self) -> AbstractContextManager[Transaction]:
        # Its SQLite engine has one connection.
        return self._transaction(None, self._mutex)

    def close(self) -> None:
        """Close the connections; using it again opens new ones."""
        with self._mutex:
            self.engine.dispose()


class Worker:
    """This process, as the others see it: alive while it renews its lease, dead ``lease_s`` seconds after.

    Leases, claims and holds name their worker, so one renewal keeps all of them and none outlives it.
    """

    def __init__(self, db: LimitsDb, lease_s: float = 30.0) -> None:
        self.id = str(uuid.uuid4())
        self.lease_s = lease_s
        self._db = db
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def start(self) -> None:
        """Become alive and stay so until ``close``. Idempotent."""
        with self._starting:
            if self._thread is not None:
                return
            self.beat()
            self._thread = threading.Thread(target=self._keep_alive, name="llm-worker", daemon=True)
            self._thread.start()

    def beat(self) -> None:
        """Renew once."""
        with self._db.write() as tx:
            tx.run(_RENEW, worker=self.id, until=self._db.now(tx) + self.lease_s)

    def close(self) -> None:
        """Give up everything this worker holds. Idempotent."""
        self._closed.set()
        with self._starting:
            if self._thread is None:
                return
            self._thread.join()
            self._thread = None
        with self._db.write() as tx:
            tx.run(_END_LEASES, worker=self.id)
            tx.run(_END_WORKER, worker=self.id)

    def _keep_alive(self) -> None:
        while not self._closed.wait(self.lease_s / 3):
            try:
                self.beat()
            except OperationalError:
                # Two more beats fit into the lease.
                _log.warning("the limits database did not take this worker's renewal; trying again", exc_info=True)


def living_workers(db: LimitsDb) -> set[str]:
    """Ids of the workers that are alive."""
    with db.read() as tx:
        now = db.now(tx)
        return {row[0] for row in tx.run(_LIVING, now=now, latest=now + MAX_LEASE_S)}


def reap(db: LimitsDb) -> None:
    """End the leases of dead workers."""
    with db.write() as tx:
        now = db.now(tx)
        tx.run(_BURY, now=now, latest=now + MAX_LEASE_S)
        tx.run(_END_ORPHANS)
