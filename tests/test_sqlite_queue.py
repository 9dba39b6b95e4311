"""SQLite's writers wait in a queue: in turn, and never for one that is gone."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from ingest_pipeline.errors import StoreUnavailable
from ingest_pipeline.llm.database import Database
from ingest_pipeline.llm.limits import open_limits
from ingest_pipeline.store.engine import create_store_engine, reading
from ingest_pipeline.store.sqlite_queue import SUFFIX

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'counts.db'}"
    engine = create_store_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE counts (n INTEGER)"))
        connection.execute(text("INSERT INTO counts VALUES (0)"))
    engine.dispose()
    return url


def count_up(url: str, times: int) -> None:
    """Reads, then writes what it read plus one: one that came between would be lost."""
    engine = create_store_engine(url)
    for _ in range(times):
        with engine.begin() as connection:
            n = connection.execute(text("SELECT n FROM counts")).scalar_one()
            connection.execute(text("UPDATE counts SET n = :n"), {"n": n + 1})
    engine.dispose()


def counted(url: str) -> int:
    engine = create_store_engine(url)
    with reading(engine) as connection:
        n: int = connection.execute(text("SELECT n FROM counts")).scalar_one()
    engine.dispose()
    return n


def die_while_writing(url: str) -> None:
    connection = create_store_engine(url).connect()
    connection.execute(text("UPDATE counts SET n = 1000"))
    os._exit(1)


def test_no_write_is_lost_between_threads_and_processes(url: str) -> None:
    """Whoever waits comes after the one before."""
    process = SPAWN.Process(target=count_up, args=(url, 25))
    threads = [threading.Thread(target=count_up, args=(url, 25)) for _ in range(3)]
    for worker in (process, *threads):
        worker.start()
    for worker in (process, *threads):
        worker.join()
    assert counted(url) == 100


def test_a_writer_that_dies_leaves_the_queue(url: str) -> None:
    """Its transaction is taken back, and the next one's turn comes."""
    process = SPAWN.Process(target=die_while_writing, args=(url,))
    process.start()
    process.join()
    count_up(url, 1)
    assert (process.exitcode, counted(url)) == (1, 1)


def test_a_failed_write_ends_its_turn(url: str) -> None:
    """Also when the connection is not closed yet."""
    engine = create_store_engine(url)
    with engine.connect() as connection:
        connection.execute(text("UPDATE counts SET n = 5"))
        connection.rollback()
        count_up(url, 1)
    assert counted(url) == 1


def test_readers_do_not_wait(url: str) -> None:
    """A reader sees what was before the writer."""
    engine = create_store_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE counts SET n = 5"))
        assert counted(url) == 0
    assert counted(url) == 5


@pytest.mark.parametrize("open_file", [create_store_engine, open_limits])
def test_calls_of_models_wait_in_the_same_queue(tmp_path: Path, open_file: Callable[[str], Engine]) -> None:
    """For the accounts in the store, and for the limits."""
    engine = open_file(f"sqlite:///{tmp_path / 'calls.db'}")
    database, written = Database(engine), threading.Event()

    def write() -> None:
        with database.write():
            written.set()

    with (tmp_path / f"calls.db{SUFFIX}").open("w") as queue:
        flock(queue, LOCK_EX)
        writer = threading.Thread(target=write)
        writer.start()
        assert not written.wait(0.2)
        flock(queue, LOCK_UN)
        writer.join()
    engine.dispose()
    assert written.is_set()


def test_a_queue_that_cannot_be_opened_is_told(url: str, tmp_path: Path) -> None:
    """A folder in its place, for example."""
    (tmp_path / f"counts.db{SUFFIX}").unlink()
    (tmp_path / f"counts.db{SUFFIX}").mkdir()
    with pytest.raises(StoreUnavailable, match="INGEST_HOME"):
        count_up(url, 1)
