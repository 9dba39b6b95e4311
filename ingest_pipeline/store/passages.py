"""The texts that pieces of evidence stand in, and a profile's documents as a list."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, func, select

from ingest_pipeline.documents import Segment
from ingest_pipeline.store.documents import segment_from_json
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.tables import DocumentRow, ObservationRow
from ingest_pipeline.store.upsert import select_in


@dataclass(frozen=True, slots=True)
class Text:
    """A document's text, with whose words it holds; offsets are code points."""

    text: str
    segments: tuple[Segment, ...]


def load_texts(engine: Engine, document_ids: Iterable[str]) -> dict[str, Text]:
    """By document id."""
    query = select(DocumentRow.id, DocumentRow.text, DocumentRow.segments)
    with reading(engine) as connection:
        rows = select_in(connection, query, DocumentRow.id.expression, sorted(set(document_ids)))
        return {row.id: Text(row.text, tuple(segment_from_json(one) for one in row.segments)) for row in rows}


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """``claims``: observations in force that it gave."""

    id: str
    source: str
    origin: str
    kind: str
    occurred_at: datetime | None
    state: str
    claims: int


def list_documents(engine: Engine, profile_id: str, limit: int, offset: int) -> tuple[list[ListedDocument], int]:
    """A page of a profile's current documents, the latest first, and how many there are."""
    mine = (DocumentRow.profile_id == profile_id, DocumentRow.superseded_at.is_(None))
    d = DocumentRow
    shown = (
        select(d.id, d.source, d.origin, d.kind, d.occurred_at, d.state)
        .where(*mine)
        .order_by(func.coalesce(d.occurred_at, d.created_at).desc(), d.id)
        .limit(limit)
        .offset(offset)
    )
    claims = (
        select(ObservationRow.document_id, func.count().label("n"))
        .where(ObservationRow.superseded.is_(False))
        .group_by(ObservationRow.document_id)
    )
    with reading(engine) as connection:
        total = connection.execute(select(func.count()).select_from(DocumentRow).where(*mine)).scalar_one()
        rows = list(connection.execute(shown))
        found = select_in(connection, claims, ObservationRow.document_id.expression, [row.id for row in rows])
        given = {row.document_id: row.n for row in found}
    return [
        ListedDocument(row.id, row.source, row.origin, row.kind, row.occurred_at, row.state, given.get(row.id, 0))
        for row in rows
    ], total
