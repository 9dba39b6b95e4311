"""Short transactions of constant statements on the driver's own cursor.

Between two answers of a provider there are a dozen statements, in every thread of every process. SQLAlchemy builds and
checks them here once; running them then takes a tenth of what ``Connection.execute`` takes, and on SQLite, where there
is one writer at a time, the lock is held that much shorter.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import BindParameter, ClauseElement, Dialect, Engine, bindparam
from sqlalchemy.dialects import sqlite

Param: TypeAlias = Any


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
    """Used from several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer; waiting here is fair and quick, waiting in SQLite is neither.
        self._mutex: AbstractContextManager[object] = threading.Lock() if self.is_sqlite else nullcontext()
        self._dialect: Dialect = sqlite.dialect(paramstyle="named") if self.is_sqlite else engine.dialect
        self._prepared: dict[ClauseElement, _Prepared] = {}

    def write(self) -> AbstractContextManager[Transaction]:
        """A transaction that no other writer comes between (on PostgreSQL: once it has locked its row)."""
        return self._transaction("BEGIN IMMEDIATE", self._mutex)

    def read(self) -> AbstractContextManager[Transaction]:
        """For one SELECT; on SQLite it waits for no writer."""
        return self._transaction(None, nullcontext())

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
        with mutex:
            connection = self.engine.raw_connection()
            try:
                cursor = connection.cursor()
                if self.is_sqlite and begin is not None:
                    cursor.execute(begin)
                yield Transaction(self, cursor)
                if begin is not None:
                    connection.commit()
            finally:
                # Returning a connection to the pool takes back what was not committed.
                connection.close()
