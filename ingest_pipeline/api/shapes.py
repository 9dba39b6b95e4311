"""What the API answers, as the OpenAPI document describes it; ``wire`` makes it. Fields may be added."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ingest_pipeline.documents import Json
from ingest_pipeline.extraction.base import MemoryType

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_denied_error",
    "not_found_error",
    "rate_limit_error",
    "upstream_error",
    "internal_error",
]


class Shape(BaseModel):
    model_config = ConfigDict(extra="allow")


class ErrorDetail(Shape):
    message: str = Field(description="What is wrong and what to do. Holds no personal text.")
    type: ErrorType
    code: str
    param: str | None = Field(None, description="The field that is meant.")
    details: dict[str, Json] | None = None


class Error(Shape):
    error: ErrorDetail


class Success(Shape):
    success: Literal[True]


class Alive(Shape):
    status: str


class Profile(Shape):
    id: str
    externalId: str | None
    summary: str | None
    summaryVersion: int
    summaryUpdatedAt: AwareDatetime | None
    createdAt: AwareDatetime
    updatedAt: AwareDatetime


class Counts(Shape):
    documents: int
    traits: int
    memories: int


class ListedProfile(Profile):
    name: str | None
    identifiers: list[str]
    counts: Counts


class Evidence(Shape):
    documentId: str
    quote: str = Field(description="The document's text from startChar to endChar, in code points.")
    startChar: int
    endChar: int
    occurredAt: AwareDatetime | None


class Lineage(Evidence):
    source: str
    origin: str
    metadata: dict[str, Json]
    observationId: str
    model: str | None
    extractedAt: AwareDatetime | None


class Conflict(Shape):
    value: Json
    evidence: list[Evidence]


class Edit(Shape):
    id: str
    at: AwareDatetime
    by: str
    action: str
    kind: str
    key: str
    target: str | None
    value: Json
    confidence: float | None


class Trait(Shape):
    id: str
    profileId: str
    key: str
    category: str | None
    valueType: Literal["string", "number", "boolean", "array", "enum"]
    value: Json
    confidence: float = Field(ge=0, le=1)
    source: Literal["extracted", "manual", "inferred"]
    sourceMessageIds: list[str]
    createdAt: AwareDatetime
    updatedAt: AwareDatetime
    conflicts: list[Conflict] = Field(description="Values that the evidence supports as well as this one.")
    edit: Edit | None = Field(description="The decision by hand that made it, if one did.")


class TraitWithLineage(Trait):
    evidence: list[Lineage]


class PlainMemory(Shape):
    id: str
    profileId: str
    content: str
    type: MemoryType
    importance: float = Field(ge=0, le=1)
    decayFactor: float = Field(ge=0, le=1)
    sourceMessageIds: list[str]
    createdAt: AwareDatetime
    lastAccessedAt: AwareDatetime | None


class Memory(PlainMemory):
    eventAt: AwareDatetime | None
    sightings: int = Field(description="How many independent texts say it.")
    edit: Edit | None


class MemoryWithLineage(Memory):
    evidence: list[Lineage]


class ChangedTrait(Shape):
    key: str
    value: Json
    confidence: float
    action: Literal["create", "update", "delete"]
    evidence: list[Evidence]


class ChangedMemory(PlainMemory):
    evidence: list[Evidence]


class Stats(Shape):
    """What really changed in the tables."""

    traitsCreated: int
    traitsUpdated: int
    memoriesCreated: int


class Extracted(Shape):
    traits: list[ChangedTrait]
    memories: list[ChangedMemory]
    stats: Stats


class Ingested(Shape):
    profile: Profile
    extracted: Extracted
    source: str | None
    metadata: dict[str, Any] | None
    documentId: str


class Job(Shape):
    id: str
    state: Literal["receiving", "queued", "running", "done"]
    total: int
    stored: int
    rejected: int
    extracted: int
    failed: int
    problem: str | None = Field(description="Why it waits: a spent budget, a provider that does not answer.")
    createdAt: AwareDatetime
    endedAt: AwareDatetime | None


class Failure(Shape):
    line: int
    code: str
    message: str
    documentId: str | None


class Accepted(Shape):
    job: Job


class Progress(Accepted):
    failures: list[Failure]
    more: bool = Field(description="Whether there are failures behind the last one.")


class Profiles(Shape):
    profiles: list[ListedProfile]
    total: int


class OneProfile(Shape):
    profile: Profile


class WholeProfile(OneProfile):
    traits: list[Trait]
    recentMemories: list[Memory]


class Deleted(Shape):
    traits: int
    memories: int
    messages: int


class Erased(Success):
    deleted: Deleted
    clean: bool = Field(description="Whether it is proven that nothing is left in the database's files.")


class Erasing(Shape):
    success: Literal[False]
    state: Literal["running"]


class Message(Shape):
    id: str
    role: str
    content: str
    createdAt: AwareDatetime | None


class Exported(OneProfile):
    traits: list[Trait]
    memories: list[Memory]
    history: list[dict[str, Json]]
    evidence: list[Lineage]
    edits: list[Edit]
    messages: list[Message]
    documents: list[dict[str, Json]]
    exportedAt: AwareDatetime


class Traits(Shape):
    traits: list[Trait]


class OneTrait(Shape):
    trait: Trait


class Memories(Shape):
    memories: list[Memory]


class OneMemory(Shape):
    memory: Memory


class FullLineage(OneProfile):
    traits: list[TraitWithLineage]
    memories: list[MemoryWithLineage]
    history: list[dict[str, Json]]


class ChatCompletion(Shape):
    """As the upstream gives it; with ``stream`` server-sent events."""

    id: str | None = None
    choices: list[dict[str, Json]] = []


class Models(Shape):
    object: Literal["list"]
    data: list[dict[str, Json]]
