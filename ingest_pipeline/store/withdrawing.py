"""Whom a record is about may change: what the last read of an export no longer says of somebody ends.

A note about Ana and Ben is two documents. When the same export comes again with the note about Ana only, in place of
the earlier one or beside it, Ben's is superseded, as an edited text is. What does not tell of everybody ends nothing:
an export without the record, without the table of links that named Ben, or one whose links could not all be read.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from ingest_pipeline.documents import LINKED, PARTIAL, WHOM, Record
from ingest_pipeline.store.documents import record_key, set_modified, supersede
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.tables import DocumentRow
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in

_NEVER = datetime.min.replace(tzinfo=UTC).isoformat(timespec="microseconds")
_PAGE = 5_000
_TABLES = """
CREATE TABLE record (
  record BLOB PRIMARY KEY, modified TEXT, file INT, linked INT, partial INT, again INT
) WITHOUT ROWID;
CREATE TABLE person (person BLOB, file INT, modified TEXT, PRIMARY KEY (person, file)) WITHOUT ROWID;
"""
_ADD_RECORD = """
INSERT INTO record VALUES (?, ?, ?, ?, ?, 0) ON CONFLICT (record) DO UPDATE SET
  file = CASE WHEN excluded.modified > modified THEN excluded.file ELSE file END,
  again = again OR excluded.file <> file,
  modified = max(modified, excluded.modified),
  linked = CASE WHEN excluded.modified < modified THEN linked
    WHEN excluded.modified > modified THEN excluded.linked ELSE max(linked, excluded.linked) END,
  partial = max(partial, excluded.partial)
"""
_ADD_PERSON = """
INSERT INTO person VALUES (?, ?, ?)
ON CONFLICT (person, file) DO UPDATE SET modified = max(modified, excluded.modified)
"""


@dataclass(frozen=True, slots=True)
class Gone:
    """A stored document whose person its record no longer names. ``since``: when the record was changed, if known.

    ``linked``: the newest version of the record has people from a list or table of links, too.
    """

    id: str
    since: datetime | None
    linked: bool


class Named:
    """The records of an export with whom they name, however many, in an unnamed SQLite file. A context manager."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("")
        self._rows.executescript(_TABLES)
        self._files: dict[str, int] = {}

    def __enter__(self) -> "Named":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._rows.close()

    def add(self, records: Sequence[Record]) -> None:
        self._rows.executemany(_ADD_RECORD, map(self._record, records))
        self._rows.executemany(
            _ADD_PERSON,
            [
                (_digest(record_key(record, subject)), self._file(record), _stamp(record.modified_at))
                for record in records
                for subject in record.subjects
            ],
        )

    def holds_versions(self) -> bool:
        """Whether several files hold the same record."""
        return self._rows.execute("SELECT 1 FROM record WHERE again LIMIT 1").fetchone() is not None

    def leave_out(self, stored: Iterable[Row[Any]]) -> list[Gone]:
        """Of stored documents those whose record is here, not older than they are, without their person."""
        return [gone for row in stored if (gone := self._gone(row))]

    def _gone(self, row: Row[Any]) -> Gone | None:
        query = "SELECT modified, file, linked FROM record WHERE record = ? AND NOT partial"
        found = self._rows.execute(query, (_digest(row.origin, row.native_id),)).fetchone()
        if found is None or found[0] < _stamp(row.modified_at):
            return None
        modified, file, linked = found
        # Two rows of one file are parts of a record; of two files the later one has its newer version.
        query = "SELECT 1 FROM person WHERE person = ? AND (file = ? OR modified >= ?)"
        if self._rows.execute(query, (_digest(row.record_key), file, modified)).fetchone() is not None:
            return None
        return Gone(row.id, None if modified == _NEVER else datetime.fromisoformat(modified), bool(linked))

    def _record(self, record: Record) -> tuple[bytes, str, int, bool, bool]:
        people = record.metadata.get(WHOM)
        key = _digest(record.origin, record.native_id)
        return key, _stamp(record.modified_at), self._file(record), people == LINKED, people == PARTIAL

    def _file(self, record: Record) -> int:
        return self._files.setdefault(record.file, len(self._files))


def withdraw(engine: Engine, named: Named, files: Iterable[str], now: datetime) -> int:
    """Supersede what the files (ids) gave about people whom their records no longer name; how many documents."""
    of = DocumentRow
    columns = select(of.id, of.origin, of.native_id, of.record_key, of.modified_at).where(of.superseded_at.is_(None))
    count = 0
    for some in batches(sorted(files), IN_LIST):
        with reading(engine) as connection:
            found = connection.execute(columns.where(of.file_id.in_(some)).execution_options(yield_per=_PAGE))
            for page in found.partitions():
                if gone := named.leave_out(page):
                    count += write(engine, lambda writing, gone=gone: _end(writing, gone, now))  # type: ignore[misc]
    return count


def _end(connection: Connection, gone: Sequence[Gone], now: datetime) -> int:
    """As of the version that no longer names them: an older one that is read later does not bring them back."""
    unlinked = [each.id for each in gone if not each.linked]
    query = select(DocumentRow.id, DocumentRow.metadata_)
    kept = {row.id for row in select_in(connection, query, DocumentRow.id, unlinked) if _is_linked(row.metadata)}
    ended = {each.id: each.since for each in gone if each.id not in kept}
    supersede(connection, list(ended), now)
    set_modified(connection, {i: since for i, since in ended.items() if since})
    return len(ended)


def _is_linked(metadata: Mapping[str, Any]) -> bool:
    return metadata.get(WHOM) == LINKED


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _stamp(moment: datetime | None) -> str:
    """Sorts as the moments do; nothing is before everything."""
    return _NEVER if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")
