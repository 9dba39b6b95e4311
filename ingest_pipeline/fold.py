"""The fold: observations → the state of one profile. A pure function; no clock, no database, no model.

    observations ── fold ──▶ traits (with history), memories, evidence, rejected observations

The result does not depend on the order of the observations: everything is decided by sorting on what they say and
when it took effect, with a stable key last. Folding twice gives the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ingest_pipeline.documents import Json, Role, stable_id
from ingest_pipeline.extraction.base import Kind
from ingest_pipeline.extraction.traits import Trait, TraitSchema, ValueRejected

_BEGINNING = datetime.min.replace(tzinfo=UTC)

ROLE_RANK = {Role.FIELD: 3, Role.SUBJECT: 2, Role.SIGNATURE: 1, Role.NOTE: 0}
"""Which of two claims for the same moment wins: a CRM field, the person's own words, their signature, a note."""


@dataclass(frozen=True, slots=True)
class Observed:
    """An observation as the fold needs it. ``id`` is unique and stable; times are UTC."""

    id: str
    document_id: str
    kind: Kind
    key: str
    value: Json
    confidence: float
    importance: float | None
    role: Role
    said_at: datetime | None
    effective_at: datetime | None
    retracted: bool
    quote: str
    start: int
    end: int

    @property
    def since(self) -> datetime:
        """When the claim took effect: the stated date, else when it was said, else before everything else."""
        return self.effective_at or self.said_at or _BEGINNING

    @property
    def lies_ahead(self) -> bool:
        """Said of a day that was still to come: an intention, not yet a trait."""
        return bool(self.effective_at and self.said_at and self.effective_at > self.said_at)

    def rank(self) -> tuple[datetime, int, float, str]:
        """Later wins, then the source's rank, then confidence, then a stable key."""
        return (self.since, ROLE_RANK.get(self.role, -1), self.confidence, self.id)


@dataclass(frozen=True, slots=True)
class FoldedTrait:
    """The value that holds now. An array trait's evidence names the element that each observation supports."""

    id: str
    key: str
    value: Json
    value_type: str
    category: str
    confidence: float
    valid_from: datetime | None
    evidence: tuple[tuple[Observed, Json], ...]


@dataclass(frozen=True, slots=True)
class PastValue:
    """A value that held from ``valid_from`` until ``valid_to``; ``ended_by`` is the observation that ended it."""

    id: str
    key: str
    value: Json
    confidence: float
    valid_from: datetime | None
    valid_to: datetime | None
    observation_id: str
    ended_by: str


@dataclass(frozen=True, slots=True)
class FoldedMemory:
    """One sentence with all that was said for it. ``occurred_at`` is when it was said last."""

    id: str
    type: str
    content: str
    importance: float
    confidence: float
    occurred_at: datetime | None
    evidence: tuple[Observed, ...]


@dataclass(frozen=True, slots=True)
class ProfileState:
    """The folded state of one profile, each part sorted by id. ``rejected`` maps observation ids to reasons."""

    traits: tuple[FoldedTrait, ...]
    history: tuple[PastValue, ...]
    memories: tuple[FoldedMemory, ...]
    rejected: dict[str, str]


def fold(profile_id: str, observations: Iterable[Observed], schema: TraitSchema) -> ProfileState:
    """Fold everything observed about one profile. Facts that every observation retracts are not in the result."""
    rejected: dict[str, str] = {}
    by_trait: dict[str, list[tuple[Observed, Json]]] = defaultdict(list)
    by_memory: dict[tuple[str, str], list[Observed]] = defaultdict(list)
    for observed in sorted(observations, key=Observed.rank):
        if observed.kind is Kind.MEMORY:
            by_memory[observed.key, memory_key(str(observed.value))].append(observed)
            continue
        if observed.lies_ahead:
            rejected[observed.id] = "not_yet"
            continue
        try:
            value = schema.normalise(observed.key, observed.value)
        except ValueRejected as rejection:
            rejected[observed.id] = rejection.reason
            continue
        trait = schema.get(observed.key)
        if trait and observed.confidence >= trait.extraction.confidence_threshold:
            by_trait[observed.key].append((observed, value))
    traits: list[FoldedTrait] = []
    history: list[PastValue] = []
    for key, claims in by_trait.items():
        trait = schema.get(key)
        assert trait is not None
        current, past = (_fold_array if trait.value_type == "array" else _fold_single)(profile_id, trait, claims)
        traits.extend(current)
        history.extend(past)
    memories = (_fold_memory(profile_id, *key, claims) for key, claims in by_memory.items())
    return ProfileState(
        traits=tuple(sorted(traits, key=lambda t: t.id)),
        history=tuple(sorted(history, key=lambda h: h.id)),
        memories=tuple(sorted((m for m in memories if m), key=lambda m: m.id)),
        rejected=rejected,
    )


def _fold_single(
    profile_id: str, trait: Trait, claims: Sequence[tuple[Observed, Json]]
) -> tuple[list[FoldedTrait], list[PastValue]]:
    """The value effective latest holds. A retraction ends the value it names, and no other."""
    past: list[PastValue] = []
    run: list[Observed] = []
    value: Json = None
    for observed, claimed in claims:
        if run and _same(claimed, value) != observed.retracted:
            if not observed.retracted:
                run.append(observed)
            continue
        if run:
            past.append(_past(profile_id, trait.key, value, run, observed))
        run, value = ([], None) if observed.retracted else ([observed], claimed)
    if not run:
        return [], past
    folded = FoldedTrait(
        id=stable_id("trait", profile_id, trait.key),
        key=trait.key,
        value=value,
        value_type=trait.value_type,
        category=trait.category,
        confidence=max(o.confidence for o in run),
        valid_from=_known(run[0].since),
        evidence=tuple((o, None) for o in run),
    )
    return [folded], past


def _fold_array(
    profile_id: str, trait: Trait, claims: Sequence[tuple[Observed, Json]]
) -> tuple[list[FoldedTrait], list[PastValue]]:
    """The union of the elements; each element lives and ends on its own."""
    by_element: dict[str, list[tuple[Observed, Json]]] = defaultdict(list)
    for observed, value in claims:
        by_element[memory_key(str(value))].append((observed, value))
    past: list[PastValue] = []
    alive: list[FoldedTrait] = []
    for element in by_element.values():
        spelling = max(element, key=lambda claim: claim[0].rank())[1]
        current, ended = _fold_single(profile_id, trait, [(observed, spelling) for observed, _ in element])
        alive.extend(current)
        past.extend(ended)
    if not alive:
        return [], past
    alive.sort(key=lambda t: (t.valid_from or _BEGINNING, str(t.value)))
    folded = FoldedTrait(
        id=alive[0].id,
        key=trait.key,
        value=[t.value for t in alive],
        value_type=trait.value_type,
        category=trait.category,
        confidence=max(t.confidence for t in alive),
        valid_from=alive[-1].valid_from,
        evidence=tuple((observed, t.value) for t in alive for observed, _ in t.evidence),
    )
    return [folded], past


def _past(profile_id: str, key: str, value: Json, run: Sequence[Observed], ended_by: Observed) -> PastValue:
    return PastValue(
        id=stable_id("past", profile_id, key, run[0].id),
        key=key,
        value=value,
        confidence=max(o.confidence for o in run),
        valid_from=_known(run[0].since),
        valid_to=_known(ended_by.since),
        observation_id=run[0].id,
        ended_by=ended_by.id,
    )


def _fold_memory(profile_id: str, kind: str, key: str, claims: Sequence[Observed]) -> FoldedMemory | None:
    """Claims of the same sentence, oldest first; those up to the last retraction no longer count."""
    ended = max((index for index, o in enumerate(claims) if o.retracted), default=-1)
    alive = claims[ended + 1 :]
    if not alive:
        return None
    latest = max(alive, key=lambda o: (o.said_at or _BEGINNING, o.id))
    return FoldedMemory(
        id=stable_id("memory", profile_id, kind, key),
        type=kind,
        content=str(latest.value),
        importance=max(o.importance or 0.0 for o in alive),
        confidence=max(o.confidence for o in alive),
        occurred_at=latest.said_at,
        evidence=tuple(alive),
    )


def _same(a: Json, b: Json) -> bool:
    """Whether two normalised values are one: names of towns and companies come in any case."""
    return memory_key(a) == memory_key(b) if isinstance(a, str) and isinstance(b, str) else bool(a == b)


def memory_key(content: str) -> str:
    """What two spellings of one sentence share: case, spaces and final punctuation do not count."""
    return " ".join(content.casefold().split()).rstrip(".!… ")


def _known(moment: datetime) -> datetime | None:
    return None if moment == _BEGINNING else moment
