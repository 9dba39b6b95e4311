"""What is known of one profile, with what proves it."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from ingest_pipeline.documents import Json
from ingest_pipeline.edits import Edit, claim_key


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
class ProfileHead:
    """One profile without what is folded for it."""

    id: str
    external_id: str | None
    name: str | None
    summary: str | None
    summary_version: int
    summary_updated_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ProfileFacts(ProfileHead):
    """One profile with everything folded for it. ``documents`` counts current ones by source."""

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
