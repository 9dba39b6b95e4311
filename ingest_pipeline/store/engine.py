"""Opening the database: engines, the check that the schema is current, migrations."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine, Insert, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from ingest_pipeline.errors import ConfigurationError, NoDatabase, StoreUnavailable
from ingest_pipeline.store.base import read_json
from ingest_pipeline.store.round_trips import committed_singly, ping_when_idle
from ingest_pipeline.store.sqlite_queue import QueueingConnection

if TYPE_CHECKING:
    from alembic.config import Config

T = TypeVar("T")

HEAD_REVISION = "0003"
"""The newest migration. Kept here so that opening a current database need not import Alembic (0.2 s)."""

_COLLISIONS = frozenset({"40P01", "23505", "23503"})
"""PostgreSQL's codes for a deadlock, for two inserts at once that met on another unique index than their key's, and for
a row that points at one that was deleted since it was read."""

_RETRIES = 5

CONNECT_TIMEOUT_S = 10
"""How long to wait for PostgreSQL; ``?connect_timeout=…`` in the URL says otherwise."""

CONNECTIONS = 20
"""Of one process to PostgreSQL, at most; those that more threads ask for, wait. On SQLite so many are kept open: one
that is opened anew each time costs as much as what it is opened for."""

BUSY_TIMEOUT_S = 60
"""How long a writer waits for another one on SQLite, where there is one writer at a time."""


def create_store_engine(url: str) -> Engine:
    """An engine for SQLite (WAL, immediate write transactions) or PostgreSQL (psycopg 3).

    Raises ConfigurationError for a URL of another kind.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise ConfigurationError(
            "INGEST_DATABASE_URL is no database URL; write sqlite:///PATH or postgresql://…"
        ) from None
    if parsed.get_backend_name() == "postgresql":
        try:
            engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_size=CONNECTIONS,
                max_overflow=0,
                hide_parameters=True,
                connect_args={} if "connect_timeout" in parsed.query else {"connect_timeout": CONNECT_TIMEOUT_S},
            )
        except NoSuchModuleError:  # pragma: no cover - psycopg is a dependency
            raise ConfigurationError("the PostgreSQL driver psycopg is not installed") from None
        ping_when_idle(engine)
        return engine
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise ConfigurationError("INGEST_DATABASE_URL must start with sqlite:/// and a path, or with postgresql://")
    try:
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot create the folder of the database: {error.strerror}; check INGEST_HOME"
        ) from None
    # Parameters hold people's texts: they must not stand in errors, which end up in logs and Dagster's event log.
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_TIMEOUT_S, "factory": QueueingConnection},
        hide_parameters=True,
        json_deserializer=read_json,
        pool_size=CONNECTIONS,
        # A writer that waits for its turn must not keep readers waiting.
        max_overflow=-1,
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    # Transactions are begun by ``_begin``, not by the driver, which would begin them too late.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "cache_size=-16384"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("read_only"):
        connection.exec_driver_sql("BEGIN DEFERRED")
        return
    queueing = connection.connection.driver_connection
    assert isinstance(queueing, QueueingConnection)
    try:
        queueing.wait_for_turn()
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except BaseException:
        queueing.end_turn()
        raise


def open_engine(url: str, create: bool = True) -> Engine:
    """An engine whose database answers and has the current schema.

    A new database, and an older one on SQLite, is migrated here; an older one on PostgreSQL is left to
    ``ingest db upgrade``, since other machines may be using it. Without ``create`` nothing is made where there is no
    database yet: who only looks has mistaken its place. Raises StoreUnavailable.
    """
    if not create:
        _check_there_is_a_file(url)
    engine = create_store_engine(url)
    try:
        _make_current(engine, create)
    except DBAPIError as error:
        engine.dispose()
        raise StoreUnavailable(_unreachable(engine, error)) from None
    except BaseException:
        engine.dispose()
        raise
    return engine


def _check_there_is_a_file(url: str) -> None:
    path = _file_of(url)
    if path is not None and not path.exists():
        raise NoDatabase(f"there is no database at {path}; `ingest sync` makes one; {_WHERE}")


def _file_of(url: str) -> Path | None:
    """The SQLite file; None for whatever else, which ``create_store_engine`` judges."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


_WHERE = "INGEST_HOME or INGEST_DATABASE_URL says where it is"


def _make_current(engine: Engine, create: bool) -> None:
    revision = current_revision(engine)
    if revision == HEAD_REVISION:
        return
    if revision is None and not create:
        raise NoDatabase(
            f"the database at {_place(engine)} has none of this program's tables; `ingest sync` makes them; {_WHERE}"
        )
    if revision is not None and revision not in _known_revisions():
        raise StoreUnavailable(
            f"the database is at revision {revision}, which this version does not know; update ingest-pipeline"
        )
    if revision is not None and engine.dialect.name != "sqlite":
        raise StoreUnavailable(
            f"the database is at revision {revision}, this version needs {HEAD_REVISION}; run `ingest db upgrade`"
        )
    upgrade(engine)


def _place(engine: Engine) -> str:
    """Without user and password."""
    if engine.dialect.name == "sqlite":
        return str(engine.url.database)
    return f"{engine.url.host or 'localhost'}:{engine.url.port or 5432}"


def _unreachable(engine: Engine, error: DBAPIError) -> str:
    where = _place(engine)
    detail = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
    return f"cannot open the database at {where}: {detail}; check INGEST_DATABASE_URL"


def current_revision(engine: Engine) -> str | None:
    """The schema's revision; None for a new database."""
    with engine.connect().execution_options(read_only=True) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrations() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _known_revisions() -> set[str]:
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory.from_config(_migrations()).walk_revisions()}


def upgrade(engine: Engine) -> None:
    """Bring the schema to HEAD_REVISION. Two processes at once are safe: the second finds the work done."""
    from alembic import command

    config = _migrations()
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(7031994)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def write(where: Engine | Connection, work: Callable[[Connection], T]) -> T:
    """Do the work in one transaction, and again when it collided with somebody else's on PostgreSQL.

    So the work must not change anything but the database. On SQLite one writer follows the other. With a connection,
    the work is part of its transaction, whose own ``write`` does it again.
    """
    if isinstance(where, Connection):
        return work(where)
    for _ in range(_RETRIES):
        try:
            with where.begin() as connection:
                return work(connection)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _COLLISIONS:
                raise
    with where.begin() as connection:
        return work(connection)


def write_row(where: Engine | Connection, statement: Insert, row: Mapping[str, Any]) -> None:
    """One INSERT, in the connection's transaction or in one of its own."""
    if isinstance(where, Engine) and where.dialect.name == "postgresql":
        with committed_singly(where) as connection:
            connection.execute(statement, row)
        return
    write(where, lambda connection: connection.execute(statement, row))


@contextmanager
def looking(where: Engine | Connection) -> Iterator[Connection]:
    """As ``reading``, for a few queries whose rows are few: none of them may stream."""
    if isinstance(where, Engine) and where.dialect.name == "postgresql":
        with committed_singly(where) as connection:
            yield connection
        return
    with reading(where) as connection:
        yield connection


@contextmanager
def snapshot(where: Engine | Connection) -> Iterator[Connection]:
    """As ``reading``, and all queries see one moment, as every transaction on SQLite does. On PostgreSQL else each sees
    what is committed when it begins. A connection stands for itself."""
    if isinstance(where, Engine) and where.dialect.name == "postgresql":
        with where.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            yield connection
        return
    with reading(where) as connection:
        yield connection


@contextmanager
def reading(where: Engine | Connection) -> Iterator[Connection]:
    """A connection for reading: on SQLite it does not wait for the writer. A connection stands for itself."""
    if isinstance(where, Connection):
        yield where
        return
    with where.connect().execution_options(read_only=True) as connection:
        yield connection
