"""Small records, and the store's content in a form that two databases can be compared by: without random ids."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, delete, select

from ingest_pipeline.documents import Identifier, Person, Record, Role, Segment, Source
from ingest_pipeline.store.base import Base
from ingest_pipeline.store.direct import save_given
from ingest_pipeline.store.documents import Saved, save_records
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.files import begin_files, file_id
from ingest_pipeline.store.tables import (
    AuditRow,
    DocumentRow,
    Evidence,
    IdentifierRow,
    Memory,
    ObservationRow,
    Profile,
    TraitHistory,
    TraitRow,
)
from ingest_pipeline.store.texts import GivenText

FILE = "crm/notes.csv"


def day(number: int) -> datetime:
    return datetime(2024, 1, number, 12, tzinfo=UTC)


def contact(number: int = 1, *emails: str, name: str | None = None, claims: bool = True) -> Person:
    identifiers = tuple(Identifier("email", email) for email in emails)
    return Person(Identifier("hubspot", f"h/{number}"), "hubspot", name, identifiers, claims=claims)


def sender(address: str, name: str | None = None, claims: bool = True) -> Person:
    return Person(Identifier("email", address), "email", name, claims=claims)


def record(
    *people: Person,
    text: str = "I live in Lisbon.",
    native_id: str = "1",
    modified: datetime | None = None,
    said: datetime | None = None,
    role: Role = Role.SUBJECT,
) -> Record:
    return Record(
        origin="test",
        kind="note",
        native_id=native_id,
        subjects=people or (contact(),),
        text=text,
        file=FILE,
        position=f"row {native_id}",
        segments=(Segment(0, len(text), role, occurred_at=said),),
        occurred_at=said,
        modified_at=modified,
    )


def add_file(engine: Engine, name: str = FILE) -> None:
    begin_files(
        engine,
        [{
            "id": file_id(name), "name": name, "source": "crm", "format": "test", "size": 1, "mtime": 1.0,
            "sha256": None, "read_with": "x", "counts": {}, "read_at": day(1), "run_id": None,
        }],
    )  # fmt: skip


def save(engine: Engine, *records: Record, source: Source = Source.CRM) -> Saved:
    add_file(engine)
    return save_records(engine, source, records, run_id=None)


def save_text(
    engine: Engine, profile_id: str, text: str, source: str | None, metadata: dict[str, Any] | None, said: datetime
) -> str:
    """Store a text about a profile, in a transaction of its own; its document id."""
    given = GivenText(profile_id, text, said, source, metadata)
    return write(engine, lambda connection: save_given(connection, given))


def empty(engine: Engine) -> None:
    """All rows but those of the audit log, which nobody can delete."""
    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            if table.name != AuditRow.__tablename__:
                connection.execute(delete(table))


def rows(engine: Engine, table: Any, **equal: Any) -> list[Any]:
    with reading(engine) as connection:
        return list(connection.execute(select(table.__table__).filter_by(**equal)))


def identifiers_by_profile(engine: Engine) -> dict[str, frozenset[str]]:
    """What stands for each profile: its identifiers. Every living profile is there, empty ones too."""
    found: dict[str, set[str]] = {row.id: set() for row in rows(engine, Profile) if row.merged_into is None}
    for row in rows(engine, IdentifierRow):
        if row.profile_id:
            found[row.profile_id].add(f"{row.kind}:{row.value}")
    return {profile: frozenset(identifiers) for profile, identifiers in found.items()}


def people(engine: Engine) -> list[tuple[list[str], str | None]]:
    """Identifiers and name of every living profile."""
    names = {row.id: row.display_name for row in rows(engine, Profile)}
    return sorted((sorted(keys), names[i]) for i, keys in identifiers_by_profile(engine).items())


def owners(engine: Engine) -> dict[str, frozenset[str] | None]:
    """native id of each current document → the identifiers of its profile."""
    profiles: Mapping[str | None, frozenset[str]] = dict(identifiers_by_profile(engine))
    return {row.native_id: profiles.get(row.profile_id) for row in rows(engine, DocumentRow) if not row.superseded_at}


def documents(engine: Engine) -> list[Any]:
    """Every document with the identifiers of its profile, whether it is current, and how its extraction went.

    Nobody's documents may have been extracted while they were somebody's.
    """
    profiles: Mapping[str | None, frozenset[str]] = dict(identifiers_by_profile(engine))
    return _sorted(
        (r.origin, r.native_id, sorted(profiles.get(r.profile_id, ())), not r.superseded_at, r.profile_id and r.state)
        for r in rows(engine, DocumentRow)
    )


def facts(engine: Engine) -> dict[str, list[Any]]:
    """Traits, history, memories and evidence, each with the identifiers of its profile in place of ids."""
    who = {i: ",".join(sorted(keys)) for i, keys in identifiers_by_profile(engine).items()}
    native = {row.id: (row.origin, row.native_id) for row in rows(engine, DocumentRow)}
    claim = {row.id: (row.kind, row.key, row.role) for row in rows(engine, ObservationRow)}
    return {
        "traits": _sorted(
            (who[r.profile_id], r.key, r.value, r.confidence, r.valid_from) for r in rows(engine, TraitRow)
        ),
        "history": _sorted(
            (who[r.profile_id], r.key, r.value, r.valid_from, r.valid_to) for r in rows(engine, TraitHistory)
        ),
        "memories": _sorted(
            (who[r.profile_id], r.type, r.content, r.importance, r.confidence, r.occurred_at)
            for r in rows(engine, Memory)
        ),
        "evidence": _sorted(
            (
                who[r.profile_id],
                native[r.document_id],
                claim[r.observation_id],
                r.quote,
                r.start_char,
                r.value,
                r.occurred_at,
            )
            for r in rows(engine, Evidence)
        ),
    }


def _sorted(values: Iterable[tuple[Any, ...]]) -> list[Any]:
    return sorted(values, key=repr)
