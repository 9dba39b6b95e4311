"""Ingesting one text at once: the core of ``ingest text`` and of the ingest endpoint.

validate ──▶ store the text ──▶ extract it ──▶ fold the profile ──▶ what that changed
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from ingest_pipeline.documents import Json
from ingest_pipeline.errors import ExtractionError, InvalidInput
from ingest_pipeline.extraction.base import Extraction, Extractor, Kind, Status
from ingest_pipeline.extraction.definitions import given_definitions
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.llm.errors import LlmStopped
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.store.direct import is_extracted, save_text
from ingest_pipeline.store.documents import load_documents
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.extractions import Selection, save_extractions
from ingest_pipeline.store.facts import Fact, ProfileFacts, load_facts
from ingest_pipeline.store.lookup import storable
from ingest_pipeline.store.tables import DocumentRow
from ingest_pipeline.store.texts import NONE
from ingest_pipeline.store.upsert import select_in

MAX_DATA_BYTES = 102_400
"""UTF-8 bytes of one text, as the HTTP API allows."""

MAX_METADATA_BYTES = 16_384


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
    profile: ProfileFacts
    traits: tuple[Change, ...]
    memories: tuple[Change, ...]


def ingest_text(pipeline: Pipeline, profile_id: str, request: TextRequest) -> TextResult:
    """Store, extract and fold one text. The same text again gives the same facts, without a call.

    Raises InvalidInput for a bad request, ExtractionError when the extraction failed: the text is kept then, and
    ``ingest retry`` or a repeated call finishes it.
    """
    check_request(request)
    definitions = given_definitions(request.traits, pipeline.schema)
    # What is still to be folded for other reasons is not this text's doing.
    _fold(pipeline, profile_id)
    before = load_facts(pipeline.engine, profile_id)
    document_id = _save(pipeline, profile_id, request, definitions)
    if wanted(request) != NONE and not is_extracted(pipeline.engine, document_id, pipeline.extractor.fingerprint):
        _extract(pipeline, pipeline.extractor, document_id)
    _fold(pipeline, profile_id)
    after = load_facts(pipeline.engine, profile_id)
    return TextResult(
        document_id=document_id,
        profile=after,
        traits=tuple(_changes(before.traits, after.traits, document_id)) if request.extract_traits else (),
        memories=tuple(_changes(before.memories, after.memories, document_id)) if request.extract_memories else (),
    )


def store_text(pipeline: Pipeline, profile_id: str, request: TextRequest) -> str:
    """Store one text, to be extracted later; returns the document's id. Raises InvalidInput."""
    check_request(request)
    return _save(pipeline, profile_id, request, given_definitions(request.traits, pipeline.schema))


def _save(pipeline: Pipeline, profile_id: str, request: TextRequest, definitions: str | None) -> str:
    return save_text(
        pipeline.engine,
        profile_id,
        request.data,
        request.source,
        request.metadata,
        request.occurred_at or datetime.now(UTC),
        wanted(request),
        definitions,
    )


def extract_stored(pipeline: Pipeline, profile_id: str, document_ids: Sequence[str]) -> None:
    """Extract stored documents of a profile that still wait for it, together, and fold the profile.

    What fails is kept as failed. Raises an LlmStopped when no call makes sense; what was finished by then is stored.
    """
    extractor = pipeline.extractor
    query = select(DocumentRow.id).where(*Selection(extractor.fingerprint).conditions())
    with reading(pipeline.engine) as connection:
        waiting = [row.id for row in select_in(connection, query, DocumentRow.id, document_ids)]
        documents = load_documents(connection, waiting)
    extractions: list[Extraction] = []
    try:
        extractions.extend(extractor.extract(documents))
    finally:
        save_extractions(pipeline.engine, extractions, extractor.fingerprint, extractor.model, run_id=None)
    _fold(pipeline, profile_id)


def check_request(request: TextRequest) -> None:
    """Raises InvalidInput with the API's error code for what must not be stored."""
    if not isinstance(request.data, str) or not request.data.strip():
        raise InvalidInput("invalid_data", "data is required and must be a non-empty string", "data")
    if len(request.data.encode("utf-8", "surrogatepass")) > MAX_DATA_BYTES:
        raise InvalidInput(
            "data_too_large", f"data exceeds {MAX_DATA_BYTES:,} bytes of UTF-8; send it in parts", "data"
        )
    if not storable(request.data):
        raise InvalidInput("invalid_data", _UNSTORABLE.format("data"), "data")
    if request.source is not None and not (isinstance(request.source, str) and storable(request.source)):
        raise InvalidInput("invalid_source", "source must be a string of valid Unicode", "source")
    if request.metadata is not None:
        check_metadata(request.metadata)


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
        raise InvalidInput("invalid_metadata", _UNSTORABLE.format("metadata"), "metadata")
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise InvalidInput("invalid_metadata", f"metadata exceeds {MAX_METADATA_BYTES:,} bytes", "metadata")


_UNSTORABLE = "{} holds NUL or half a surrogate pair, which no database stores"
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def wanted(request: TextRequest) -> str | None:
    """What of the text is folded in: one kind, ``none``, or null for both. Extraction finds both by one call, so a
    later call that wants more needs no other."""
    if request.extract_traits and request.extract_memories:
        return None
    if not request.extract_traits and not request.extract_memories:
        return NONE
    return Kind.TRAIT.value if request.extract_traits else Kind.MEMORY.value


def _fold(pipeline: Pipeline, profile_id: str) -> None:
    rules = pipeline.settings.fold_rules()
    for _ in fold_profiles(pipeline.engine, pipeline.schema, [profile_id], rules, changed_only=True):
        pass


def _extract(pipeline: Pipeline, extractor: Extractor, document_id: str) -> None:
    with reading(pipeline.engine) as connection:
        documents = load_documents(connection, [document_id])
    try:
        extractions = list(extractor.extract(documents))
    except LlmStopped as stopped:
        raise ExtractionError(stopped.code, f"{stopped}; {_kept(document_id)}", document_id) from stopped
    save_extractions(pipeline.engine, extractions, extractor.fingerprint, extractor.model, run_id=None)
    for extraction in extractions:
        if extraction.status is Status.FAILED:
            reason = extraction.reason or "unknown"
            raise ExtractionError(reason, f"extraction failed ({reason}); {_kept(document_id)}", document_id)


def _kept(document_id: str) -> str:
    return f"the text is kept as document {document_id}, `ingest retry` or the same call finishes it"


def _changes(before: tuple[Fact, ...], after: tuple[Fact, ...], document_id: str) -> Iterator[Change]:
    """What this document proves now, and what it ended."""
    old = {fact.id: fact for fact in before}
    new = {fact.id: fact for fact in after}
    for fact in after:
        known = old.get(fact.id)
        changed = known is None or (known.value, known.confidence) != (fact.value, fact.confidence)
        if changed or any(proof.document_id == document_id for proof in fact.proofs):
            yield Change(fact, "create" if known is None else "update", stored=changed)
    for fact in before:
        if fact.id not in new:
            yield Change(fact, "delete", stored=True)
