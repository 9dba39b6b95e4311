"""The database: opened or refused with one line, migrated once, the schema that the models describe."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

import ingest_pipeline.llm.tables
import ingest_pipeline.store
import ingest_pipeline.store.tables
from ingest_pipeline.errors import ConfigurationError, StoreUnavailable
from ingest_pipeline.store.base import Base
from ingest_pipeline.store.engine import (
    HEAD_REVISION,
    create_store_engine,
    current_revision,
    open_engine,
    reading,
    upgrade,
    write,
)


@pytest.mark.parametrize(
    "url",
    ["mysql://host/db", "nonsense", "", "sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://host:port/db"],
)
def test_an_unknown_database_is_refused_with_one_line(url: str) -> None:
    with pytest.raises(ConfigurationError, match="INGEST_DATABASE_URL") as error:
        open_engine(url)
    assert "\n" not in str(error.value)


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}.*INGEST_DATABASE_URL") as error:
        open_engine(f"postgresql://me:secret@127.0.0.1:{port}/db")
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_database_that_is_not_there_is_named(postgres_url: str) -> None:
    with pytest.raises(StoreUnavailable, match='"nothing_here" does not exist'):
        open_engine(create_store_engine(postgres_url).url.set(database="nothing_here").render_as_string(False))


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database " * 100)
    with pytest.raises(StoreUnavailable, match=r"notes\.txt: file is not a database"):
        open_engine(f"sqlite:///{tmp_path / 'notes.txt'}")
    with pytest.raises(StoreUnavailable, match="unable to open"):
        open_engine(f"sqlite:///{tmp_path}")
    with pytest.raises(StoreUnavailable, match="INGEST_HOME"):
        open_engine(f"sqlite:///{tmp_path / 'notes.txt' / 'below' / 'profiles.db'}")


def test_the_folder_of_a_new_database_is_made(tmp_path: Path) -> None:
    open_engine(f"sqlite:///{tmp_path / 'a' / 'b' / 'profiles.db'}").dispose()
    assert (tmp_path / "a" / "b" / "profiles.db").exists()


def test_a_new_database_gets_the_current_schema_and_keeps_it(database_url: str) -> None:
    engine = create_store_engine(database_url)
    assert current_revision(engine) is None
    engine.dispose()
    for _ in range(2):
        engine = open_engine(database_url)
        assert current_revision(engine) == HEAD_REVISION
        engine.dispose()
    upgrade(engine)
    assert current_revision(engine) == HEAD_REVISION
    engine.dispose()


def set_revision(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_a_database_of_a_newer_version_is_left_alone(engine: Engine, database_url: str) -> None:
    set_revision(engine, "9999")
    with pytest.raises(StoreUnavailable, match="9999, which this version does not know"):
        open_engine(database_url)
    assert current_revision(engine) == "9999"


def test_head_revision_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(str(ingest_pipeline.store.__file__)).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD_REVISION]


def test_models_and_migrated_database_agree(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_several_processes_may_open_a_new_database_at_once(database_url: str) -> None:
    code = "import sys; from ingest_pipeline.store.engine import open_engine; open_engine(sys.argv[1]).dispose()"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, database_url], stderr=subprocess.PIPE, env=os.environ.copy())
        for _ in range(3)
    ]
    assert [process.communicate()[1] for process in processes] == [b""] * 3
    assert [process.returncode for process in processes] == [0] * 3


def test_reading_goes_on_while_somebody_writes(engine: Engine) -> None:
    with engine.begin() as writer:
        writer.execute(text("INSERT INTO llm_budget (period, spent_usd) VALUES ('2024', 1)"))
        with reading(engine) as reader:
            assert reader.execute(text("SELECT count(*) FROM llm_budget")).scalar() == 0


class Collision(Exception):
    """As psycopg reports it."""

    def __init__(self, sqlstate: str) -> None:
        self.sqlstate = sqlstate


def failing(times: int, error: Exception) -> tuple[list[int], Callable[[Connection], str]]:
    calls: list[int] = []

    def work(connection: Connection) -> str:
        calls.append(len(calls))
        connection.execute(text("INSERT INTO llm_budget (period, spent_usd) VALUES (:p, 1)"), {"p": str(len(calls))})
        if len(calls) <= times:
            raise OperationalError("INSERT", {}, error)
        return "done"

    return calls, work


@pytest.mark.parametrize("sqlstate", ["40P01", "23505"])
def test_work_that_collided_is_done_again_and_once(engine: Engine, sqlstate: str) -> None:
    calls, work = failing(2, Collision(sqlstate))
    assert write(engine, work) == "done"
    with reading(engine) as connection:
        assert list(connection.execute(text("SELECT period FROM llm_budget")).scalars()) == ["3"]
    assert len(calls) == 3


def test_any_other_trouble_is_not_tried_again(engine: Engine) -> None:
    calls, work = failing(2, ValueError("disk full"))
    with pytest.raises(OperationalError):
        write(engine, work)
    assert len(calls) == 1
