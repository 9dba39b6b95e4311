"""Whom a record is about may change: what the last read of an export no longer says of somebody ends.

A note about Ana and Ben is two documents. When the same export comes again with the note about Ana only, Ben's is
superseded, as an edited text is. A record that the export does not hold any more says nothing: its documents stay.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from sqlalchemy import Engine, Row, select

from ingest_pipeline.documents import Record
from ingest_pipeline.store.documents import record_key, supersede
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.tables import DocumentRow
from ingest_pipeline.store.upsert import IN_LIST, batches

BAD_LINKS = (": not an id", ": not a number")
"""How readers' warnings end that tell of people whom they could not make out."""

_NEVER = datetime.min.replace(tzinfo=UTC).isoformat()
_PAGE = 5_000


class Named:
    """The records of an export with whom they name, however many, in an unnamed SQLite file. A context manager."""

    def __init__(self) -> None:
        self._rows = sqlite3.connect("")
        self._rows.execute("CREATE TABLE record (record BLOB PRIMARY KEY, modified TEXT) WITHOUT ROWID")
        self._rows.execute("CREATE TABLE person (key TEXT PRIMARY KEY) WITHOUT ROWID")

    def __enter__(self) -> "Named":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._rows.close()

    def add(self, records: Sequence[Record]) -> None:
        """Those whose people could not all be read say nothing of who is not among them."""
        records = [record for record in records if not _is_uncertain(record)]
        self._rows.executemany(
            "INSERT INTO record VALUES (?, ?) "
            "ON CONFLICT (record) DO UPDATE SET modified = max(modified, excluded.modified)",
            [(_digest(record.origin, record.native_id), _stamp(record.modified_at)) for record in records],
        )
        self._rows.executemany(
            "INSERT OR IGNORE INTO person VALUES (?)",
            [(record_key(record, subject),) for record in records for subject in record.subjects],
        )

    def leave_out(self, stored: Iterable[Row[Any]]) -> list[str]:
        """Of stored documents the ids of those whose record is here, not older than they are, without their person."""
        return [row.id for row in stored if self._leaves_out(row)]

    def _leaves_out(self, row: Row[Any]) -> bool:
        query = "SELECT modified FROM record WHERE record = ?"
        found = self._rows.execute(query, (_digest(row.origin, row.native_id),)).fetchone()
        if found is None or found[0] < _stamp(row.modified_at):
            return False
        return self._rows.execute("SELECT 1 FROM person WHERE key = ?", (row.record_key,)).fetchone() is None


def withdraw(engine: Engine, named: Named, files: Iterable[str], now: datetime) -> int:
    """Supersede what the files (ids) gave before about people whom their records no longer name; how many."""
    of = DocumentRow
    columns = select(of.id, of.origin, of.native_id, of.record_key, of.modified_at).where(of.superseded_at.is_(None))
    count = 0
    for some in batches(sorted(files), IN_LIST):
        with reading(engine) as connection:
            found = connection.execute(columns.where(of.file_id.in_(some)).execution_options(yield_per=_PAGE))
            for page in found.partitions():
                gone = named.leave_out(page)
                if gone:
                    write(engine, lambda writing, gone=gone: supersede(writing, gone, now))  # type: ignore[misc]
                count += len(gone)
    return count


def _is_uncertain(record: Record) -> bool:
    return any(str(warning).endswith(BAD_LINKS) for warning in record.metadata.get("warnings", ()))


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _stamp(moment: datetime | None) -> str:
    """Sorts as the moments do; nothing is before everything."""
    return _NEVER if moment is None else moment.astimezone(UTC).isoformat()
