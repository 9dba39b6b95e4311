"""What one document contributed: each claim found in it, and what became of the claim."""

import re
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, select

from ingest_pipeline.documents import Json, Segment
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.store.documents import segment_from_json
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.tables import (
    DocumentRow,
    Evidence,
    ExtractionRow,
    FileRow,
    Memory,
    ObservationRow,
    TraitHistory,
    TraitRow,
)

_MIN_START = 6


class Fate(StrEnum):
    """What became of a claim."""

    SUPPORTS = "supports"  # evidence of a fact that holds
    PAST = "past"  # evidence of a value that held before
    ENDED = "ended"  # it ended a value
    REJECTED = "rejected"  # the trait schema or a person refuses it, or its day is still to come
    OUTDATED = "outdated"  # the document or its extraction was replaced by a newer one
    UNUSED = "unused"  # too unsure, or said of something that other evidence decides


@dataclass(frozen=True, slots=True)
class Contribution:
    """A claim with its place, ``text[start:end] == quote``. ``fact_id`` is the trait or memory that it supports.

    ``reason`` says why it was rejected or is outdated.
    """

    observation_id: str
    kind: str
    key: str
    value: Json
    confidence: float
    retracted: bool
    quote: str
    start: int
    end: int
    role: str
    said_at: datetime | None
    effective_at: datetime | None
    fingerprint: str
    fate: Fate
    fact_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One extraction of the document. ``dropped`` counts what was proposed and not kept, by reason."""

    fingerprint: str
    status: str
    reason: str | None
    observations: int
    dropped: dict[str, int]
    cost_usd: float
    extracted_at: datetime
    run_id: str | None


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """A document, where it was read, how often it was extracted, and its claims in the order of the text."""

    id: str
    profile_id: str | None
    source: str
    origin: str
    kind: str
    native_id: str
    text: str
    segments: tuple[Segment, ...]
    metadata: dict[str, Json]
    occurred_at: datetime | None
    superseded_at: datetime | None
    state: str
    file: str | None
    file_sha256: str | None
    position: str | None
    attempts: tuple[Attempt, ...]
    contributions: tuple[Contribution, ...]


def load_document_facts(engine: Engine, reference: str) -> DocumentFacts:
    """By the document's id or its first characters. Raises InvalidInput (document_not_found, ambiguous_document)."""
    with reading(engine) as connection:
        row = _find(connection, reference.strip().lower())
        return DocumentFacts(
            id=row.id,
            profile_id=row.profile_id,
            source=row.source,
            origin=row.origin,
            kind=row.kind,
            native_id=row.native_id,
            text=row.text,
            segments=tuple(segment_from_json(segment) for segment in row.segments),
            metadata=row.metadata,
            occurred_at=row.occurred_at,
            superseded_at=row.superseded_at,
            state=row.state,
            file=row.name,
            file_sha256=row.sha256,
            position=row.position,
            attempts=_attempts(connection, row.id),
            contributions=_contributions(connection, row),
        )


def _find(connection: Connection, reference: str) -> Any:
    digits = reference.replace("-", "")
    if not re.fullmatch(rf"[0-9a-f]{{{_MIN_START},32}}", digits):
        raise InvalidInput("document_not_found", "a document id is a UUID, as `ingest why` shows it")
    low, high = (str(uuid.UUID(digits.ljust(32, fill))) for fill in "0f")
    query = (
        select(DocumentRow.__table__, FileRow.name, FileRow.sha256)
        .outerjoin(FileRow, FileRow.id == DocumentRow.file_id)
        .where(DocumentRow.id.between(low, high))
        .limit(2)
    )
    rows = list(connection.execute(query))
    if not rows:
        raise InvalidInput("document_not_found", "no document has this id")
    if len(rows) > 1:
        raise InvalidInput("ambiguous_document", "several document ids start with these characters; write more of them")
    return rows[0]


def _attempts(connection: Connection, document_id: str) -> tuple[Attempt, ...]:
    x = ExtractionRow
    query = (
        select(x.fingerprint, x.status, x.reason, x.n_observations, x.dropped, x.cost_usd, x.extracted_at, x.run_id)
        .where(x.document_id == document_id)
        .order_by(x.extracted_at)
    )
    return tuple(Attempt(*row) for row in connection.execute(query))


def _contributions(connection: Connection, document: Any) -> tuple[Contribution, ...]:
    mine = ObservationRow.document_id == document.id
    query = select(ObservationRow.__table__).where(mine).order_by(ObservationRow.start_char, ObservationRow.id)
    observations = list(connection.execute(query))
    facts = _facts(connection, document.id)
    begun, ended = _past(connection, document.profile_id)
    return tuple(
        Contribution(
            observation_id=row.id,
            kind=row.kind,
            key=row.key,
            value=row.value,
            confidence=row.confidence,
            retracted=row.retracted,
            quote=row.quote,
            start=row.start_char,
            end=row.end_char,
            role=row.role,
            said_at=row.said_at,
            effective_at=row.effective_at,
            fingerprint=row.fingerprint,
            fate=_fate(row, document, facts, begun, ended),
            fact_id=facts.get(row.id),
            reason=_reason(row, document),
        )
        for row in observations
    )


def _facts(connection: Connection, document_id: str) -> dict[str, str]:
    """Observation → the trait or memory that it is evidence of."""
    query = select(Evidence.observation_id, TraitRow.id.label("trait"), Memory.id.label("memory"))
    query = query.outerjoin(TraitRow, TraitRow.id == Evidence.trait_id).outerjoin(
        Memory, Memory.id == Evidence.memory_id
    )
    rows = connection.execute(query.where(Evidence.document_id == document_id))
    return {row.observation_id: row.trait or row.memory for row in rows}


def _past(connection: Connection, profile_id: str | None) -> tuple[set[str], set[str]]:
    """Observations that began a former value of the profile, and those that ended one."""
    query = select(TraitHistory.observation_id, TraitHistory.ended_by).where(TraitHistory.profile_id == profile_id)
    rows = list(connection.execute(query))
    return {row.observation_id for row in rows}, {row.ended_by for row in rows}


def _fate(observation: Any, document: Any, facts: dict[str, str], begun: set[str], ended: set[str]) -> Fate:
    if document.superseded_at or observation.superseded:
        return Fate.OUTDATED
    if observation.rejected:
        return Fate.REJECTED
    if observation.id in facts:
        return Fate.SUPPORTS
    if observation.id in begun:
        return Fate.PAST
    return Fate.ENDED if observation.id in ended else Fate.UNUSED


def _reason(observation: Any, document: Any) -> str | None:
    if document.superseded_at:
        return "newer_version_of_the_record"
    return "newer_extraction" if observation.superseded else observation.rejected
