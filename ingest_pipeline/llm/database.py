"""Short transactions of constant statements on the driver's own cursor.

Between two answers of a provider there are a dozen statements, in every thread of every process. SQLAlchemy builds and
checks them here once; running them then takes a tenth of what ``Connection.execute`` takes, and on SQLite, where there
is one writer at a time, the lock is held that much shorter. What waits for it there is done in one transaction.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import BindParameter, ClauseElement, Dialect, Engine, PoolProxiedConnection, bindparam
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError

from ingest_pipeline.errors import IngestError
from ingest_pipeline.store.sqlite_queue import QueueingConnection

Param: TypeAlias = Any
T = TypeVar("T")

TOGETHER = 64
"""Pieces of work in one transaction at the most: other processes wait for its end."""


class TakenBack(Exception):
    """Raised by a piece of work so that nothing of it is stored."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The driver's SQL with named parameters, those that are constants, and what makes the others the driver's."""

    sql: str
    constants: dict[str, Param]
    processors: tuple[tuple[str, Callable[[Any], Any]], ...]


def new(names: Iterable[str]) -> dict[str, BindParameter[Any]]:
    """For ``values``: each column takes the parameter ``new_<column>``."""
    return {name: bindparam(f"new_{name}") for name in names}


def given(**values: Param) -> dict[str, Param]:
    """The parameters for ``new``."""
    return {f"new_{name}": value for name, value in values.items()}


class Transaction:
    """Runs statements; committed at the end of the block that opened it, taken back when that raises."""

    __slots__ = ("_cursor", "_database")

    def __init__(self, database: "Database", cursor: Any) -> None:
        self._database, self._cursor = database, cursor

    def run(self, statement: ClauseElement, **params: Param) -> list[tuple[Any, ...]]:
        """The rows; none for a statement that returns none. ``statement`` is a constant, all its values parameters."""
        self._execute(statement, params)
        return self._cursor.fetchall() if self._cursor.description else []

    def count(self, statement: ClauseElement, **params: Param) -> int:
        """How many rows an UPDATE or DELETE touched."""
        self._execute(statement, params)
        return int(self._cursor.rowcount)

    def _execute(self, statement: ClauseElement, params: dict[str, Param]) -> None:
        prepared = self._database.prepared(statement)
        params = prepared.constants | params
        for name, process in prepared.processors:
            params[name] = process(params[name])
        self._cursor.execute(prepared.sql, params)


class Database:
    """Used from several threads. What the driver raises reaches callers as SQLAlchemy's DBAPIError, as elsewhere."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer; waiting here costs less than for the turn among all processes.
        self._mutex: AbstractContextManager[object] = threading.Lock() if self.is_sqlite else nullcontext()
        self._dialect: Dialect = sqlite.dialect(paramstyle="named") if self.is_sqlite else engine.dialect
        self._prepared: dict[ClauseElement, _Prepared] = {}
        self._group = _Group(self.write)

    def commit(self, work: Callable[[Transaction], T]) -> T:
        """What the work gives, once it is committed; what it raises takes back all that it did.

        On SQLite it shares a transaction with what else waits for one, and may be run a second time in one of its own:
        it must change nothing but the database, and raise IngestError, TakenBack and the driver's errors only.
        """
        if self.is_sqlite:
            return self._group.commit(work)
        with self.write() as tx:
            return work(tx)

    @property
    def waiting(self) -> int:
        """Pieces of work that wait for the transaction under way to end."""
        return len(self._group.waiting)

    def write(self) -> AbstractContextManager[Transaction]:
        """A transaction that no other writer comes between (on PostgreSQL: once it has locked its row)."""
        return self._transaction("BEGIN IMMEDIATE", self._mutex)

    def read(self) -> AbstractContextManager[Transaction]:
        """For one SELECT; on SQLite it waits for no writer."""
        return self._transaction(None, nullcontext()) if self.is_sqlite else self._singly()

    def write_singly(self) -> AbstractContextManager[Transaction]:
        """As ``write``, but on PostgreSQL each statement is committed by itself, and no round trip is lost on that."""
        return self.write() if self.is_sqlite else self._singly()

    @contextmanager
    def _singly(self) -> Iterator[Transaction]:
        with self._connected() as connection:
            driver: Any = connection.driver_connection
            try:
                driver.autocommit = True
                yield Transaction(self, connection.cursor())
            finally:
                if not driver.closed:
                    driver.autocommit = False

    @contextmanager
    def _connected(self) -> Iterator[PoolProxiedConnection]:
        dialect, driver = self.engine.dialect, None
        assert dialect.dbapi is not None
        try:
            connection = self.engine.raw_connection()
            driver = connection.dbapi_connection
            try:
                yield connection
            finally:
                # Returning a connection to the pool takes back what was not committed, and ends the turn.
                connection.close()
        except dialect.dbapi.Error as error:
            if dialect.is_disconnect(error, driver, None):
                self.engine.dispose()  # the others that wait in the pool are as dead
            raise DBAPIError.instance(None, None, error, dialect.dbapi.Error, dialect=dialect) from error

    def prepared(self, statement: ClauseElement) -> _Prepared:
        """The statement, compiled once."""
        found = self._prepared.get(statement)
        if found is None:
            found = self._prepared[statement] = self._prepare(statement)
        return found

    def _prepare(self, statement: ClauseElement) -> _Prepared:
        compiled: Any = statement.compile(dialect=self._dialect)
        constants, processors = {}, []
        for name, parameter in compiled.binds.items():
            if not parameter.required:
                constants[name] = parameter.value
            process = parameter.type.dialect_impl(self._dialect).bind_processor(self._dialect)
            if process is not None:
                processors.append((name, process))
        return _Prepared(str(compiled), constants, tuple(processors))

    @contextmanager
    def _transaction(self, begin: str | None, mutex: AbstractContextManager[object]) -> Iterator[Transaction]:
        with mutex, self._connected() as connection:
            cursor = connection.cursor()
            if self.is_sqlite and begin is not None:
                driver = connection.driver_connection
                if isinstance(driver, QueueingConnection):
                    driver.wait_for_turn()
                cursor.execute(begin)
            yield Transaction(self, cursor)
            if begin is not None:
                connection.commit()


class _Work:
    """One piece of work. ``called`` is released when it is done, or when its thread is to do it."""

    __slots__ = ("called", "done", "leads", "result", "run")

    def __init__(self, run: Callable[[Transaction], Any]) -> None:
        self.run = run
        self.result: Any = None
        self.done = self.leads = False
        self.called = threading.Lock()
        self.called.acquire()


class _Group:
    """One transaction for all who wait for one: the first does the work of all, then calls the next to lead."""

    def __init__(self, transaction: Callable[[], AbstractContextManager[Transaction]]) -> None:
        self._transaction = transaction
        self.waiting: deque[_Work] = deque()
        self._led = False
        self._lock = threading.Lock()

    def commit(self, run: Callable[[Transaction], T]) -> T:
        mine = _Work(run)
        with self._lock:
            self.waiting.append(mine)
            mine.leads, self._led = not self._led, True
        if not mine.leads:
            mine.called.acquire()
        if mine.leads:
            self._lead()
        if not mine.done:
            with self._transaction() as tx:
                return run(tx)
        result: T = mine.result
        return result

    def _lead(self) -> None:
        """Do the work of those who wait when the database is free. What fails for one is done again by each alone."""
        group: list[_Work] = []
        try:
            with self._transaction() as tx:
                group = self._take(TOGETHER)
                for work in group:
                    work.result = work.run(tx)
            for work in group:
                work.done = True
        except (IngestError, TakenBack, DBAPIError):
            if len(group) < 2:
                raise
        finally:
            self._end(group or self._take(1))

    def _take(self, most: int) -> list[_Work]:
        """The first who wait; the leader is one of them."""
        with self._lock:
            return [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]

    def _end(self, group: list[_Work]) -> None:
        """The first of those who came meanwhile leads; the group is told that it is done, or left to itself."""
        with self._lock:
            self._led = bool(self.waiting)
            called = group[1:]
            if self.waiting:
                self.waiting[0].leads = True
                called = [self.waiting[0], *called]
        for work in called:
            work.called.release()
