"""Documents past their source's retention: counted before, erased at each sync."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, and_, func, or_, select

from ingest_pipeline.documents import Source
from ingest_pipeline.retention import KeepDays, cutoff_of
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.erasure import PAGE, erase_documents
from ingest_pipeline.store.existence import delete_empty
from ingest_pipeline.store.tables import DocumentRow


def count_expired(engine: Engine, keep_days: KeepDays, now: datetime) -> dict[Source, int]:
    """Documents, old versions too, that the next sync erases; sources without a limit are left out."""
    with reading(engine) as connection:
        return {
            source: connection.execute(select(func.count()).select_from(DocumentRow).where(past)).scalar_one()
            for source in Source
            if (past := _past(source, keep_days, now)) is not None
        }


def erase_expired(engine: Engine, keep_days: KeepDays, now: datetime) -> dict[Source, int]:
    """Erase them with all that hangs on them, a page per transaction; returns how many by source.

    Their profiles are to be folded again. One that has nothing left keeps its identifiers; without any it goes.
    """
    erased: dict[Source, int] = {}
    for source in Source:
        past = _past(source, keep_days, now)
        while past is not None and (some := _erase_page(engine, past)):
            erased[source] = erased.get(source, 0) + some
    return erased


def _past(source: Source, keep_days: KeepDays, now: datetime) -> ColumnElement[bool] | None:
    cutoff = cutoff_of(keep_days, source, now)
    if cutoff is None:
        return None
    undated = and_(DocumentRow.occurred_at.is_(None), DocumentRow.created_at < cutoff)
    return and_(DocumentRow.source == source.value, or_(DocumentRow.occurred_at < cutoff, undated))


def _erase_page(engine: Engine, past: ColumnElement[bool]) -> int:
    def erase(connection: Connection) -> int:
        rows = list(connection.execute(select(DocumentRow.id, DocumentRow.profile_id).where(past).limit(PAGE)))
        erase_documents(connection, [row.id for row in rows])
        delete_empty(connection, {row.profile_id for row in rows if row.profile_id})
        return len(rows)

    return write(engine, erase)
