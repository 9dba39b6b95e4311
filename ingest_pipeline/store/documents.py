"""Files, rejections and documents: stores what readers yield."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, bindparam, delete, select, update

from ingest_pipeline.documents import (
    Document,
    Person,
    Record,
    Rejected,
    Role,
    Segment,
    Source,
    content_hash,
    stable_id,
)
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.people import Described, identifier_id, mark_changed, save_persons
from ingest_pipeline.store.tables import DocumentRow, FileRow, IdentifierRow, Profile, Rejection
from ingest_pipeline.store.upsert import select_in, upsert

_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Saved:
    """What storing a batch changed, in documents. ``replaced`` are new versions of a known record."""

    new: int = 0
    replaced: int = 0
    unchanged: int = 0

    def __add__(self, other: "Saved") -> "Saved":
        return Saved(self.new + other.new, self.replaced + other.replaced, self.unchanged + other.unchanged)


def file_id(name: str) -> str:
    return stable_id("file", name)


def save_records(engine: Engine, source: Source, records: Sequence[Record], run_id: str | None) -> Saved:
    """Store a batch of records in one transaction: their people first, then one document per subject."""
    now = datetime.now(UTC)
    with engine.begin() as connection:
        described = [Described(p, r.modified_at or r.occurred_at) for r in records for p in r.subjects]
        save_persons(connection, described, now)
        rows = [
            _row(source, record, subject, now, run_id)
            for record in records
            if record.text
            for subject in record.subjects
        ]
        return _save_rows(connection, rows, now)


def _row(source: Source, record: Record, subject: Person, now: datetime, run_id: str | None) -> dict[str, Any]:
    digest = content_hash(record.text, record.segments)
    key = stable_id("record", record.origin, record.native_id, str(subject.key))
    return {
        "id": stable_id("document", key, digest),
        "record_key": key,
        "identifier_id": identifier_id(subject.key),
        "profile_id": None,
        "source": source.value,
        "origin": record.origin,
        "kind": record.kind,
        "native_id": record.native_id,
        "text": record.text,
        "segments": [segment_json(segment) for segment in record.segments],
        "metadata": dict(record.metadata),
        "occurred_at": record.occurred_at,
        "modified_at": record.modified_at,
        "content_hash": digest,
        "file_id": file_id(record.file) if record.file else None,
        "position": record.position,
        "superseded_at": None,
        "state": "pending",
        "fingerprint": None,
        "created_at": now,
        "run_id": run_id,
    }


def _save_rows(connection: Connection, rows: list[dict[str, Any]], now: datetime) -> Saved:
    """Insert what is new and let the latest version of each record be the current one."""
    by_id = {row["id"]: row for row in rows}
    known = _load_versions(connection, {row["record_key"] for row in by_id.values()})
    profiles = _load_profiles(connection, {row["identifier_id"] for row in by_id.values()})
    new, revived, superseded, replaced = [], [], [], 0
    by_record: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in by_id.values():
        by_record[row["record_key"]].append(row)
    for key, versions in by_record.items():
        stored = {row.id: row for row in known[key]}
        incoming = [row for row in versions if row["id"] not in stored]
        current = max(versions, key=lambda r: (r["modified_at"] or _BEGINNING, r["content_hash"]))
        newest_stored = max((r.modified_at or _BEGINNING for r in stored.values()), default=_BEGINNING)
        outdated = bool(stored) and (current["modified_at"] or _BEGINNING) < newest_stored
        for row in incoming:
            row["profile_id"] = profiles.get(row["identifier_id"])
            row["superseded_at"] = now if outdated or row is not current else None
        new.extend(incoming)
        if not outdated:
            replaced += bool(stored) and current["id"] not in stored
            if current["id"] in stored and stored[current["id"]].superseded_at:
                revived.append(current["id"])
            superseded += [i for i, r in stored.items() if i != current["id"] and not r.superseded_at]
    upsert(connection, DocumentRow, new)
    _set_superseded(connection, superseded, now)
    _set_superseded(connection, revived, None)
    return Saved(new=len(new) - replaced, replaced=replaced, unchanged=len(by_id) - len(new))


def _load_versions(connection: Connection, keys: set[str]) -> dict[str, list[Row[Any]]]:
    query = select(DocumentRow.id, DocumentRow.record_key, DocumentRow.modified_at, DocumentRow.superseded_at)
    versions: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in select_in(connection, query, DocumentRow.record_key, keys):
        versions[row.record_key].append(row)
    return versions


def _load_profiles(connection: Connection, identifiers: set[str]) -> dict[str, str | None]:
    query = select(IdentifierRow.id, IdentifierRow.profile_id)
    return {i: profile for i, profile in select_in(connection, query, IdentifierRow.id, identifiers)}


def _set_superseded(connection: Connection, ids: list[str], at: datetime | None) -> None:
    if not ids:
        return
    table = DocumentRow.__table__
    connection.execute(
        update(DocumentRow).where(table.c.id == bindparam("b_id")).values(superseded_at=at),
        [{"b_id": i} for i in ids],
    )
    profiles = select_in(connection, select(DocumentRow.profile_id).distinct(), DocumentRow.id, ids)
    mark_changed(connection, {row.profile_id for row in profiles})


def load_files(engine: Engine, source: Source) -> dict[str, Row[Any]]:
    """The files of a source as last read, by name."""
    with reading(engine) as connection:
        rows = connection.execute(select(FileRow.__table__).where(FileRow.source == source.value))
        return {row.name: row for row in rows}


def save_file(engine: Engine, row: dict[str, Any]) -> None:
    """Store a file's state after reading it."""
    with engine.begin() as connection:
        upsert(connection, FileRow, [row], update=[name for name in row if name != "id"])


def begin_file(engine: Engine, row: dict[str, Any]) -> None:
    """Make the file known, so that its documents can refer to it, and drop what was rejected in it before.

    ``read_with`` is stored empty until ``save_file``, so that an interrupted read starts again.
    """
    with engine.begin() as connection:
        upsert(connection, FileRow, [{**row, "read_with": ""}], update=["read_with"])
        connection.execute(delete(Rejection).where(Rejection.file_id == row["id"]))


def save_rejections(engine: Engine, rejected: Iterable[Rejected], run_id: str | None) -> None:
    now = datetime.now(UTC)
    rows = {}
    for r in rejected:
        key = stable_id("rejection", r.file, r.position, r.reason)
        rows[key] = {
            "id": key, "file_id": file_id(r.file), "position": r.position, "reason": r.reason,
            "created_at": now, "run_id": run_id,
        }  # fmt: skip
    with engine.begin() as connection:
        upsert(connection, Rejection, list(rows.values()))


def segment_json(segment: Segment) -> dict[str, Any]:
    values = {name: value for name, value in asdict(segment).items() if value is not None}
    if segment.occurred_at:
        values["occurred_at"] = segment.occurred_at.isoformat()
    return values


def segment_from_json(values: dict[str, Any]) -> Segment:
    segment = Segment(**{**values, "role": Role(values["role"])})
    at = values.get("occurred_at")
    return replace(segment, occurred_at=datetime.fromisoformat(at)) if at else segment


def load_documents(connection: Connection, ids: Iterable[str]) -> list[Document]:
    """The documents with their subject's name, as extractors take them."""
    columns = DocumentRow.__table__.columns
    query = select(*columns, Profile.display_name).outerjoin(Profile, Profile.id == columns.profile_id)
    return [
        Document(
            id=row.id,
            source=Source(row.source),
            origin=row.origin,
            kind=row.kind,
            text=row.text,
            segments=tuple(segment_from_json(s) for s in row.segments),
            occurred_at=row.occurred_at,
            profile_id=row.profile_id,
            subject_name=row.display_name,
        )
        for row in select_in(connection, query, columns.id, ids)
    ]
