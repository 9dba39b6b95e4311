"""Transactions that several threads share: what is committed, what is taken back, who is told."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import Engine, bindparam, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError

from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.llm.database import Database, TakenBack, Transaction

INSERT = text("INSERT INTO notes (id) VALUES (:row)").bindparams(bindparam("row"))
ALL = text("SELECT id FROM notes ORDER BY id")


@pytest.fixture
def database(engine: Engine) -> Database:
    database = Database(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE notes (id INTEGER PRIMARY KEY)"))
    return database


def stored(database: Database) -> list[int]:
    with database.read() as tx:
        return [row[0] for row in tx.run(ALL)]


def note(number: int, error: Exception | None = None) -> Callable[[Transaction], int]:
    def work(tx: Transaction) -> int:
        tx.run(INSERT, row=number)
        if error is not None:
            raise error
        return number

    return work


def together(database: Database, works: list[Callable[[Transaction], int]]) -> list[Future[int]]:
    """The works, asked for by a thread each while a transaction is under way."""
    begun, go_on = Event(), Event()

    def first(tx: Transaction) -> None:
        begun.set()
        assert go_on.wait(60)

    with ThreadPoolExecutor(len(works) + 1) as pool:
        pool.submit(database.commit, first)
        assert begun.wait(60)
        futures = [pool.submit(database.commit, work) for work in works]
        while database.engine.dialect.name == "sqlite" and database.waiting < len(works):
            time.sleep(0.001)
        go_on.set()
    return futures


def test_everybody_gets_their_own_result(database: Database) -> None:
    futures = together(database, [note(n) for n in range(20)])
    assert [future.result() for future in futures] == list(range(20)) == stored(database)


def test_what_waits_on_sqlite_is_one_transaction(tmp_path: Path) -> None:
    database = Database(create_engine(f"sqlite:///{tmp_path / 'notes.db'}"))
    transactions: list[Transaction] = []

    def work(tx: Transaction) -> int:
        transactions.append(tx)
        return 0

    together(database, [work] * 20)
    assert len(transactions) == 20
    assert len({id(tx) for tx in transactions}) == 1


@pytest.mark.parametrize("error", [TakenBack(), ConfigurationError("no"), sqlite3.IntegrityError("no")])
def test_an_error_takes_back_and_tells_only_its_own(database: Database, error: Exception) -> None:
    futures = together(database, [note(1), note(2, error), note(3)])
    assert [futures[0].result(), futures[2].result()] == [1, 3] == stored(database)
    raised = futures[1].exception()
    assert error in (raised, raised.orig if isinstance(raised, DBAPIError) else None)
    assert database.commit(note(4)) == 4


def test_what_the_driver_raises_is_told_as_by_sqlalchemy(database: Database) -> None:
    """By everything that opens a transaction; nothing of it stays."""
    for opened in (database.read, database.write, database.write_singly):
        with pytest.raises(OperationalError if database.is_sqlite else ProgrammingError), opened() as tx:
            tx.run(text("SELECT nothing FROM nowhere"))
    database.commit(note(1))
    with pytest.raises(IntegrityError):
        database.commit(note(1))
    assert stored(database) == [1]


def test_after_a_restart_of_the_server_the_first_to_ask_finds_out_for_all(postgres_url: str) -> None:
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))  # pings nobody
    database = Database(engine)
    backend, one = text("SELECT pg_backend_pid()"), text("SELECT 1")
    with ExitStack() as open_at_once:
        reads = [open_at_once.enter_context(database.read()) for _ in range(3)]
        backends = [tx.run(backend)[0][0] for tx in reads]
    other = create_engine(engine.url)
    with other.connect() as connection:
        for each in backends:
            connection.execute(text("SELECT pg_terminate_backend(:backend, 5000)"), {"backend": each})
    other.dispose()
    with pytest.raises(OperationalError), database.read() as tx:
        tx.run(one)
    for opened in (database.write, database.read, database.write_singly):
        with opened() as tx:
            assert tx.run(one) == [(1,)]
    engine.dispose()


def test_an_unforeseen_error_leaves_nobody_waiting(database: Database) -> None:
    """It ends the thread that met it; the others are done, each alone."""
    futures = together(database, [note(1), note(2, ZeroDivisionError()), note(3)])
    broken = [future for future in futures if future.exception()]
    assert futures[1] in broken
    assert all(isinstance(future.exception(), ZeroDivisionError) for future in broken)
    assert database.commit(note(4)) == 4


def test_a_database_that_cannot_be_opened_is_an_error_for_each(tmp_path: Path) -> None:
    database = Database(create_engine(f"sqlite:///{tmp_path / 'missing' / 'notes.db'}"))
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(database.commit, note(n)) for n in range(4)]
    assert all(future.exception() is not None for future in futures)
