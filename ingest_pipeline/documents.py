"""What readers produce and the rest of the core passes along: people, records, documents.

    file ── reader ──▶ Record | Rejected | Skipped ── identity ──▶ Document (one per profile)

All offsets are code points of ``text`` (``text[start:end]``), all times are aware and in UTC.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

from msgspec import Struct, field

Json: TypeAlias = Any
"""A value that ``json.dumps`` accepts."""

_NAMESPACE = uuid.UUID("6f1c9a52-0a0e-4d0b-9b61-3f5b1d6d7c11").bytes
_VARIANT = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}


class Source(StrEnum):
    """The static partition dimension. Finer origins (``salesforce``, ``slack``) are on the record."""

    CRM = "crm"
    EMAIL = "email"
    CHAT = "chat"
    DIRECT = "direct"


class Role(StrEnum):
    """Whose words a segment holds. Only EVIDENCE_ROLES can prove a fact about the subject."""

    SUBJECT = "subject"  # the profile's person, in their own words
    FIELD = "field"  # a filled column of the person's record, as a "Label: value" line
    SIGNATURE = "signature"  # the block under their mails: name, title, company, phone
    NOTE = "note"  # a statement about the person in their record, such as a rep's note
    STAFF = "staff"
    OTHER = "other"
    ASSISTANT = "assistant"
    SYSTEM = "system"


EVIDENCE_ROLES = frozenset({Role.SUBJECT, Role.FIELD, Role.SIGNATURE, Role.NOTE})

SIGNATURE_KIND = "signature"
"""``kind`` of a record that is read from many mails: its document is dated by the earliest."""

WHOM, LINKED, PARTIAL = "people", "linked", "partial"
"""Metadata on whom a record names: LINKED when some stand in a list or table of links, which another export of it may
not have; PARTIAL when some could not be made out."""


# What readers make hundreds of thousands of are msgspec structs: a frozen dataclass takes ten times as long to make.


class Identifier(Struct, frozen=True, order=True, cache_hash=True, gc=False):
    """Points at a person: ``email`` (lower case), ``phone`` (E.164), ``salesforce``, ``hubspot``, ``slack`` …"""

    kind: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


class Person(Struct, frozen=True, gc=False):
    """One person as one source describes them.

    ``key`` is native to the source: a CRM id, a Slack user, a bare sender's e-mail address. Two persons with
    different keys in one ``namespace`` (an org, a workspace) are two people unless ``same_as`` says otherwise:
    an e-mail address that both claim is ambiguous, not a reason to merge them.

    ``claims`` is False when the record only refers to the person (a task's ``WhoId``, mail on a list): such a
    reference never creates a profile, it finds one that another record creates, whichever arrives first.
    """

    key: Identifier
    namespace: str
    name: str | None = None
    identifiers: tuple[Identifier, ...] = ()
    same_as: tuple[Identifier, ...] = ()
    claims: bool = True


class Segment(Struct, frozen=True, order=True, gc=False):
    """A span of the document's text with one speaker. Text outside every segment is nobody's."""

    start: int
    end: int
    role: Role
    speaker: str | None = None
    native_id: str | None = None
    occurred_at: datetime | None = None


class Record(Struct, frozen=True, gc=False):
    """A unit of text that a reader found, with the people it is about.

    ``native_id`` is unique within ``origin``; reading the same unit again, from whichever file, gives the same id.
    ``units`` counts what the source counts (messages in a conversation-day). ``position`` says where in ``file``.
    A record with empty text still tells of its people.
    """

    origin: str
    kind: str
    native_id: str
    subjects: tuple[Person, ...]
    text: str
    file: str
    position: str
    segments: tuple[Segment, ...] = ()
    occurred_at: datetime | None = None
    modified_at: datetime | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    units: int = 1


class Rejected(Struct, frozen=True, gc=False):
    """A unit that could not be read. ``reason`` is for people and holds none of the unit's text."""

    file: str
    position: str
    reason: str


class Skipped(Struct, frozen=True, gc=False):
    """Units that hold nothing of a profile, counted by ``reason`` (``bot_message``, ``internal_sender`` …)."""

    file: str
    reason: str
    units: int = 1


Item: TypeAlias = Record | Rejected | Skipped


@dataclass(frozen=True, slots=True)
class Document:
    """A unit of raw text about one profile. Immutable: changed text is another document.

    ``definitions``: traits that were given with it, as ``extraction.definitions`` writes them.
    """

    id: str
    source: Source
    origin: str
    kind: str
    text: str
    segments: tuple[Segment, ...]
    occurred_at: datetime | None
    profile_id: str | None = None
    subject_name: str | None = None
    definitions: str | None = None

    def evidence_segments(self) -> list[Segment]:
        """The spans that may prove something about the subject."""
        return [segment for segment in self.segments if segment.role in EVIDENCE_ROLES]


def stable_id(*parts: str) -> str:
    """A UUID that is always the same for the same parts; lets every write be an upsert without a lookup."""
    # uuid.uuid5 written out (RFC 9562, version 5): millions of these are made, and this takes a third of the time.
    h = hashlib.sha1(_NAMESPACE + "\x1f".join(parts).encode(), usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{_VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


def content_hash(text: str, segments: tuple[Segment, ...] = ()) -> str:
    """SHA-256 of the text and of whose words it holds: a corrected speaker is changed content."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    spans = [(s.start, s.end, s.role.value, s.speaker) for s in segments]
    digest.update(json.dumps(spans).encode())
    return digest.hexdigest()


def utc(moment: datetime) -> datetime:
    """The moment in UTC. Raises ValueError for a naive one: guessing a zone is the reader's decision."""
    if moment.tzinfo is None:
        raise ValueError("naive datetime: the zone must be known here")
    return moment.astimezone(UTC)
