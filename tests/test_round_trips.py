"""Round trips to PostgreSQL: what is saved must not be missed."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import Engine, create_engine, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from ingest_pipeline.store.engine import looking, write_row
from ingest_pipeline.store.round_trips import ping_when_idle
from ingest_pipeline.store.tables import StateRow


@pytest.fixture
def server(postgres_url: str) -> Iterator[Engine]:
    """An engine with one connection, which asks only when it is told to."""
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), pool_size=1, max_overflow=0)
    with closing(engine.raw_connection()):
        pass  # connected
    yield engine
    engine.dispose()


def cut(engine: Engine, postgres_url: str) -> None:
    """End the engine's connection at the server."""
    with engine.connect() as connection:
        backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    other = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"))
    with other.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:backend, 5000)"), {"backend": backend})
    other.dispose()


def test_a_connection_that_was_cut_while_nobody_used_it_is_replaced(server: Engine, postgres_url: str) -> None:
    ping_when_idle(server, after_s=0.0)
    cut(server, postgres_url)
    with server.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_one_that_was_used_a_moment_ago_is_not_asked_and_the_next_is_new(server: Engine, postgres_url: str) -> None:
    ping_when_idle(server, after_s=3_600.0)
    cut(server, postgres_url)
    with pytest.raises(OperationalError), server.connect() as connection:
        connection.execute(text("SELECT 1"))
    with server.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_a_row_is_committed_when_it_is_written_and_the_next_transaction_can_be_taken_back(engine: Engine) -> None:
    write_row(engine, insert(StateRow), {"name": "one", "value": "1"})
    with engine.connect() as connection:
        connection.execute(insert(StateRow), {"name": "two", "value": "2"})
        connection.rollback()
    with looking(engine) as connection:
        assert connection.execute(select(StateRow.name)).scalars().all() == ["one"]
