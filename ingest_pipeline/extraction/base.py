"""What an extractor takes and gives. ``offline`` and ``llm`` implement it.

    documents ── Extractor.extract ──▶ Extraction(ok | empty | failed, observations)

An extractor proposes ``Candidate``s with a quote; ``grounding.ground`` turns those whose quote stands in the
document's evidence segments into ``Observation``s and counts the rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ingest_pipeline.documents import Document, Json, Role
from ingest_pipeline.llm.usage import Usage as Usage


class Kind(StrEnum):
    TRAIT = "trait"
    MEMORY = "memory"


class MemoryType(StrEnum):
    FACT = "fact"
    PREFERENCE = "preference"
    EVENT = "event"
    CONTEXT = "context"


class Status(StrEnum):
    """The outcome of one (document, extractor fingerprint). A failure is never ``EMPTY``."""

    OK = "ok"
    EMPTY = "empty"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A claim as proposed, before its quote is found in the document.

    ``key`` is the trait key, or the memory type. ``value`` is the trait's value (one element for an array trait)
    or the memory's sentence. ``confidence`` and ``importance`` are 0–1. ``stated`` is the date phrase as written
    ("last month"). ``retracted`` says that the claim no longer holds. ``start`` is where the quote stands, when
    the extractor knows. ``sensitive`` is the sensitive category that it touches, when the extractor says so.
    """

    kind: Kind
    key: str
    value: Json
    quote: str
    confidence: float
    importance: float | None = None
    stated: str | None = None
    retracted: bool = False
    start: int | None = None
    sensitive: str | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """A claim with its evidence: ``quote == document.text[start:end]``. Never edited once stored.

    ``said_at`` is when the words were said; ``effective_at`` is the stated date resolved against it, else None.
    """

    kind: Kind
    key: str
    value: Json
    confidence: float
    importance: float | None
    quote: str
    start: int
    end: int
    role: Role
    said_at: datetime | None
    effective_at: datetime | None
    stated: str | None = None
    retracted: bool = False
    native_id: str | None = None


@dataclass(frozen=True, slots=True)
class Extraction:
    """The outcome for one document. ``dropped`` counts proposed items that were not kept, by reason."""

    document_id: str
    status: Status
    observations: tuple[Observation, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None
    usage: Usage = field(default_factory=Usage)


class Extractor(Protocol):
    """Text in, observations out. Used from several threads at once."""

    @property
    def model(self) -> str:
        """``offline`` or the provider's model name."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identifies everything that decides the outcome: model, prompt or pattern version, trait schema, options."""
        ...

    def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
        """One outcome per document of one profile and source, in any order.

        Trouble with a document is that document's ``FAILED`` outcome. Raises ConfigurationError when going on
        makes no sense for any document (bad key, spent budget).
        """
        ...

    def check(self) -> None:
        """Find out now, not at the first document, whether the extractor can work. Raises ConfigurationError."""
        ...

    def close(self) -> None:
        """Give up what is under way and free what is held. Idempotent."""
        ...
