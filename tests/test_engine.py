"""The database: opened or refused with one line, migrated once, the schema that the models describe."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, insert, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

import ingest_pipeline.llm.tables
import ingest_pipeline.store
import ingest_pipeline.store.tables
import ingest_pipeline.store.upload_tables
from ingest_pipeline.documents import stable_id
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
from ingest_pipeline.store.erased import load_erased
from ingest_pipeline.store.tables import AuditRow, DocumentRow, Memory, Profile, TraitHistory


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


def test_a_new_database_gets_the_current_schema_and_keeps_it(empty_database_url: str) -> None:
    engine = create_store_engine(empty_database_url)
    assert current_revision(engine) is None
    engine.dispose()
    for _ in range(2):
        engine = open_engine(empty_database_url)
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


def migrate(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(str(ingest_pipeline.store.__file__)).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.upgrade if revision > (current_revision(engine) or "") else command.downgrade)(config, revision)


def test_what_an_older_version_stored_survives_the_upgrade_and_the_way_back(empty_database_url: str) -> None:
    engine = create_store_engine(empty_database_url)
    migrate(engine, "0001")
    profile, document = stable_id("profile"), stable_id("document")
    rows = [
        "INSERT INTO profiles (id, partition_key, bucket, summary_version, changes, folded, created_at, updated_at) "
        "VALUES (:profile, 'k', 1, 0, 1, 1, :now, :now)",
        "INSERT INTO documents (id, record_key, profile_id, source, origin, kind, native_id, text, segments, "
        "metadata, content_hash, state, created_at) VALUES (:document, :document, :profile, 'direct', 'api', 'text', "
        "'n', 'Hello', '[]', '{}', 'h', 'done', :now)",
        "INSERT INTO memories (id, profile_id, type, content, importance, confidence, created_at, updated_at) "
        "VALUES (:document, :profile, 'fact', 'Says hello', 0.5, 0.9, :now, :now)",
        "INSERT INTO trait_history (id, profile_id, key, value, confidence, observation_id, ended_by) "
        "VALUES (:document, :profile, 'city', '\"Rome\"', 0.9, :document, :document)",
        "INSERT INTO traits (id, profile_id, key, value, value_type, confidence, source, created_at, updated_at) "
        "VALUES (:document, :profile, 'name', '\"\\u00c5sa \\\"Z\\\" Ek\"', 'string', 0.9, 'extracted', :now, :now)",
    ]
    sqlite = engine.dialect.name == "sqlite"
    values = {name: value.replace("-", "") if sqlite else value for name, value in
              (("profile", profile), ("document", document))}  # fmt: skip
    with engine.begin() as connection:
        for row in rows:
            connection.execute(text(row), values | {"now": "2024-05-03 10:00:00"})
    migrate(engine, "0002")
    mark = "INSERT INTO erased (digest, erasure_id, erased_at) VALUES ('d', :profile, '2024-05-03 10:00:00')"
    with engine.begin() as connection:
        connection.execute(text(mark), values)
    migrate(engine, HEAD_REVISION)
    with engine.connect() as connection:
        with pytest.raises(ConfigurationError, match="their key"):  # who was erased stays away
            load_erased(connection)
        assert connection.execute(select(DocumentRow.given_to)).scalar_one() == profile
        assert connection.execute(select(Profile.told_name)).scalar_one() == 'Åsa "Z" Ek'
        assert connection.execute(select(Memory.source, Memory.sightings)).one() == ("extracted", 1)
        assert connection.execute(select(TraitHistory.reason, TraitHistory.value)).one() == ("replaced", "Rome")
    migrate(engine, "0001")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT text FROM documents")).scalar_one() == "Hello"
        assert connection.execute(text("SELECT count(*) FROM lineage")).scalar_one() == 0
    migrate(engine, HEAD_REVISION)
    engine.dispose()


@pytest.mark.parametrize("change", ["UPDATE audit_log SET actor = 'me'", "DELETE FROM audit_log"])
def test_the_audit_log_is_append_only(engine: Engine, change: str) -> None:
    row = {"id": stable_id("a"), "at": datetime(2024, 5, 3, tzinfo=UTC), "actor": "ana", "via": "cli", "action": "show",
           "profile_id": None, "detail": {}}  # fmt: skip
    with engine.begin() as connection:
        connection.execute(insert(AuditRow), [row])
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(change))
    with engine.connect() as connection:
        assert connection.execute(select(AuditRow.actor)).scalar_one() == "ana"


def test_several_processes_may_open_a_new_database_at_once(empty_database_url: str) -> None:
    code = "import sys; from ingest_pipeline.store.engine import open_engine; open_engine(sys.argv[1]).dispose()"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_database_url], stderr=subprocess.PIPE, env=os.environ.copy()
        )
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
