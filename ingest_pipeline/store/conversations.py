"""What the LLM proxy reads and writes: what is known of a user, what they said."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Connection, Engine, bindparam, func, select

from ingest_pipeline.decay import days_since, decay
from ingest_pipeline.documents import Json, Source
from ingest_pipeline.errors import ProfileNotFound
from ingest_pipeline.proxy.injection import Known
from ingest_pipeline.proxy.said import Said
from ingest_pipeline.store.documents import segment_json
from ingest_pipeline.store.edits import hold_profile
from ingest_pipeline.store.engine import looking, reading, write
from ingest_pipeline.store.erased import load_erased_to_store
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.tables import DocumentRow, EditRow, Evidence, Memory, Profile, TraitRow
from ingest_pipeline.store.upsert import select_in, upsert

ORIGIN = "llm_proxy"
MEMORIES = 10
"""As many are injected, the weightiest as of today."""
_LOOKED_AT = 100
"""Memories whose decay is worked out: those that were weightiest when they were said."""
_TICK = timedelta(milliseconds=1)


# Made once: making a query takes as long as asking it.
_OF: BindParameter[str] = bindparam("profile")
_SUMMARY = select(Profile.summary).where(Profile.id == _OF)
_IS_SHOWN = Evidence.value.is_(None) | (TraitRow.value_type == "array")
_SAID_AT = select(func.max(Evidence.occurred_at)).where(Evidence.trait_id == TraitRow.id, _IS_SHOWN).scalar_subquery()
_DECIDED_AT = select(EditRow.at).where(EditRow.id == TraitRow.edit_id).scalar_subquery()
_TRAITS = select(
    TraitRow.key, TraitRow.value, TraitRow.confidence, _SAID_AT.label("said_at"), _DECIDED_AT.label("decided_at")
).where(TraitRow.profile_id == _OF)
_MEMORIES = (
    select(Memory.type, Memory.content, Memory.importance, Memory.occurred_at, Memory.event_at)
    .where(Memory.profile_id == _OF)
    .order_by(Memory.importance.desc(), Memory.occurred_at.desc(), Memory.id)
    .limit(_LOOKED_AT)
)
_VERSIONS = select(DocumentRow.id, DocumentRow.record_key)


def load_known(engine: Engine, profile_id: str, now: datetime) -> Known:
    """By three short queries."""
    this = {"profile": profile_id}
    with looking(engine) as connection:
        summary = connection.execute(_SUMMARY, this).scalar()
        held = list(connection.execute(_TRAITS, this))
        rows = list(connection.execute(_MEMORIES, this))
    rows.sort(key=lambda row: -row.importance * decay(row.type, row.occurred_at, row.event_at, now))
    return Known(
        summary,
        {row.key: (row.value, row.confidence) for row in held},
        tuple(row.content for row in rows[:MEMORIES]),
        {
            row.key: days_since(max(moments), now)
            for row in held
            if (moments := [moment for moment in (row.said_at, row.decided_at) if moment])
        },
    )


def save_said(
    engine: Engine,
    profile_id: str,
    said: Sequence[Said],
    metadata: Mapping[str, Json],
    now: datetime,
    definitions: str | None = None,
) -> list[str]:
    """Store what ``find_new`` found and return the documents' ids; all of it or nothing.

    Nothing when the profile was erased meanwhile. ``definitions``: as in ``documents``. ``now`` dates what was said;
    what was said earlier in the same conversation comes a moment before it, since nobody says when.
    """
    if not said:
        return []
    latest = max(each.position for each in said)

    def save(connection: Connection) -> None:
        # It may have been merged since the caller found it.
        holder = hold_profile(connection, profile_id)
        erased = load_erased_to_store(connection)
        blank = erased.blank if erased else str
        kept = erased.blank_json(dict(metadata)) if erased else dict(metadata)
        shared = {"profile_id": holder, "given_to": profile_id, "metadata": kept, "definitions": definitions}
        rows = [_row(each, blank(each.text), now, now - (latest - each.position) * _TICK) | shared for each in said]
        upsert(connection, DocumentRow, rows)

    try:
        write(engine, save)
    except ProfileNotFound:
        return []
    return [each.id for each in said]


def find_new(engine: Engine, said: Sequence[Said]) -> list[Said]:
    """What of it is not stored yet."""
    with looking(engine) as connection:
        known = list(select_in(connection, _VERSIONS, DocumentRow.record_key, {each.record_key for each in said}))
    ids, words = {row.id for row in known}, {row.record_key for row in known}
    return [each for each in said if each.id not in ids and (each.now or each.record_key not in words)]


def _row(said: Said, text: str, now: datetime, occurred_at: datetime) -> dict[str, Any]:
    """Without what all of a request share."""
    return {
        "id": said.id, "record_key": said.record_key, "identifier_id": None, "source": Source.DIRECT.value,
        "origin": ORIGIN, "kind": "message", "native_id": said.id, "text": text,
        "segments": [segment_json(segment) for segment in said.segments], "occurred_at": occurred_at,
        "modified_at": None, "content_hash": said.content_hash, "file_id": None, "position": None,
        "superseded_at": None, "state": "pending", "fingerprint": None, "wanted": None, "created_at": now,
        "run_id": None,
    }  # fmt: skip


def load_unextracted(engine: Engine, fingerprint: str, limit: int) -> list[tuple[str, str]]:
    """(profile, document) of what was said and never extracted: a server that was killed left it."""
    query = (
        select(DocumentRow.profile_id, DocumentRow.id)
        .where(
            *Selection(fingerprint, sources=frozenset({Source.DIRECT})).conditions(),
            DocumentRow.state == "pending",
            DocumentRow.origin == ORIGIN,
        )
        .order_by(DocumentRow.profile_id, DocumentRow.occurred_at, DocumentRow.id)
        .limit(limit)
    )
    with reading(engine) as connection:
        return [(row.profile_id, row.id) for row in connection.execute(query)]
