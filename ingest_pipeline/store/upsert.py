"""Batched writes and reads that both databases understand."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import BindParameter, Connection, Dialect, Select, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from sqlalchemy.engine.interfaces import Compiled
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute
from sqlalchemy.sql import ColumnElement

T = TypeVar("T")

IN_LIST = 2_000
"""Ids per IN list: few round trips, well below both databases' limits of bound parameters (32,766 and 65,535)."""


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of up to ``size`` items (itertools.batched needs Python 3.12)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def upsert(
    connection: Connection,
    table: type[DeclarativeBase],
    rows: Sequence[Mapping[str, Any]],
    update: Sequence[str] = (),
    add: Sequence[str] = (),
) -> None:
    """Insert rows by column name; where the primary key is taken, set the ``update`` columns, or leave the row alone.

    ``add`` names columns whose values are summed up. The rows must have different primary keys; they are written in
    the keys' order, because two transactions that write the same rows in different orders wait for each other.
    """
    if not rows:
        return
    keys = [column.name for column in table.__table__.primary_key]
    statement = _compiled(connection.dialect, table, tuple(rows[0]), tuple(update), tuple(add))
    connection.execute(statement, sorted(rows, key=itemgetter(*keys)))  # type: ignore[call-overload] # accepted


@lru_cache(maxsize=256)
def _compiled(
    dialect: Dialect,
    table: type[DeclarativeBase],
    columns: tuple[str, ...],
    update: tuple[str, ...],
    add: tuple[str, ...],
) -> Compiled:
    """SQLAlchemy does not keep compiled statements of this kind, and compiling takes longer than a small write."""
    target = table.__table__
    assert isinstance(target, Table)
    insert = postgresql.insert(target) if dialect.name == "postgresql" else sqlite.insert(target)
    keys = [column.name for column in target.primary_key]
    if update or add:
        statement = insert.on_conflict_do_update(
            index_elements=keys,
            set_={name: insert.excluded[name] for name in update}
            | {name: target.c[name] + insert.excluded[name] for name in add},
        )
    else:
        statement = insert.on_conflict_do_nothing(index_elements=keys)
    return statement.compile(dialect=dialect, column_keys=list(columns), for_executemany=True)


def select_in(
    connection: Connection,
    query: Select[Any],
    column: ColumnElement[Any] | InstrumentedAttribute[Any],
    values: Iterable[Any],
) -> Iterator[Row[Any]]:
    """The query's rows with ``column`` in ``values``, a bounded list at a time."""
    yield from select_listed(connection, _listed(query, column), values)


LISTED: BindParameter[Any] = bindparam("listed", expanding=True)
"""Stands for the list of a query that is made once, as in ``column.in_(LISTED)``: making one takes as long as asking
it."""


@lru_cache(maxsize=256)
def _listed(query: Select[Any], column: ColumnElement[Any] | InstrumentedAttribute[Any]) -> Select[Any]:
    """Made once for a query that is a constant."""
    return query.where(column.in_(LISTED))


def select_listed(connection: Connection, query: Select[Any], values: Iterable[Any]) -> Iterator[Row[Any]]:
    """As ``select_in``, by a query that has ``LISTED`` already."""
    for batch in batches(values, IN_LIST):
        yield from connection.execute(query, {"listed": batch})
