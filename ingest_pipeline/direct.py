"""Ingesting one text at once: the core of ``ingest text`` and of the ingest endpoint.

validate ──▶ store the text ──▶ extract it ──▶ fold the profile ──▶ what that changed

With a model the text is committed before it is asked, and nothing is locked while it answers. The offline extractor
answers at once, so all of it is one transaction: half as many commits, and threads that do not get in each other's way.
"""

import json
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, bindparam, select

from ingest_pipeline.documents import Document, Json
from ingest_pipeline.errors import ExtractionError, InvalidInput
from ingest_pipeline.extraction.base import Extraction, Kind, Status
from ingest_pipeline.extraction.definitions import given_definitions
from ingest_pipeline.facts import Fact, ProfileHead
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.llm.errors import LlmStopped
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.sources.jsonl import MAX_METADATA_DEPTH
from ingest_pipeline.store.direct import save_given
from ingest_pipeline.store.documents import load_documents
from ingest_pipeline.store.edits import hold_profile
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.extractions import Selection, save_extractions, still_selected
from ingest_pipeline.store.facts import (
    load_bare_memories,
    load_bare_traits,
    load_profile,
    load_proven,
    load_traits,
    with_proofs,
)
from ingest_pipeline.store.lookup import UNSTORABLE, storable
from ingest_pipeline.store.tables import DocumentRow, Profile
from ingest_pipeline.store.texts import NONE, GivenText

MAX_DATA_BYTES = 102_400
"""UTF-8 bytes of one text, as the HTTP API allows."""

MAX_METADATA_BYTES = 16_384
"""Nested at most as deep as the JSON Lines reader takes: what databases and clients read of it must never fail."""


@dataclass(frozen=True, slots=True)
class TextRequest:
    """A text about one profile. ``source`` is the caller's own word for where it comes from, kept verbatim.

    ``traits``: a list of trait schemas that hold for this text.
    """

    data: str
    source: str | None = None
    metadata: dict[str, Json] | None = None
    extract_traits: bool = True
    extract_memories: bool = True
    occurred_at: datetime | None = None
    traits: Json = None


@dataclass(frozen=True, slots=True)
class Change:
    """A fact that the text is about and what became of it: create, update or delete. ``stored`` is False when the
    tables already said so."""

    fact: Fact
    action: str
    stored: bool


@dataclass(frozen=True, slots=True)
class TextResult:
    """The profile after the update and what the text changed."""

    document_id: str
    profile: ProfileHead
    traits: tuple[Change, ...]
    memories: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class _Stored:
    """A text in the store. ``document`` when it is still to be extracted; ``asked_for_more`` when what an earlier call
    left out is to be folded in now."""

    id: str
    document: Document | None
    asked_for_more: bool


def ingest_text(pipeline: Pipeline, profile_id: str, request: TextRequest) -> TextResult:
    """Store, extract and fold one text. The same text again gives the same facts, without a call.

    Raises InvalidInput for a bad request, ExtractionError when the extraction failed: the text is kept then, and
    ``ingest retry`` or a repeated call finishes it.
    """
    given = _given(pipeline, profile_id, request)
    if pipeline.settings.model == "offline":
        result = write(pipeline.engine, lambda connection: _at_once(connection, pipeline, given))
        if isinstance(result, ExtractionError):
            raise result
        return result
    stored = write(pipeline.engine, lambda connection: _store(connection, pipeline, given))
    extraction = None if stored.document is None else _extract(pipeline.engine, pipeline, stored.document)
    return write(pipeline.engine, lambda connection: _apply(connection, pipeline, given, stored, extraction))


def store_text(pipeline: Pipeline, profile_id: str, request: TextRequest) -> str:
    """Store one text, to be extracted later; returns the document's id. Raises InvalidInput."""
    given = _given(pipeline, profile_id, request)
    return write(pipeline.engine, lambda connection: save_given(connection, given))


def _given(pipeline: Pipeline, profile_id: str, request: TextRequest) -> GivenText:
    check_request(request)
    return GivenText(
        profile_id,
        request.data,
        request.occurred_at or datetime.now(UTC),
        request.source,
        request.metadata,
        wanted(request),
        given_definitions(request.traits, pipeline.schema),
    )


def _store(connection: Connection, pipeline: Pipeline, given: GivenText) -> _Stored:
    _fold(connection, pipeline, given.profile_id)
    document_id = save_given(connection, given)
    row = connection.execute(_STANDING, {"document_id": document_id}).one()
    done = row.state == "done" and row.fingerprint == pipeline.extractor.fingerprint
    (document,) = [None] if done or given.wanted == NONE else load_documents(connection, [document_id])
    return _Stored(document_id, document, asked_for_more=row.changes != row.folded)


_STANDING = (
    select(DocumentRow.state, DocumentRow.fingerprint, Profile.changes, Profile.folded)
    .join(Profile, Profile.id == DocumentRow.profile_id)
    .where(DocumentRow.id == bindparam("document_id"))
)


def _at_once(connection: Connection, pipeline: Pipeline, given: GivenText) -> TextResult | ExtractionError:
    """An error is given back, not raised: the text is kept."""
    profile_id = hold_profile(connection, given.profile_id)
    stored = _store(connection, pipeline, given)
    try:
        extraction = None if stored.document is None else _extract(connection, pipeline, stored.document)
    except ExtractionError as error:
        return error
    return _fold_in(connection, pipeline, profile_id, given, stored, extraction)


def _apply(
    connection: Connection, pipeline: Pipeline, given: GivenText, stored: _Stored, extraction: Extraction | None
) -> TextResult:
    profile_id = hold_profile(connection, given.profile_id)
    if not stored.asked_for_more:
        # What is still to be folded for other reasons is not.
        _fold(connection, pipeline, profile_id)
    return _fold_in(connection, pipeline, profile_id, given, stored, extraction)


def _fold_in(
    connection: Connection,
    pipeline: Pipeline,
    profile_id: str,
    given: GivenText,
    stored: _Stored,
    extraction: Extraction | None,
) -> TextResult:
    """Nobody else changes the profile meanwhile, so what changes is this text's doing."""
    traits_before, memories_before = load_traits(connection, profile_id), load_bare_memories(connection, profile_id)
    if extraction is not None:
        extractor = pipeline.extractor
        save_extractions(connection, [extraction], extractor.fingerprint, extractor.model, run_id=None)
    _fold(connection, pipeline, profile_id)
    proven = load_proven(connection, stored.id)
    traits = _changes(traits_before, load_bare_traits(connection, profile_id), proven)
    memories = _changes(memories_before, load_bare_memories(connection, profile_id), proven)
    return TextResult(
        document_id=stored.id,
        profile=load_profile(connection, profile_id),
        traits=_proven(connection, traits) if given.wanted in (None, Kind.TRAIT) else (),
        memories=_proven(connection, memories) if given.wanted in (None, Kind.MEMORY) else (),
    )


def extract_stored(pipeline: Pipeline, profile_id: str, document_ids: Sequence[str]) -> None:
    """Extract stored documents of a profile that still wait for it, together, and fold the profile.

    What fails is kept as failed. Raises an LlmStopped when no call makes sense; what was finished by then is stored.
    """
    extractor = pipeline.extractor
    with reading(pipeline.engine) as connection:
        waiting = still_selected(connection, Selection(extractor.fingerprint), document_ids)
        documents = load_documents(connection, waiting)
    extractions: list[Extraction] = []
    try:
        extractions.extend(extractor.extract(documents))
    finally:
        save_extractions(pipeline.engine, extractions, extractor.fingerprint, extractor.model, run_id=None)
    _fold(pipeline.engine, pipeline, profile_id)


def check_request(request: TextRequest) -> None:
    """Raises InvalidInput with the API's error code for what must not be stored."""
    if not isinstance(request.data, str) or not request.data.strip():
        raise InvalidInput("invalid_data", "data is required and must be a non-empty string", "data")
    if len(request.data.encode("utf-8", "surrogatepass")) > MAX_DATA_BYTES:
        raise InvalidInput(
            "data_too_large", f"data exceeds {MAX_DATA_BYTES:,} bytes of UTF-8; send it in parts", "data"
        )
    if not storable(request.data):
        raise InvalidInput("invalid_data", UNSTORABLE.format("data"), "data")
    if request.source is not None and not (isinstance(request.source, str) and storable(request.source)):
        raise InvalidInput("invalid_source", "source must be a string of valid Unicode", "source")
    if request.metadata is not None:
        check_metadata(request.metadata)
    if request.occurred_at is not None and request.occurred_at > datetime.now(UTC) + _CLOCKS_DIFFER:
        # What is said latest holds: for as long as nothing can be later, nothing would change it.
        raise InvalidInput("invalid_occurred_at", "occurredAt must not be in the future", "occurredAt")


def check_metadata(metadata: Json) -> None:
    """Raises InvalidInput for what is not a JSON object that every database takes."""
    if not isinstance(metadata, dict):
        raise InvalidInput("invalid_metadata", "metadata must be a JSON object", "metadata")
    try:
        # Neither NaN nor a deeper nesting than the interpreter's is JSON to PostgreSQL.
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        raise InvalidInput("invalid_metadata", "metadata must be a JSON object", "metadata") from None
    if not storable(text) or _ESCAPED_NUL.search(text):
        raise InvalidInput("invalid_metadata", UNSTORABLE.format("metadata"), "metadata")
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise InvalidInput("invalid_metadata", f"metadata exceeds {MAX_METADATA_BYTES:,} bytes", "metadata")
    if _is_deeper(metadata, MAX_METADATA_DEPTH):
        raise InvalidInput("invalid_metadata", f"metadata is nested more than {MAX_METADATA_DEPTH} deep", "metadata")


def _is_deeper(value: Json, levels: int) -> bool:
    inner = [value]
    for _ in range(levels):
        held = (each.values() if isinstance(each, dict) else each for each in inner)
        inner = [one for values in held for one in values if isinstance(one, dict | list)]
    return bool(inner)


_CLOCKS_DIFFER = timedelta(days=1)
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def wanted(request: TextRequest) -> str | None:
    """What of the text is folded in: one kind, ``none``, or null for both. Extraction finds both by one call, so a
    later call that wants more needs no other."""
    if request.extract_traits and request.extract_memories:
        return None
    if not request.extract_traits and not request.extract_memories:
        return NONE
    return Kind.TRAIT.value if request.extract_traits else Kind.MEMORY.value


def _fold(where: Engine | Connection, pipeline: Pipeline, profile_id: str) -> None:
    rules = pipeline.settings.fold_rules()
    for _ in fold_profiles(where, pipeline.schema, [profile_id], rules, changed_only=True):
        pass


def _extract(where: Engine | Connection, pipeline: Pipeline, document: Document) -> Extraction:
    extractor = pipeline.extractor
    try:
        (extraction,) = extractor.extract([document])
    except LlmStopped as stopped:
        raise ExtractionError(stopped.code, f"{stopped.for_callers}; {_kept(document.id)}", document.id) from stopped
    if extraction.status is Status.FAILED:
        save_extractions(where, [extraction], extractor.fingerprint, extractor.model, run_id=None)
        reason = extraction.reason or "unknown"
        raise ExtractionError(reason, f"extraction failed ({reason}); {_kept(document.id)}", document.id)
    return extraction


def _kept(document_id: str) -> str:
    return f"the text is kept as document {document_id}, `ingest retry` or the same call finishes it"


def _changes(before: Sequence[Fact], after: Sequence[Fact], proven: Container[str]) -> list[Change]:
    """What the text proves now, and what it ended."""
    old = {fact.id: fact for fact in before}
    new = {fact.id for fact in after}
    changes = []
    for fact in after:
        known = old.get(fact.id)
        changed = known is None or (known.value, known.confidence) != (fact.value, fact.confidence)
        if changed or fact.id in proven:
            changes.append(Change(fact, "create" if known is None else "update", stored=changed))
    return changes + [Change(fact, "delete", stored=True) for fact in before if fact.id not in new]


def _proven(connection: Connection, changes: Sequence[Change]) -> tuple[Change, ...]:
    """The changes with what proves the facts; deleted ones keep what proved them."""
    facts = with_proofs(connection, [change.fact for change in changes if change.action != "delete"])
    return tuple(replace(change, fact=facts.get(change.fact.id, change.fact)) for change in changes)
