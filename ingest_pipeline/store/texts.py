"""Texts given one by one or many at once, as documents: the same text about the same profile is the same document."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, select, update

from ingest_pipeline.documents import Json, Role, Segment, Source, content_hash, stable_id
from ingest_pipeline.erased import Erased
from ingest_pipeline.extraction.definitions import merged
from ingest_pipeline.llm.tables import LlmBatchDocumentRow
from ingest_pipeline.store.documents import segment_json
from ingest_pipeline.store.erased import load_erased_to_store
from ingest_pipeline.store.people import mark_changed
from ingest_pipeline.store.tables import DocumentRow, Profile
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in, upsert

NONE = "none"
"""A document of which nothing is wanted: it is kept, and not extracted."""

_MERGES = 3
"""How often a profile may be merged while its lock is waited for."""


_LOCKED = select(Profile.id, Profile.merged_into).order_by(Profile.id).with_for_update()
_KNOWN = select(DocumentRow.id, DocumentRow.wanted, DocumentRow.definitions)


@dataclass(frozen=True, slots=True)
class GivenText:
    """A text about a profile. ``source`` and ``metadata`` are the caller's own; ``wanted``, ``definitions``: as in
    ``documents``.

    Without ``segments`` all of it is the person's own words.
    """

    profile_id: str
    text: str
    occurred_at: datetime
    source: str | None = None
    metadata: dict[str, Json] | None = None
    wanted: str | None = None
    definitions: str | None = None
    segments: tuple[Segment, ...] = ()
    origin: str = "api"
    kind: str = "text"


def save_texts(connection: Connection, texts: Sequence[GivenText]) -> list[str | None]:
    """Store texts; their document ids, None for those whose profile is gone.

    The same text again has the source and metadata of the latest call. What an earlier call wanted folded in stays so:
    asking for less takes nothing back. With other trait definitions than before it is to be extracted once more. Where
    erased people occur in it there are blanks; a text that was blanked when they went is still the same.
    """
    now, erased = datetime.now(UTC), load_erased_to_store(connection)
    living = _hold(connection, {text.profile_id for text in texts})
    given = [_row(text, living[text.profile_id], now, erased) if text.profile_id in living else None for text in texts]
    rows: dict[str, dict[str, Any]] = {}
    for row in given:
        if row is not None:
            before = rows.get(row["id"], row)
            rows[row["id"]] = row | _together(before, row)
    changed, redefined = set(), []
    for known in select_in(connection, _KNOWN, DocumentRow.id, sorted(rows)):
        row = rows[known.id]
        row.update(_together({"wanted": known.wanted, "definitions": known.definitions}, row))
        if row["wanted"] != known.wanted:
            changed.add(row["profile_id"])
        if row["definitions"] != known.definitions:
            redefined.append(known.id)
    upsert(connection, DocumentRow, list(rows.values()), update=("metadata", "wanted", "definitions"))
    _extract_again(connection, redefined)
    mark_changed(connection, changed)
    return [None if row is None else str(row["id"]) for row in given]


def _row(given: GivenText, living: str, now: datetime, erased: Erased | None) -> dict[str, Any]:
    text, segments = given.text, given.segments or (Segment(0, len(given.text), Role.SUBJECT),)
    metadata: dict[str, Json] = {"source": given.source, "metadata": given.metadata}
    digest = content_hash(text, segments)
    if erased is not None:
        text, segments = erased.blank_text(text, segments, None)
        metadata = erased.blank_json(metadata)
    record_key = stable_id("direct", given.profile_id, digest)
    document_id = stable_id("document", record_key, digest)
    return {
        "id": document_id, "record_key": record_key, "identifier_id": None, "profile_id": living,
        "source": Source.DIRECT.value, "origin": given.origin, "kind": given.kind, "native_id": document_id,
        "text": text, "segments": [segment_json(segment) for segment in segments],
        "metadata": metadata, "occurred_at": given.occurred_at, "modified_at": None,
        "content_hash": content_hash(text, segments) if erased else digest, "file_id": None, "position": None,
        "superseded_at": None, "state": "pending", "fingerprint": None, "wanted": given.wanted,
        "given_to": given.profile_id, "definitions": given.definitions, "created_at": now, "run_id": None,
    }  # fmt: skip


def _hold(connection: Connection, profiles: Iterable[str]) -> dict[str, str]:
    """Lock the profiles until the transaction ends: each with the one it was merged into since its caller found it."""
    into = {profile: profile for profile in profiles}
    for _ in range(_MERGES):
        wanted = sorted(set(into.values()))
        merged = {row.id: row.merged_into or row.id for row in select_in(connection, _LOCKED, Profile.id, wanted)}
        into = {profile: merged[now] for profile, now in into.items() if now in merged}
        if all(profile == living for profile, living in merged.items()):
            break
    return into


def _together(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, str | None]:
    return {
        "wanted": _union(earlier["wanted"], later["wanted"]),
        "definitions": merged(earlier["definitions"], later["definitions"]),
    }


def _extract_again(connection: Connection, documents: Sequence[str]) -> None:
    """What a provider's batch is asked about them is about other traits."""
    for batch in batches(sorted(documents), IN_LIST):
        connection.execute(update(DocumentRow).where(DocumentRow.id.in_(batch)).values(state="pending"))
        connection.execute(delete(LlmBatchDocumentRow).where(LlmBatchDocumentRow.document_id.in_(batch)))


def _union(a: str | None, b: str | None) -> str | None:
    """What two calls want together; null is both kinds."""
    if a == b or b == NONE:
        return a
    return b if a == NONE else None
