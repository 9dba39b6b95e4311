"""Merging and splitting for tests, and what must be the same before and after."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from ingest_pipeline.documents import Record
from ingest_pipeline.editing import Editor
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.merging import (
    Done,
    merge_profiles,
    plan_merge,
    plan_split,
    plan_undo,
    split_profile,
    undo_merge,
)
from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import (
    DocumentRow,
    EditRow,
    Evidence,
    IdentifierRow,
    Memory,
    PersonIdentifier,
    PersonRow,
    Profile,
    TraitHistory,
    TraitRow,
)
from tests.builders import (
    day,
    record,
    rows,
    save,
    sender,
)

A, B, C = "a@x.example", "b@x.example", "c@x.example"
SCHEMA = load_traits(None)


@contextmanager
def shared_store(request: pytest.FixtureRequest, folder: Path) -> Iterator[Engine]:
    """A database of ``request.param``'s kind for all tests of a module: making one takes longer than most of them."""
    url = f"sqlite:///{folder / 'profiles.db'}"
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_url")
        admin = create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
        name = request.module.__name__.rpartition(".")[2]
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        admin.dispose()
        url = admin.url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    engine = open_engine(url)
    yield engine
    engine.dispose()


def editor(engine: Engine) -> Editor:
    return Editor(engine, SCHEMA, "ana", Via.CLI)


def merge(engine: Engine, into: str, other: str) -> Done:
    return merge_profiles(editor(engine), plan_merge(engine, into, other))


def split(engine: Engine, profile: str, *identifiers: str) -> Done:
    return split_profile(editor(engine), plan_split(engine, profile, identifiers))


def undo(engine: Engine, profile: str) -> Done:
    return undo_merge(editor(engine), plan_undo(engine, profile))


def sync(engine: Engine, *records: Record) -> None:
    if records:
        save(engine, *records)
    extractor = OfflineExtractor(SCHEMA)
    list(extract_pending(engine, extractor, Selection(extractor.fingerprint)))
    list(fold_profiles(engine, SCHEMA))


def traits(engine: Engine, profile: str) -> dict[str, Any]:
    return {row.key: row.value for row in rows(engine, TraitRow, profile_id=find_profile(engine, profile))}


STAMPS = {"created_at", "updated_at", "changes", "folded", "last_accessed_at", "summary_updated_at", "summary_version"}
KEPT = (Profile, IdentifierRow, PersonRow, PersonIdentifier, DocumentRow, TraitRow, TraitHistory, Memory, Evidence)


def snapshot(engine: Engine) -> dict[str, list[str]]:
    """Every row of what makes people, but for when it was written, and for the decisions themselves."""
    found = {}
    for table in KEPT:
        names = [column.key for column in table.__table__.columns if column.key not in STAMPS]
        found[table.__tablename__] = sorted(repr([getattr(row, name) for name in names]) for row in rows(engine, table))
    found["edits"] = sorted(repr(tuple(row)) for row in rows(engine, EditRow) if row.kind != "profile")
    return found


def two(engine: Engine) -> tuple[str, str]:
    """Two people with a mail each, the older profile first."""
    save(engine, record(sender(A, "Kim Park"), native_id="1", text="I live in Lisbon.", said=day(1)))
    save(engine, record(sender(B, "K. Park"), native_id="2", text="I live in Porto.", said=day(2)))
    sync(engine)
    return find_profile(engine, A), find_profile(engine, B)
