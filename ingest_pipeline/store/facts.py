"""Loading what is known of one profile: all of it, or as much as is asked for. Statements are built once."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, Engine, bindparam, func, select
from sqlalchemy.orm import InstrumentedAttribute

from ingest_pipeline.decay import decay
from ingest_pipeline.edits import Edit
from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.facts import Fact, Past, ProfileFacts, ProfileHead, Proof
from ingest_pipeline.store.edits import edit_of, load_edits
from ingest_pipeline.store.engine import looking, snapshot
from ingest_pipeline.store.memory_ids import find_memories
from ingest_pipeline.store.neighbourhood import ANCHOR
from ingest_pipeline.store.tables import (
    DocumentRow,
    EditRow,
    Evidence,
    ExtractionRow,
    FileRow,
    IdentifierRow,
    Memory,
    ObservationRow,
    Profile,
    TraitHistory,
    TraitRow,
)
from ingest_pipeline.store.upsert import select_in

__all__ = ["Fact", "Past", "ProfileFacts", "ProfileHead", "Proof"]

_MIN_ID = 4
_THIS: BindParameter[str] = bindparam("profile_id")
_PROFILE = select(Profile.__table__).where(Profile.id == _THIS)
_TRAITS = select(TraitRow.__table__).where(TraitRow.profile_id == _THIS).order_by(TraitRow.key)
_MEMORIES = (
    select(Memory.__table__)
    .where(Memory.profile_id == _THIS)
    .order_by(Memory.importance.desc(), Memory.occurred_at.desc(), Memory.id)
)
_HISTORY = (
    select(*TraitHistory.__table__.c, ObservationRow.quote)
    .outerjoin(ObservationRow, ObservationRow.id == TraitHistory.ended_by)
    .where(TraitHistory.profile_id == _THIS)
    .order_by(TraitHistory.key, TraitHistory.valid_to.desc(), TraitHistory.id)
)
_IDENTIFIERS = select(IdentifierRow.kind, IdentifierRow.value).where(
    IdentifierRow.profile_id == _THIS, IdentifierRow.kind != ANCHOR
)
_DOCUMENTS = (
    select(DocumentRow.source, func.count())
    .where(DocumentRow.profile_id == _THIS, DocumentRow.superseded_at.is_(None))
    .group_by(DocumentRow.source)
)
_EDITS = select(EditRow.__table__)
_PROOFS = (
    select(
        Evidence.trait_id, Evidence.memory_id, Evidence.value, Evidence.quote, Evidence.start_char,
        Evidence.end_char, Evidence.occurred_at, Evidence.observation_id, Evidence.document_id,
        ObservationRow.role, ObservationRow.fingerprint, DocumentRow.source, DocumentRow.origin, DocumentRow.kind,
        DocumentRow.native_id, DocumentRow.metadata_, DocumentRow.position, FileRow.name.label("file"),
        FileRow.sha256, ExtractionRow.model, ExtractionRow.extracted_at, ExtractionRow.run_id,
    )
    .join(ObservationRow, ObservationRow.id == Evidence.observation_id)
    .join(DocumentRow, DocumentRow.id == Evidence.document_id)
    .outerjoin(FileRow, FileRow.id == DocumentRow.file_id)
    .outerjoin(
        ExtractionRow,
        (ExtractionRow.document_id == Evidence.document_id) & (ExtractionRow.fingerprint == ObservationRow.fingerprint),
    )
    .order_by(Evidence.occurred_at.desc(), Evidence.id)
)  # fmt: skip
_PROVEN = select(Evidence.trait_id, Evidence.memory_id).where(Evidence.document_id == bindparam("document_id"))

_Proofs = dict[str, list[Proof]]
"""By the id of the trait or memory, newest first."""


def load_profile(where: Engine | Connection, profile_id: str) -> ProfileHead:
    """The profile itself. Raises ProfileNotFound."""
    with looking(where) as connection:
        return ProfileHead(**_head(connection, profile_id))


def load_facts(where: Engine | Connection, profile_id: str, at: datetime | None = None) -> ProfileFacts:
    """Everything about one profile, its evidence by one query; memories by what their importance is ``at`` that time
    (now). All of one moment: a fold meanwhile leaves no fact without what proves it. Raises ProfileNotFound."""
    this = {"profile_id": profile_id}
    with snapshot(where) as connection:
        head = _head(connection, profile_id)
        proofs = _load_proofs(connection, Evidence.profile_id, [profile_id])
        edits = {edit.id: edit for edit in load_edits(connection, profile_id)}
        traits = tuple(_trait(row, proofs, edits) for row in connection.execute(_TRAITS, this))
        memories = connection.execute(_MEMORIES, this)
        return ProfileFacts(
            **head,
            identifiers=tuple(sorted(f"{kind}:{value}" for kind, value in connection.execute(_IDENTIFIERS, this))),
            documents=dict(sorted((source, n) for source, n in connection.execute(_DOCUMENTS, this))),
            traits=traits,
            memories=_by_weight(_memory(row, proofs, edits, at or datetime.now(UTC)) for row in memories),
            history=_load_history(connection, profile_id, edits),
        )


def load_traits(where: Engine | Connection, profile_id: str) -> tuple[Fact, ...]:
    """The traits by key, with their evidence."""
    with looking(where) as connection:
        rows = connection.execute(_TRAITS, {"profile_id": profile_id}).all()
        proofs = _load_proofs(connection, Evidence.trait_id, [row.id for row in rows])
        edits = _edits_of(connection, rows)
    return tuple(_trait(row, proofs, edits) for row in rows)


def load_memories(
    where: Engine | Connection, profile_id: str, limit: int, of_type: str | None = None, latest: bool = False
) -> tuple[Fact, ...]:
    """The ``limit`` weightiest memories, or the ``latest``; all or of one type. With their evidence."""
    now = datetime.now(UTC)
    with looking(where) as connection:
        rows = connection.execute(_MEMORIES, {"profile_id": profile_id}).all()
        rows = [row for row in rows if of_type is None or row.type == of_type]
        if latest:
            rows.sort(key=lambda row: (row.occurred_at or row.created_at, row.id), reverse=True)
        else:
            rows.sort(key=lambda row: -_weight(row.importance, _decay(row, now)))
        rows = rows[:limit]
        proofs = _load_proofs(connection, Evidence.memory_id, [row.id for row in rows])
        edits = _edits_of(connection, rows)
    return tuple(_memory(row, proofs, edits, now) for row in rows)


def load_bare_traits(connection: Connection, profile_id: str) -> tuple[Fact, ...]:
    """Without what proves them and who decided."""
    return tuple(_trait(row, {}, {}) for row in connection.execute(_TRAITS, {"profile_id": profile_id}))


def load_bare_memories(connection: Connection, profile_id: str) -> tuple[Fact, ...]:
    """Without what proves them and who decided; the weightiest first."""
    now = datetime.now(UTC)
    return _by_weight(_memory(row, {}, {}, now) for row in connection.execute(_MEMORIES, {"profile_id": profile_id}))


def with_proofs(connection: Connection, facts: Iterable[Fact]) -> dict[str, Fact]:
    """The facts with their evidence, by id."""
    found = {fact.id: fact for fact in facts}
    proofs: _Proofs = {}
    for kind, column in (("trait", Evidence.trait_id), ("memory", Evidence.memory_id)):
        proofs |= _load_proofs(connection, column, [fact.id for fact in found.values() if fact.kind == kind])
    return {key: replace(fact, proofs=tuple(proofs.get(key, ()))) for key, fact in found.items()}


def load_proven(connection: Connection, document_id: str) -> set[str]:
    """Ids of the traits and memories that the document proves."""
    found = connection.execute(_PROVEN, {"document_id": document_id})
    return {row.trait_id or row.memory_id for row in found}


def load_fact(engine: Engine, profile_id: str, reference: str) -> tuple[Fact, tuple[Past, ...]]:
    """One fact with the values its trait had before, by trait key, or by an id or the first characters of one; a memory
    also by an id that it had before other sentences joined it.

    Raises InvalidInput when there is none, or when several ids start so.
    """
    facts = load_facts(engine, profile_id)
    everything = (*facts.traits, *facts.memories)
    found = [fact for fact in everything if fact.kind == "trait" and fact.key == reference]
    if not found and len(reference) >= _MIN_ID:
        found = [fact for fact in everything if fact.id.startswith(reference.lower())]
        if not found:
            with looking(engine) as connection:
                led_to = find_memories(connection, profile_id, reference)
            found = [fact for fact in facts.memories if fact.id in led_to]
    if len(found) > 1:
        raise InvalidInput("ambiguous_fact", "several ids start with these characters; write more of them")
    if found:
        key = found[0].key
        return found[0], tuple(past for past in facts.history if found[0].kind == "trait" and past.key == key)
    past = tuple(past for past in facts.history if past.key == reference)
    known = ", ".join(fact.key for fact in facts.traits) or "none"
    ended = " (it had values before; `ingest show` lists them)" if past else ""
    raise InvalidInput(
        "fact_not_found",
        f"this profile has no such trait or memory{ended}; its traits: {known}; `ingest show` lists ids",
    )


def load_past(engine: Engine, profile_id: str, key: str) -> tuple[Past, ...]:
    """The values that a trait had before, the last first; none for a trait that never had any."""
    with looking(engine) as connection:
        edits = {edit.id: edit for edit in load_edits(connection, profile_id)}
        return tuple(past for past in _load_history(connection, profile_id, edits) if past.key == key)


def _head(connection: Connection, profile_id: str) -> dict[str, Any]:
    row = connection.execute(_PROFILE, {"profile_id": profile_id}).one_or_none()
    if row is None:
        raise ProfileNotFound
    return {
        "id": row.id, "external_id": row.external_id, "name": row.told_name or row.display_name, "summary": row.summary,
        "summary_version": row.summary_version, "summary_updated_at": row.summary_updated_at,
        "created_at": row.created_at, "updated_at": row.updated_at,
    }  # fmt: skip


def _trait(row: Any, proofs: _Proofs, edits: dict[str, Edit]) -> Fact:
    return Fact(
        id=row.id,
        kind="trait",
        key=row.key,
        value=row.value,
        value_type=row.value_type,
        category=row.category,
        confidence=row.confidence,
        importance=None,
        source=row.source,
        since=row.valid_from,
        created_at=row.created_at,
        updated_at=row.updated_at,
        proofs=tuple(proofs.get(row.id, ())),
        alternatives=tuple(row.alternatives or ()),
        edit=edits.get(row.edit_id),
    )


def _memory(row: Any, proofs: _Proofs, edits: dict[str, Edit], at: datetime) -> Fact:
    return Fact(
        id=row.id,
        kind="memory",
        key=row.type,
        value=row.content,
        value_type=None,
        category=None,
        confidence=row.confidence,
        importance=row.importance,
        source=row.source,
        since=row.occurred_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        proofs=tuple(proofs.get(row.id, ())),
        edit=edits.get(row.edit_id),
        event_at=row.event_at,
        sightings=row.sightings,
        decay=_decay(row, at),
    )


def _decay(row: Any, at: datetime) -> float:
    return decay(row.type, row.occurred_at, row.event_at, at)


def _by_weight(memories: Iterable[Fact]) -> tuple[Fact, ...]:
    """The weightiest first; the rows' own order decides between equals."""
    return tuple(sorted(memories, key=lambda memory: -_weight(memory.importance, memory.decay)))


def _weight(importance: float | None, decayed: float) -> float:
    return (importance or 0.0) * decayed


def _edits_of(connection: Connection, rows: Sequence[Any]) -> dict[str, Edit]:
    wanted = sorted({row.edit_id for row in rows if row.edit_id})
    return {row.id: edit_of(row) for row in select_in(connection, _EDITS, EditRow.id, wanted)}


def _load_history(connection: Connection, profile_id: str, edits: dict[str, Edit]) -> tuple[Past, ...]:
    return tuple(
        Past(
            key=row.key,
            value=row.value,
            valid_from=row.valid_from,
            valid_to=row.valid_to,
            reason=row.reason,
            ended_by=row.ended_by,
            quote=row.quote,
            edit=edits.get(row.edit_id),
            ending=edits.get(row.ended_by),
        )
        for row in connection.execute(_HISTORY, {"profile_id": profile_id})
    )


def _load_proofs(connection: Connection, column: InstrumentedAttribute[Any], values: Sequence[str]) -> _Proofs:
    proofs: _Proofs = defaultdict(list)
    for row in select_in(connection, _PROOFS, column, values):
        proofs[row.trait_id or row.memory_id].append(_proof(row))
    return proofs


def _proof(row: Any) -> Proof:
    return Proof(
        document_id=row.document_id,
        quote=row.quote,
        start=row.start_char,
        end=row.end_char,
        value=row.value,
        occurred_at=row.occurred_at,
        source=row.source,
        origin=row.origin,
        kind=row.kind,
        role=row.role,
        native_id=row.native_id,
        metadata=row.metadata,
        file=row.file,
        file_sha256=row.sha256,
        position=row.position,
        observation_id=row.observation_id,
        fingerprint=row.fingerprint,
        model=row.model,
        extracted_at=row.extracted_at,
        run_id=row.run_id,
    )
