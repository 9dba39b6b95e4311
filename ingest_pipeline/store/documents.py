"""Documents: stores the records that readers yield, and gives them to extractors."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import itemgetter
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Engine, Row, bindparam, select, update

from ingest_pipeline.documents import (
    SIGNATURE_KIND,
    Document,
    Person,
    Record,
    Role,
    Segment,
    Source,
    content_hash,
    stable_id,
)
from ingest_pipeline.store.engine import write
from ingest_pipeline.store.erased import screen
from ingest_pipeline.store.files import file_id
from ingest_pipeline.store.people import Described, identifier_id, lock_identities, mark_changed, save_persons
from ingest_pipeline.store.tables import DocumentRow, IdentifierRow, ObservationRow, Profile
from ingest_pipeline.store.upsert import select_in, upsert

_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)
_ROLES = {role.value: role for role in Role}


@dataclass(frozen=True, slots=True)
class Saved:
    """What storing a batch changed, in documents. ``replaced`` are new versions of a known record.

    ``left_out``: the indices of records of one batch that were about erased people only.
    """

    new: int = 0
    replaced: int = 0
    unchanged: int = 0
    left_out: frozenset[int] = frozenset()

    def __add__(self, other: "Saved") -> "Saved":
        return Saved(self.new + other.new, self.replaced + other.replaced, self.unchanged + other.unchanged)


def record_key(record: Record, subject: Person) -> str:
    """What the versions of one record about one person share."""
    return stable_id("record", record.origin, record.native_id, str(subject.key))


def save_records(
    engine: Engine,
    source: Source,
    records: Sequence[Record],
    run_id: str | None,
    readers: Mapping[str, str] = MappingProxyType({}),
) -> Saved:
    """Store a batch of records in one transaction: their people first, then one document per subject.

    Erased people are left out, and blanked where they occur in others' records. ``readers``: by file what it was read
    with, which the documents keep.
    """
    now = datetime.now(UTC)
    made = _Made(source, now, run_id, readers)
    prepared = _prepare(records, made)

    def save(connection: Connection) -> Saved:
        lock_identities(connection)
        screened = screen(connection, records, now)
        described, rows = _prepare(screened.records, made, screened.blank) if screened else prepared
        save_persons(connection, described, now)
        saved = _save_rows(connection, rows, now)
        return replace(saved, left_out=screened.left_out) if screened else saved

    return write(engine, save)


@dataclass(frozen=True, slots=True)
class _Made:
    """What all documents of a batch share; ``readers`` is what their files were read with."""

    source: Source
    now: datetime
    run_id: str | None
    readers: Mapping[str, str]


def _prepare(
    records: Sequence[Record],
    made: _Made,
    blank: Callable[[str], str] = lambda native_id: native_id,
) -> tuple[list[Described], list[dict[str, Any]]]:
    """The people and the rows of a batch. ``blank``: a native id as it may be stored."""
    described = [Described(p, r.modified_at or r.occurred_at) for r in records for p in r.subjects]
    rows = [
        row | {"native_id": blank(row["native_id"])}
        for record in records
        # A text that was emptied since ends the one there was: only a known time can tell.
        if record.text or record.modified_at
        for row in _rows(record, made)
    ]
    return described, rows


def _rows(record: Record, made: _Made) -> Iterator[dict[str, Any]]:
    reader = made.readers.get(record.file)
    digest = content_hash(record.text, record.segments)
    segments = [segment_json(segment) for segment in record.segments]
    for subject in record.subjects:
        key = record_key(record, subject)
        yield {
            "id": stable_id("document", key, digest),
            "record_key": key,
            "identifier_id": identifier_id(subject.key),
            "profile_id": None,
            "source": made.source.value,
            "origin": record.origin,
            "kind": record.kind,
            "native_id": record.native_id,
            "text": record.text,
            "segments": segments,
            "metadata": {**record.metadata, "reader": reader} if reader else dict(record.metadata),
            "occurred_at": record.occurred_at,
            "modified_at": record.modified_at,
            "content_hash": digest,
            "file_id": file_id(record.file) if record.file else None,
            "position": record.position,
            "superseded_at": None,
            "state": "pending",
            "fingerprint": None,
            "wanted": None,
            "given_to": None,
            "definitions": None,
            "created_at": made.now,
            "run_id": made.run_id,
        }


@dataclass(slots=True)
class _Changes:
    """What a batch does to the versions of its records. ``stamps`` are later times of versions that are known,
    ``sightings`` earlier ones of signatures."""

    new: list[dict[str, Any]] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)
    revived: list[dict[str, Any]] = field(default_factory=list)
    stamps: dict[str, datetime] = field(default_factory=dict)
    sightings: dict[str, datetime] = field(default_factory=dict)
    replaced: int = 0
    added: int = 0

    def add(self, incoming: Sequence[dict[str, Any]], stored: Mapping[str, Row[Any]], now: datetime) -> None:
        """The versions of one record: the latest is the current one, the incoming one when that is not known."""
        current = max(incoming, key=_age)
        newest = max((r.modified_at or _BEGINNING for r in stored.values()), default=_BEGINNING)
        outdated = bool(stored) and (current["modified_at"] or _BEGINNING) < newest
        for row in incoming:
            known = stored.get(row["id"])
            if known is None:
                row["superseded_at"] = now if outdated or row is not current or not row["text"] else None
                self.new.append(row)
                self.added += bool(row["text"])
            elif row["modified_at"] and row["modified_at"] > (known.modified_at or _BEGINNING):
                self.stamps[row["id"]] = row["modified_at"]
            elif row["kind"] == SIGNATURE_KIND and _first_seen(row["occurred_at"]) < _first_seen(known.occurred_at):
                self.sightings[row["id"]] = row["occurred_at"]
        if outdated:
            return
        known = stored.get(current["id"])
        if current["text"]:
            self.replaced += bool(stored) and (known is None or known.superseded_at is not None)
            self.added -= bool(stored) and known is None
            self.revived += [current] if known and known.superseded_at else []
        self.superseded += [i for i, r in stored.items() if i != current["id"] and not r.superseded_at]


def _age(row: Mapping[str, Any]) -> tuple[datetime, str]:
    return row["modified_at"] or _BEGINNING, row["content_hash"]


def _first_seen(moment: datetime | None) -> datetime:
    return moment or _END


def _earliest(known: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """Of two rows of one signature, the one below the earlier mail."""
    return min(known, row, key=lambda each: _first_seen(each["occurred_at"]))


def _save_rows(connection: Connection, rows: Iterable[dict[str, Any]], now: datetime) -> Saved:
    """Insert what is new and let the latest version of each record be the current one."""
    by_id: dict[str, dict[str, Any]] = {}
    texts = 0
    for row in rows:
        texts += bool(row["text"])
        known = by_id.get(row["id"], row)
        # The first of equals.
        by_id[row["id"]] = _earliest(known, row) if row["kind"] == SIGNATURE_KIND else max(known, row, key=_age)
    by_record: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in by_id.values():
        by_record[row["record_key"]].append(row)
    stored = _load_versions(connection, by_record.keys())
    profiles = _load_profiles(connection, {row["identifier_id"] for row in by_id.values()})
    changes = _Changes()
    for key, versions in by_record.items():
        # A text that was blanked in place keeps its id.
        same = {row.content_hash: document_id for document_id, row in stored[key].items()}
        for row in versions:
            row["id"] = same.get(row["content_hash"], row["id"])
        changes.add(versions, stored[key], now)
    for row in changes.new:
        row["profile_id"] = profiles.get(row["identifier_id"])
    upsert(connection, DocumentRow, changes.new)
    supersede(connection, changes.superseded, now)
    _revive(connection, changes.revived)
    set_modified(connection, changes.stamps)
    _set_first_seen(connection, changes.sightings)
    return Saved(changes.added, changes.replaced, texts - changes.added - changes.replaced)


def _load_versions(connection: Connection, keys: Iterable[str]) -> dict[str, dict[str, Row[Any]]]:
    """The stored versions by record key, by document id."""
    of = DocumentRow
    query = select(of.id, of.record_key, of.modified_at, of.superseded_at, of.occurred_at, of.content_hash)
    versions: dict[str, dict[str, Row[Any]]] = defaultdict(dict)
    for row in select_in(connection, query, DocumentRow.record_key, keys):
        versions[row.record_key][row.id] = row
    return versions


def _load_profiles(connection: Connection, identifiers: set[str]) -> dict[str, str | None]:
    query = select(IdentifierRow.id, IdentifierRow.profile_id)
    return {i: profile for i, profile in select_in(connection, query, IdentifierRow.id, identifiers)}


def supersede(connection: Connection, ids: Sequence[str], at: datetime | None) -> None:
    """Let documents prove nothing any more from ``at`` on, or, with None, again; their profiles are to be folded."""
    if not ids:
        return
    table = DocumentRow.__table__
    connection.execute(
        update(DocumentRow).where(table.c.id == bindparam("b_id")).values(superseded_at=at),
        [{"b_id": i} for i in sorted(ids)],
    )
    profiles = select_in(connection, select(DocumentRow.profile_id).distinct(), DocumentRow.id, ids)
    mark_changed(connection, {row.profile_id for row in profiles})


def _revive(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Versions that are current again are from where they were read now."""
    if not rows:
        return
    supersede(connection, [row["id"] for row in rows], None)
    of = DocumentRow.__table__.c
    connection.execute(
        update(DocumentRow)
        .where(of.id == bindparam("b_id"))
        .values(file_id=bindparam("b_file"), position=bindparam("b_position"), metadata_=bindparam("b_metadata")),
        [
            {"b_id": r["id"], "b_file": r["file_id"], "b_position": r["position"], "b_metadata": r["metadata"]}
            for r in sorted(rows, key=itemgetter("id"))
        ],
    )


def set_modified(connection: Connection, stamps: Mapping[str, datetime]) -> None:
    """Note later times of which versions are known."""
    if stamps:
        connection.execute(
            update(DocumentRow)
            .where(DocumentRow.__table__.c.id == bindparam("b_id"))
            .values(modified_at=bindparam("modified_at")),
            [{"b_id": i, "modified_at": at} for i, at in sorted(stamps.items())],
        )


def _set_first_seen(connection: Connection, sightings: Mapping[str, datetime]) -> None:
    """A signature stood below an earlier mail already: it, and what it proves, are of that day."""
    if not sightings:
        return
    seen = [{"b_id": i, "at": at} for i, at in sorted(sightings.items())]
    documents, observations = DocumentRow.__table__, ObservationRow.__table__
    connection.execute(
        update(DocumentRow).where(documents.c.id == bindparam("b_id")).values(occurred_at=bindparam("at")), seen
    )
    connection.execute(
        update(ObservationRow).where(observations.c.document_id == bindparam("b_id")).values(said_at=bindparam("at")),
        seen,
    )
    profiles = select_in(connection, select(DocumentRow.profile_id).distinct(), DocumentRow.id, sightings)
    mark_changed(connection, {row.profile_id for row in profiles})


def segment_json(segment: Segment) -> dict[str, Any]:
    # By hand: dataclasses.asdict copies deeply, which was a quarter of the time that reading takes.
    values: dict[str, Any] = {"start": segment.start, "end": segment.end, "role": segment.role.value}
    if segment.speaker is not None:
        values["speaker"] = segment.speaker
    if segment.native_id is not None:
        values["native_id"] = segment.native_id
    if segment.occurred_at is not None:
        values["occurred_at"] = segment.occurred_at.isoformat()
    return values


def segment_from_json(values: Mapping[str, Any]) -> Segment:
    at = values.get("occurred_at")
    return Segment(
        values["start"],
        values["end"],
        _ROLES[values["role"]],
        values.get("speaker"),
        values.get("native_id"),
        datetime.fromisoformat(at) if at else None,
    )


# Only what is used: decoding the others' times and JSON takes as long again.
_EXTRACTED = ("id", "source", "origin", "kind", "text", "segments", "occurred_at", "profile_id", "definitions")
_TO_EXTRACT = select(*(DocumentRow.__table__.c[name] for name in _EXTRACTED), Profile.display_name).outerjoin(
    Profile, Profile.id == DocumentRow.profile_id
)


def load_documents(connection: Connection, ids: Iterable[str]) -> list[Document]:
    """The documents with their subject's name, as extractors take them."""
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
            definitions=row.definitions,
        )
        for row in select_in(connection, _TO_EXTRACT, DocumentRow.id, ids)
    ]
