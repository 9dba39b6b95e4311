"""The store's tables. Rows are keyed by ids derived from their content, so that every write is an idempotent upsert.

files ─┬─ rejections
       └─ documents ─┬─ extractions
                     └─ observations ── evidence ──▶ traits | memories ──▶ profiles
persons ── person_identifiers ── identifiers ──▶ profiles
edits ──▶ traits | memories | profiles          audit_log, erased, store_state stand for themselves
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ingest_pipeline.documents import Json
from ingest_pipeline.store.base import Base, Id, JsonType

_PENDING = "state <> 'done' AND superseded_at IS NULL AND profile_id IS NOT NULL"
_UNFOLDED = "changes <> folded"
_DATED = "refold_at IS NOT NULL"
_UNWRITTEN = "summary_attempts IS NOT NULL"


class Profile(Base):
    """One person. ``bucket`` is the stable hash bucket that may serve as its partition.

    ``display_name`` is what sources call them, ``told_name`` the trait ``name`` as folded, which comes first.
    ``changes`` counts what happened to its observations and edits, ``folded`` is the count last folded. ``refold_at``
    is when a claim made for a day to come takes effect. ``merged_into`` is the living profile that it goes on as;
    ``retired_into`` the same without merges by hand. ``summary_source`` is ``template``, ``llm`` or ``manual``;
    ``summary_inputs`` the SHA-256 of what the summary was made from. ``summary_attempts``: how often a model was asked
    for one in vain; null: none is to be asked. ``summary_failed`` is the last reason, a short code.
    """

    __tablename__ = "profiles"
    __table_args__ = (
        Index("ix_profiles_unfolded", "id", sqlite_where=text(_UNFOLDED), postgresql_where=text(_UNFOLDED)),
        Index("ix_profiles_refold", "refold_at", sqlite_where=text(_DATED), postgresql_where=text(_DATED)),
        Index("ix_profiles_unwritten", "id", sqlite_where=text(_UNWRITTEN), postgresql_where=text(_UNWRITTEN)),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    partition_key: Mapped[str] = mapped_column(String(32), unique=True)
    bucket: Mapped[int] = mapped_column(index=True)
    external_id: Mapped[str | None] = mapped_column(unique=True)
    display_name: Mapped[str | None]
    told_name: Mapped[str | None]
    summary: Mapped[str | None] = mapped_column(Text)
    summary_version: Mapped[int] = mapped_column(default=0)
    summary_updated_at: Mapped[datetime | None]
    summary_source: Mapped[str | None] = mapped_column(String(8))
    summary_inputs: Mapped[str | None] = mapped_column(String(64))
    summary_attempts: Mapped[int | None]
    summary_failed: Mapped[str | None] = mapped_column(String(32))
    merged_into: Mapped[str | None] = mapped_column(Id, ForeignKey("profiles.id"), index=True)
    retired_into: Mapped[str | None] = mapped_column(Id, index=True)
    changes: Mapped[int] = mapped_column(default=0)
    folded: Mapped[int] = mapped_column(default=0)
    refold_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class IdentifierRow(Base):
    """(kind, value) → profile. No profile: nobody claims it, or two people of one system do (``ambiguous``).

    ``home_id`` is the profile without merges by hand: what ``profile_id`` is when all of them are taken back.
    """

    __tablename__ = "identifiers"
    __table_args__ = (UniqueConstraint("kind", "value"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    kind: Mapped[str]
    value: Mapped[str]
    profile_id: Mapped[str | None] = mapped_column(Id, ForeignKey("profiles.id"), index=True)
    home_id: Mapped[str | None] = mapped_column(Id, index=True)
    ambiguous: Mapped[bool] = mapped_column(default=False)


class PersonRow(Base):
    """A person as one source describes them: the input of identity resolution.

    A merge or split by hand is one as well, of namespace ``manual:<edit id>``, described when it was decided.
    """

    __tablename__ = "persons"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    namespace: Mapped[str]
    name: Mapped[str | None]
    described_at: Mapped[datetime | None]


class PersonIdentifier(Base):
    """A key of a person. ``relation``: ``key`` (its native id), ``same_as`` (another native id of the same person, says
    the source) or ``has`` (an e-mail or phone); by hand ``merged``, or ``stays`` and ``leaves`` of a split."""

    __tablename__ = "person_identifiers"

    person_id: Mapped[str] = mapped_column(Id, ForeignKey("persons.id"), primary_key=True)
    identifier_id: Mapped[str] = mapped_column(Id, ForeignKey("identifiers.id"), primary_key=True, index=True)
    relation: Mapped[str] = mapped_column(String(8))


class FileRow(Base):
    """A file of the inbox as last read. ``counts``: units by kind, documents, rejected, skipped by reason."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    source: Mapped[str] = mapped_column(String(16))
    format: Mapped[str | None] = mapped_column(String(32))
    size: Mapped[int] = mapped_column(BigInteger)
    mtime: Mapped[float]
    sha256: Mapped[str | None] = mapped_column(String(64))
    read_with: Mapped[str] = mapped_column(String(64))
    counts: Mapped[dict[str, Any]]
    read_at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(String(64))


class Rejection(Base):
    """A unit that could not be read, with where and why, and none of its text."""

    __tablename__ = "rejections"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    file_id: Mapped[str] = mapped_column(Id, ForeignKey("files.id"), index=True)
    position: Mapped[str]
    reason: Mapped[str]
    created_at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(String(64))


class DocumentRow(Base):
    """A unit of raw text about one profile. Never edited: changed text is a new row, the old one superseded.

    ``record_key`` is what the versions of one record about one person share. ``state`` is ``pending``, ``done`` or
    ``failed`` and ``fingerprint`` the extractor that said so: the newest row of ``extractions``, kept here so that
    finding the pending documents costs no more than there are. ``wanted`` says that only its ``trait``s or
    ``memory``s, or ``none``, are to be folded in; null: both. ``given_to`` is the profile that a direct text was given
    for: a merge moves ``profile_id``, a split takes it back there. ``definitions`` are traits that were given with it.
    """

    __tablename__ = "documents"
    __table_args__ = (
        Index(
            "ix_documents_pending", "profile_id", "source", sqlite_where=text(_PENDING), postgresql_where=text(_PENDING)
        ),
        Index("ix_documents_profile", "profile_id", "source"),
        # What is past its source's retention is found without looking at the rest.
        Index("ix_documents_occurred", "source", "occurred_at"),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    record_key: Mapped[str] = mapped_column(Id, index=True)
    identifier_id: Mapped[str | None] = mapped_column(Id, ForeignKey("identifiers.id"), index=True)
    profile_id: Mapped[str | None] = mapped_column(Id, ForeignKey("profiles.id"))
    source: Mapped[str] = mapped_column(String(16))
    origin: Mapped[str]
    kind: Mapped[str] = mapped_column(String(32))
    native_id: Mapped[str]
    text: Mapped[str] = mapped_column(Text)
    segments: Mapped[list[Any]]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata")
    occurred_at: Mapped[datetime | None]
    modified_at: Mapped[datetime | None]
    content_hash: Mapped[str] = mapped_column(String(64))
    file_id: Mapped[str | None] = mapped_column(Id, ForeignKey("files.id"), index=True)
    position: Mapped[str | None]
    superseded_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(16), default="pending")
    fingerprint: Mapped[str | None] = mapped_column(String(128))
    wanted: Mapped[str | None] = mapped_column(String(8))
    given_to: Mapped[str | None] = mapped_column(Id, index=True)
    definitions: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    run_id: Mapped[str | None] = mapped_column(String(64))


class ExtractionRow(Base):
    """The outcome of one (document, extractor fingerprint): ``ok``, ``empty`` or ``failed`` with the reason."""

    __tablename__ = "extractions"

    document_id: Mapped[str] = mapped_column(Id, ForeignKey("documents.id"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(128), primary_key=True)
    model: Mapped[str]
    status: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None]
    n_observations: Mapped[int]
    dropped: Mapped[dict[str, Any]]
    calls: Mapped[int]
    input_tokens: Mapped[int]
    output_tokens: Mapped[int]
    cost_usd: Mapped[float]
    attempts: Mapped[int]
    extracted_at: Mapped[datetime] = mapped_column(index=True)
    run_id: Mapped[str | None] = mapped_column(String(64), index=True)


class ObservationRow(Base):
    """One claim found in one document: ``quote`` is ``documents.text[start_char:end_char]``. Never edited.

    ``superseded``: a newer extraction of the document does not make the claim; kept for lineage, not folded.
    ``rejected`` is the fold's remark why the claim never reaches a profile (a value that the trait schema refuses).
    """

    __tablename__ = "observations"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    document_id: Mapped[str] = mapped_column(Id, ForeignKey("documents.id"), index=True)
    fingerprint: Mapped[str] = mapped_column(String(128))
    position: Mapped[int]
    kind: Mapped[str] = mapped_column(String(8))
    key: Mapped[str]
    value: Mapped[Json] = mapped_column(JsonType)
    confidence: Mapped[float]
    importance: Mapped[float | None]
    quote: Mapped[str] = mapped_column(Text)
    start_char: Mapped[int]
    end_char: Mapped[int]
    role: Mapped[str] = mapped_column(String(16))
    native_id: Mapped[str | None]
    said_at: Mapped[datetime | None]
    effective_at: Mapped[datetime | None]
    stated: Mapped[str | None]
    retracted: Mapped[bool]
    superseded: Mapped[bool] = mapped_column(default=False)
    rejected: Mapped[str | None] = mapped_column(String(64))


class TraitRow(Base):
    """A typed attribute of a profile, as folded. ``value`` of an array trait is a list.

    ``source``: ``extracted``, ``manual`` or ``inferred``. ``alternatives`` are the values that the evidence cannot
    choose between and ``value``: a conflict for a person to decide. ``edit_id``: who set or confirmed it.
    """

    __tablename__ = "traits"
    __table_args__ = (UniqueConstraint("profile_id", "key"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    profile_id: Mapped[str] = mapped_column(Id, ForeignKey("profiles.id"))
    key: Mapped[str]
    value: Mapped[Json] = mapped_column(JsonType)
    value_type: Mapped[str] = mapped_column(String(16))
    category: Mapped[str | None]
    confidence: Mapped[float]
    source: Mapped[str] = mapped_column(String(16))
    alternatives: Mapped[list[Any] | None] = mapped_column(JsonType)
    edit_id: Mapped[str | None] = mapped_column(Id)
    valid_from: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class TraitHistory(Base):
    """A value that held before: from ``valid_from`` until ``valid_to``, when ``ended_by`` ended it.

    ``reason``: ``replaced`` or ``retracted`` by an observation, ``set``, ``cleared`` or ``rejected`` by an edit.
    ``observation_id`` is the first that claimed the value, null for a manual one, which has ``edit_id``.
    """

    __tablename__ = "trait_history"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    profile_id: Mapped[str] = mapped_column(Id, ForeignKey("profiles.id"), index=True)
    key: Mapped[str]
    value: Mapped[Json] = mapped_column(JsonType)
    confidence: Mapped[float]
    valid_from: Mapped[datetime | None]
    valid_to: Mapped[datetime | None]
    reason: Mapped[str] = mapped_column(String(16))
    observation_id: Mapped[str | None] = mapped_column(Id)
    edit_id: Mapped[str | None] = mapped_column(Id)
    ended_by: Mapped[str] = mapped_column(Id)


class Memory(Base):
    """One sentence worth remembering about a profile, as folded. ``occurred_at`` is when it was last said.

    ``source``: ``extracted`` or ``manual``. ``event_at``: the day an event is or was on. ``sightings`` counts the
    independent pieces of evidence. ``edit_id``: who wrote, changed or confirmed it. ``importance`` is as of
    ``occurred_at``; it decays when read.
    """

    __tablename__ = "memories"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    profile_id: Mapped[str] = mapped_column(Id, ForeignKey("profiles.id"), index=True)
    type: Mapped[str] = mapped_column(String(16))
    content: Mapped[str] = mapped_column(Text)
    importance: Mapped[float]
    confidence: Mapped[float]
    occurred_at: Mapped[datetime | None]
    event_at: Mapped[datetime | None]
    source: Mapped[str] = mapped_column(String(16))
    sightings: Mapped[int]
    edit_id: Mapped[str | None] = mapped_column(Id)
    last_accessed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class Evidence(Base):
    """Trait or memory ↔ observation ↔ document: the lineage.

    ``value`` is the element of an array trait, or which of a trait's conflicting values is proven; null: its value.
    """

    __tablename__ = "evidence"
    __table_args__ = (CheckConstraint("(trait_id IS NULL) <> (memory_id IS NULL)", name="ck_evidence_one_fact"),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    profile_id: Mapped[str] = mapped_column(Id, ForeignKey("profiles.id"), index=True)
    trait_id: Mapped[str | None] = mapped_column(Id, ForeignKey("traits.id"), index=True)
    memory_id: Mapped[str | None] = mapped_column(Id, ForeignKey("memories.id"), index=True)
    observation_id: Mapped[str] = mapped_column(Id, ForeignKey("observations.id"), index=True)
    document_id: Mapped[str] = mapped_column(Id, ForeignKey("documents.id"), index=True)
    quote: Mapped[str] = mapped_column(Text)
    start_char: Mapped[int]
    end_char: Mapped[int]
    value: Mapped[Json | None] = mapped_column(JsonType)
    occurred_at: Mapped[datetime | None]


class EditRow(Base):
    """What a person decided about a profile. Append-only: the latest edit of a target holds, whatever is extracted.

    ``profile_id`` is the profile it was made on, which may have been merged since. ``action``: ``set``, ``clear``,
    ``confirm``, ``reject``, ``unreject``, ``revise``; ``merge``, ``split``. ``kind``: ``trait``, ``memory``,
    ``summary`` or ``profile``. ``key`` is the trait key or memory type. ``target`` names the value or sentence meant,
    as ``edits.claim_key`` writes it; ``value`` what is to hold instead, ``confidence`` how sure, if that was given.
    ``actor`` is who did it.
    """

    __tablename__ = "edits"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    profile_id: Mapped[str] = mapped_column(Id, ForeignKey("profiles.id"), index=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(8))
    key: Mapped[str]
    target: Mapped[str | None] = mapped_column(Text)
    value: Mapped[Json | None] = mapped_column(JsonType)
    confidence: Mapped[float | None]


class AuditRow(Base):
    """Who read, changed, exported or erased what of a profile. Holds no values. Append-only: triggers refuse more."""

    __tablename__ = "audit_log"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str]
    via: Mapped[str] = mapped_column(String(8))
    action: Mapped[str] = mapped_column(String(16))
    profile_id: Mapped[str | None] = mapped_column(Id, index=True)
    detail: Mapped[dict[str, Any]]


class ErasedRow(Base):
    """A keyed hash (HMAC-SHA-256, hex) of an identifier of an erased person: what is read of it again is skipped."""

    __tablename__ = "erased"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    erasure_id: Mapped[str] = mapped_column(Id, index=True)
    erased_at: Mapped[datetime]


class ErasureRow(Base):
    """An erasure that a server was asked for and has not proven yet. The profile may be gone already.

    Until ``claimed_until`` a process is at work on it; then any may go on.
    """

    __tablename__ = "erasures"

    profile_id: Mapped[str] = mapped_column(Id, primary_key=True)
    actor: Mapped[str]
    via: Mapped[str] = mapped_column(String(8))
    asked_at: Mapped[datetime]
    claimed_until: Mapped[datetime]


class StateRow(Base):
    """A fact about the store as a whole: ``fold`` is the fingerprint of the rules that all profiles were folded by,
    ``erased`` another one after each change of that table, ``erasure_key`` tells its key from others."""

    __tablename__ = "store_state"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str]
