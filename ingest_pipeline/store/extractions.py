"""Extractions and observations: what is still to be done, and the outcomes."""

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    String,
    bindparam,
    cast,
    delete,
    exists,
    func,
    literal_column,
    select,
    update,
)

from ingest_pipeline.documents import Source, stable_id
from ingest_pipeline.extraction.base import Extraction, Observation, Status
from ingest_pipeline.llm.errors import IN_BATCH, PERMANENT
from ingest_pipeline.llm.tables import LlmBatchDocumentRow
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.erased import drop_erased
from ingest_pipeline.store.people import mark_changed
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow, ObservationRow, Profile
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in, upsert

_PARTITION = cast(DocumentRow.profile_id, String) + DocumentRow.source
"""Profile and source as one value: SQLite cannot count distinct tuples."""


class Reextract(StrEnum):
    """Which documents are extracted: those never done, also those done by another extractor, or all."""

    MISSING = "missing"
    STALE = "stale"
    ALL = "all"


@dataclass(frozen=True, slots=True, order=True)
class PartitionKey:
    """One partition of ``extractions``: a profile and a source."""

    profile_id: str
    source: Source
    partition_key: str

    @property
    def key(self) -> str:
        """As Dagster writes it: the dimensions in alphabetical order, profile before source."""
        return f"{self.partition_key}|{self.source.value}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which documents a run is about. Empty ``sources``, ``profiles`` or ``documents`` mean all.

    ``max_attempts``: documents that failed so often by this extractor, for a reason that stays, are left alone; None:
    they are not, nor are they when all are extracted anew.
    """

    fingerprint: str
    reextract: Reextract = Reextract.MISSING
    sources: frozenset[Source] = frozenset()
    profiles: frozenset[str] = frozenset()
    max_attempts: int | None = None
    documents: frozenset[str] = frozenset()

    def conditions(self) -> list[ColumnElement[bool]]:
        current: list[ColumnElement[bool]] = [
            DocumentRow.superseded_at.is_(None),
            DocumentRow.profile_id.is_not(None),
            DocumentRow.wanted.is_distinct_from("none"),
            # A provider's batch is about them: nobody else asks.
            ~exists().where(LlmBatchDocumentRow.document_id == DocumentRow.id),
        ]
        # Spelled out, not bound, so that the planner sees that the index of the pending ones will do.
        missing = DocumentRow.state != literal_column("'done'")
        if self.reextract is Reextract.MISSING:
            current.append(missing)
        elif self.reextract is Reextract.STALE:
            current.append(missing | DocumentRow.fingerprint.is_distinct_from(self.fingerprint))
        if self.sources:
            current.append(DocumentRow.source.in_(sorted(self.sources)))
        if self.documents:
            current.append(DocumentRow.id.in_(sorted(self.documents)))
        if self.max_attempts is not None and self.reextract is not Reextract.ALL:
            current.append(
                ~exists().where(
                    ExtractionRow.document_id == DocumentRow.id,
                    ExtractionRow.fingerprint == self.fingerprint,
                    *given_up(self.max_attempts),
                )
            )
        return current


def given_up(max_attempts: int) -> list[ColumnElement[bool]]:
    """That an extraction failed as often as it is tried, for a reason that stays."""
    return [
        ExtractionRow.status == Status.FAILED.value,
        ExtractionRow.reason.in_(sorted(PERMANENT)),
        ExtractionRow.attempts >= max_attempts,
    ]


def load_pending(
    engine: Engine, selection: Selection, page: int = 1_000
) -> Iterator[list[tuple[PartitionKey, list[str]]]]:
    """Pages of partition keys with the ids of their documents to extract, oldest document first.

    A document that fails stays pending, but is not met again: pages go by profile.
    """
    if selection.profiles:
        for ids in batches(sorted(selection.profiles), page):
            yield from _pending_page(engine, selection, ids)
        return
    after = ""
    query = select(DocumentRow.profile_id).where(*selection.conditions()).distinct()
    while True:
        bound = [DocumentRow.profile_id > after] if after else []
        with reading(engine) as connection:
            found = connection.execute(query.where(*bound).order_by(DocumentRow.profile_id).limit(page)).scalars()
            ids = [i for i in found if i]
        if not ids:
            return
        yield from _pending_page(engine, selection, ids)
        after = ids[-1]


def _pending_page(
    engine: Engine, selection: Selection, ids: list[str]
) -> Iterator[list[tuple[PartitionKey, list[str]]]]:
    query = (
        select(DocumentRow.id, DocumentRow.profile_id, DocumentRow.source, Profile.partition_key)
        .join(Profile, Profile.id == DocumentRow.profile_id)
        .where(*selection.conditions(), DocumentRow.profile_id.in_(ids))
        .order_by(DocumentRow.profile_id, DocumentRow.source, DocumentRow.occurred_at, DocumentRow.id)
    )
    keys: dict[PartitionKey, list[str]] = {}
    with reading(engine) as connection:
        for row in connection.execute(query):
            keys.setdefault(PartitionKey(row.profile_id, Source(row.source), row.partition_key), []).append(row.id)
    if keys:
        yield list(keys.items())


def still_selected(connection: Connection, selection: Selection, documents: Iterable[str]) -> list[str]:
    """Those of the documents that are to be extracted now: another process may have been at it meanwhile."""
    query = select(DocumentRow.id).where(*selection.conditions())
    return [row.id for row in select_in(connection, query, DocumentRow.id, documents)]


def count_pending(engine: Engine, selection: Selection) -> tuple[int, int]:
    """(documents to extract, partitions they are in)."""
    query = select(func.count(), func.count(func.distinct(_PARTITION))).where(*selection.conditions())
    pages = batches(sorted(selection.profiles), IN_LIST)
    queries = [query.where(DocumentRow.profile_id.in_(ids)) for ids in pages] if selection.profiles else [query]
    with reading(engine) as connection:
        # A partition is of one profile, so none is counted twice.
        counts = [connection.execute(query).one() for query in queries]
    return sum(documents for documents, _ in counts), sum(partitions for _, partitions in counts)


_IDS: BindParameter[list[str]] = bindparam("ids", expanding=True)
_LOCKED = select(DocumentRow.id, DocumentRow.profile_id).order_by(DocumentRow.id).with_for_update(key_share=True)
_SETTLED = (
    update(DocumentRow)
    .where(DocumentRow.__table__.c.id.in_(_IDS))
    .values(state=bindparam("state"), fingerprint=bindparam("fingerprint"))
)
_CLAIMS = select(ObservationRow.id, ObservationRow.document_id).where(ObservationRow.superseded.is_(False))
_NOT_IN_BATCH = delete(LlmBatchDocumentRow).where(LlmBatchDocumentRow.document_id.in_(_IDS))


def save_extractions(
    where: Engine | Connection, extractions: Sequence[Extraction], fingerprint: str, model: str, run_id: str | None
) -> None:
    """Store outcomes in one transaction, or the connection's: the extraction, its observations, the document's state.

    A finished extraction supersedes what earlier ones of the document observed; a failed one leaves it in force.
    Outcomes of documents that were deleted meanwhile are dropped.
    """
    if not extractions:
        return
    now = datetime.now(UTC)

    def save(connection: Connection) -> None:
        held = _hold(connection, [e.document_id for e in extractions])
        known = [e for e in extractions if e.document_id in held]
        _save(connection, known, held, (fingerprint, model, now, run_id))

    write(where, save)


def _hold(connection: Connection, documents: Sequence[str]) -> dict[str, str]:
    """Lock the documents (on SQLite the whole database is), always in one order: those that there are, with their
    profiles."""
    return {row.id: row.profile_id for row in select_in(connection, _LOCKED, DocumentRow.id, sorted(documents))}


def _save(
    connection: Connection,
    extractions: Sequence[Extraction],
    profiles: Mapping[str, str],
    origin: tuple[str, str, datetime, str | None],
) -> None:
    fingerprint = origin[0]
    finished = [e for e in extractions if e.status is not Status.FAILED]
    observations = {
        row["id"]: row for e in finished for row in _observation_rows(e.document_id, fingerprint, e.observations)
    }
    upsert(
        connection,
        ExtractionRow,
        [_extraction_row(e, *origin) for e in extractions],
        update=("model", "status", "reason", "n_observations", "dropped", "extracted_at", "run_id"),
        add=("calls", "input_tokens", "output_tokens", "cost_usd", "attempts"),
    )
    observations = drop_erased(connection, observations)
    superseded = _supersede(connection, [e.document_id for e in finished], observations.keys())
    upsert(connection, ObservationRow, list(observations.values()), update=("superseded",))
    for state, of in (("done", finished), ("failed", [e for e in extractions if e.status is Status.FAILED])):
        for batch in batches((e.document_id for e in of), IN_LIST):
            connection.execute(_SETTLED, {"ids": batch, "state": state, "fingerprint": fingerprint})
    affected = superseded | {row["document_id"] for row in observations.values()}
    mark_changed(connection, {profiles[document] for document in affected})
    for batch in batches((e.document_id for e in extractions if e.reason != IN_BATCH), IN_LIST):
        connection.execute(_NOT_IN_BATCH, {"ids": batch})


def _supersede(connection: Connection, documents: Sequence[str], keep: Container[str]) -> set[str]:
    """Mark what the documents' earlier extractions observed and the new one does not; returns their documents."""
    old = [row for row in select_in(connection, _CLAIMS, ObservationRow.document_id, documents) if row.id not in keep]
    for batch in batches((row.id for row in old), IN_LIST):
        connection.execute(update(ObservationRow).where(ObservationRow.id.in_(batch)).values(superseded=True))
    return {row.document_id for row in old}


def _extraction_row(
    extraction: Extraction, fingerprint: str, model: str, now: datetime, run_id: str | None
) -> dict[str, Any]:
    return {
        "document_id": extraction.document_id,
        "fingerprint": fingerprint,
        "model": model,
        "status": extraction.status.value,
        "reason": extraction.reason,
        "n_observations": len(extraction.observations),
        "dropped": dict(extraction.dropped),
        "calls": extraction.usage.calls,
        "input_tokens": extraction.usage.input_tokens,
        "output_tokens": extraction.usage.output_tokens,
        "cost_usd": extraction.usage.cost_usd,
        "attempts": 1,
        "extracted_at": now,
        "run_id": run_id,
    }


def _observation_rows(
    document_id: str, fingerprint: str, observations: Sequence[Observation]
) -> Iterator[dict[str, Any]]:
    for position, o in enumerate(observations):
        what = json.dumps([o.kind, o.key, o.value, o.start, o.end, o.retracted], ensure_ascii=True)
        yield {
            "id": stable_id("observation", document_id, fingerprint, what),
            "document_id": document_id,
            "fingerprint": fingerprint,
            "position": position,
            "kind": o.kind.value,
            "key": o.key,
            "value": o.value,
            "confidence": o.confidence,
            "importance": o.importance,
            "quote": o.quote,
            "start_char": o.start,
            "end_char": o.end,
            "role": o.role.value,
            "native_id": o.native_id,
            "said_at": o.said_at,
            "effective_at": o.effective_at,
            "stated": o.stated,
            "retracted": o.retracted,
            "superseded": False,
            "rejected": None,
        }
