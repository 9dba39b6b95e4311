"""What is known of one profile, with what proves it."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, func, select

from ingest_pipeline.decay import decay
from ingest_pipeline.documents import Json
from ingest_pipeline.edits import Edit, claim_key
from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.store.edits import load_edits
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.memory_ids import find_memories
from ingest_pipeline.store.neighbourhood import ANCHOR
from ingest_pipeline.store.tables import (
    DocumentRow,
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

_MIN_ID = 4


@dataclass(frozen=True, slots=True)
class Proof:
    """One sentence behind a fact: where it stands (``text[start:end]``), who said it, which record and file hold it."""

    document_id: str
    quote: str
    start: int
    end: int
    value: Json
    occurred_at: datetime | None
    source: str
    origin: str
    kind: str
    role: str
    native_id: str
    metadata: dict[str, Json]
    file: str | None
    file_sha256: str | None
    position: str | None
    observation_id: str
    fingerprint: str
    model: str | None
    extracted_at: datetime | None
    run_id: str | None


@dataclass(frozen=True, slots=True)
class Fact:
    """A trait (``key``, ``value``) or a memory (``key`` is its type, ``value`` its sentence).

    ``source``: ``extracted``, ``manual`` or ``inferred``. ``alternatives``: values that the evidence cannot choose
    between and ``value``; each one's proofs name it. ``edit``: who set, confirmed or revised it, when anybody did.
    Of a memory: ``event_at`` is the day an event is on, ``sightings`` counts independent pieces of evidence, ``decay``
    (0–1) is what is left of ``importance`` when it is read.
    """

    id: str
    kind: str
    key: str
    value: Json
    value_type: str | None
    category: str | None
    confidence: float
    importance: float | None
    source: str
    since: datetime | None
    created_at: datetime
    updated_at: datetime
    proofs: tuple[Proof, ...]
    alternatives: tuple[Json, ...] = ()
    edit: Edit | None = None
    event_at: datetime | None = None
    sightings: int = 0
    decay: float = 1.0

    def proofs_of(self, value: Json) -> list[Proof]:
        """The proofs that name this value, or element."""
        return [
            proof for proof in self.proofs if proof.value is not None and claim_key(proof.value) == claim_key(value)
        ]

    def supporting(self) -> list[Proof]:
        """The proofs of what the fact says; the others are of values that it does not show."""
        shown = {claim_key(value) for value in (self.value if isinstance(self.value, list) else [self.value])}
        return [proof for proof in self.proofs if proof.value is None or claim_key(proof.value) in shown]

    def opposing(self) -> list[list[Proof]]:
        """The other proofs, by the value that they name, the most first."""
        supporting = {id(proof) for proof in self.supporting()}
        by_value: dict[str, list[Proof]] = defaultdict(list)
        for proof in self.proofs:
            if id(proof) not in supporting:
                by_value[claim_key(proof.value)].append(proof)
        return sorted(by_value.values(), key=lambda proofs: -len(proofs))


@dataclass(frozen=True, slots=True)
class Past:
    """A value that held before. ``edit``: who set it, when it was not extracted.

    ``reason`` is why it ended: ``replaced`` or ``retracted`` by an observation, whose words are ``quote``; ``set``,
    ``cleared`` or ``rejected`` by the edit ``ending``. ``ended_by`` is the id of either.
    """

    key: str
    value: Json
    valid_from: datetime | None
    valid_to: datetime | None
    reason: str = "replaced"
    ended_by: str | None = None
    quote: str | None = None
    edit: Edit | None = None
    ending: Edit | None = None


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """One profile with everything folded for it. ``documents`` counts current ones by source."""

    id: str
    external_id: str | None
    name: str | None
    summary: str | None
    summary_version: int
    summary_updated_at: datetime | None
    created_at: datetime
    updated_at: datetime
    identifiers: tuple[str, ...]
    documents: dict[str, int]
    traits: tuple[Fact, ...]
    memories: tuple[Fact, ...]
    history: tuple[Past, ...]

    @property
    def reference(self) -> str:
        """What to call the profile by in a command: its external id, an address or its id."""
        addresses = (value for kind, _, value in (i.partition(":") for i in self.identifiers) if kind == "email")
        return self.external_id or next(addresses, self.id)


def load_facts(engine: Engine, profile_id: str, at: datetime | None = None) -> ProfileFacts:
    """Everything about one profile, its evidence by one query; memories by what their importance is ``at`` that time
    (now). Raises ProfileNotFound."""
    with reading(engine) as connection:
        row = connection.execute(select(Profile.__table__).where(Profile.id == profile_id)).one_or_none()
        if row is None:
            raise ProfileNotFound
        proofs = _load_proofs(connection, Evidence.profile_id == profile_id)
        edits = {edit.id: edit for edit in load_edits(connection, profile_id)}
        counts = (
            select(DocumentRow.source, func.count())
            .where(DocumentRow.profile_id == profile_id, DocumentRow.superseded_at.is_(None))
            .group_by(DocumentRow.source)
        )
        return ProfileFacts(
            id=row.id,
            external_id=row.external_id,
            name=row.display_name,
            summary=row.summary,
            summary_version=row.summary_version,
            summary_updated_at=row.summary_updated_at,
            created_at=row.created_at,
            updated_at=row.updated_at,
            identifiers=_load_identifiers(connection, profile_id),
            documents=dict(sorted((source, n) for source, n in connection.execute(counts))),
            traits=_load_traits(connection, profile_id, proofs, edits),
            memories=_load_memories(connection, profile_id, proofs, edits, at or datetime.now(UTC)),
            history=_load_history(connection, profile_id, edits),
        )


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
            with reading(engine) as connection:
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
    with reading(engine) as connection:
        edits = {edit.id: edit for edit in load_edits(connection, profile_id)}
        return tuple(past for past in _load_history(connection, profile_id, edits) if past.key == key)


def _load_identifiers(connection: Connection, profile_id: str) -> tuple[str, ...]:
    query = select(IdentifierRow.kind, IdentifierRow.value).where(
        IdentifierRow.profile_id == profile_id, IdentifierRow.kind != ANCHOR
    )
    return tuple(sorted(f"{kind}:{value}" for kind, value in connection.execute(query)))


def _load_traits(
    connection: Connection, profile_id: str, proofs: dict[str, list[Proof]], edits: dict[str, Edit]
) -> tuple[Fact, ...]:
    query = select(TraitRow.__table__).where(TraitRow.profile_id == profile_id).order_by(TraitRow.key)
    return tuple(
        Fact(
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
            proofs=tuple(proofs[row.id]),
            alternatives=tuple(row.alternatives or ()),
            edit=edits.get(row.edit_id),
        )
        for row in connection.execute(query)
    )


def _load_memories(
    connection: Connection, profile_id: str, proofs: dict[str, list[Proof]], edits: dict[str, Edit], at: datetime
) -> tuple[Fact, ...]:
    query = (
        select(Memory.__table__)
        .where(Memory.profile_id == profile_id)
        .order_by(Memory.importance.desc(), Memory.occurred_at.desc(), Memory.id)
    )
    memories = [
        Fact(
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
            proofs=tuple(proofs[row.id]),
            edit=edits.get(row.edit_id),
            event_at=row.event_at,
            sightings=row.sightings,
            decay=decay(row.type, row.occurred_at, row.event_at, at),
        )
        for row in connection.execute(query)
    ]
    return tuple(sorted(memories, key=lambda memory: -(memory.importance or 0.0) * memory.decay))


def _load_history(connection: Connection, profile_id: str, edits: dict[str, Edit]) -> tuple[Past, ...]:
    past = TraitHistory.__table__.c
    query = (
        select(*past, ObservationRow.quote)
        .outerjoin(ObservationRow, ObservationRow.id == past.ended_by)
        .where(past.profile_id == profile_id)
        .order_by(past.key, past.valid_to.desc(), past.id)
    )
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
        for row in connection.execute(query)
    )


def _load_proofs(connection: Connection, condition: ColumnElement[bool]) -> dict[str, list[Proof]]:
    """Trait or memory id → its evidence, newest first."""
    query = (
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
            (ExtractionRow.document_id == Evidence.document_id)
            & (ExtractionRow.fingerprint == ObservationRow.fingerprint),
        )
        .where(condition)
        .order_by(Evidence.occurred_at.desc(), Evidence.id)
    )  # fmt: skip
    proofs: dict[str, list[Proof]] = defaultdict(list)
    for row in connection.execute(query):
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
