"""Answers that were paid for, and who is getting the missing ones right now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, cast

from sqlalchemy import Engine, Table, and_, bindparam, delete, exists, select, text, update

from ingest_pipeline.llm.database import Transaction, given, new
from ingest_pipeline.llm.exchange import ProviderReply
from ingest_pipeline.llm.tables import LlmCacheRow
from ingest_pipeline.store.audit_log import Audited
from ingest_pipeline.store.base import Id, UtcDateTime
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.tables import AuditRow
from ingest_pipeline.store.upsert import select_in

CLAIMED, ANSWERED = "claimed", "answered"

_CACHE = cast(Table, LlmCacheRow.__table__)
_KEY = _CACHE.c.key == bindparam("row")
_FIND = select(_CACHE.c.model, _CACHE.c.answer, _CACHE.c.finish_reason).where(_KEY, _CACHE.c.state == ANSWERED)
_HOLDER = select(_CACHE.c.worker).where(_KEY)
_CLAIM = text(
    "INSERT INTO llm_cache (key, state, worker, model, profile_id, created_at) "
    "VALUES (:row, 'claimed', :worker, :model, :profile, :now) ON CONFLICT DO NOTHING RETURNING key"
).bindparams(bindparam("profile", type_=Id), bindparam("now", type_=UtcDateTime()))
_HELD = and_(_KEY, _CACHE.c.state == CLAIMED, _CACHE.c.worker == bindparam("holder"))
_TAKE_OVER = update(_CACHE).where(_HELD).values(new(["worker"]))
_ANSWER = ("state", "worker", "model", "answer", "finish_reason", "input_tokens", "output_tokens", "answered_at")
ERASED = exists().where(AuditRow.profile_id == _CACHE.c.profile_id, AuditRow.action == Audited.ERASE.value)
"""Whether the person that a row is about was erased."""

_FILL = update(_CACHE).where(_KEY, ~ERASED).values(new(_ANSWER))
_RELEASE = delete(_CACHE).where(_HELD)
_FORGET = delete(_CACHE).where(_KEY, _CACHE.c.state == ANSWERED)


@dataclass(frozen=True, slots=True)
class CachedReply:
    """An answer that is already there."""

    key: str
    model: str
    reply: ProviderReply


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else is getting this answer: ``worker``, which may be dead."""

    worker: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What a row is for; its key, and whom it belongs to."""

    key: str
    model: str
    worker: str
    profile_id: str | None = None


def load_answered(engine: Engine, keys: Iterable[str]) -> set[str]:
    """Those of the keys that have an answer."""
    query = select(LlmCacheRow.key).where(LlmCacheRow.state == ANSWERED)
    with reading(engine) as connection:
        return {row.key for row in select_in(connection, query, LlmCacheRow.key, sorted(set(keys)))}


Found: TypeAlias = CachedReply | Busy | None


def find(tx: Transaction, keys: Sequence[str]) -> CachedReply | None:
    """The first answer there is for one of the keys."""
    for key in keys:
        for model, answer, finish_reason in tx.run(_FIND, row=key):
            # What was paid stands in llm_calls; from the cache it costs nothing.
            return CachedReply(key, model, ProviderReply(answer or "", finish_reason or "stop", 0, 0))
    return None


def claim(tx: Transaction, entry: Entry, now: datetime) -> Found:
    """Become the one to get this answer (None), or say why not."""
    if _insert_claim(tx, entry, now):
        return None
    found = find(tx, [entry.key])
    if found is not None:
        return found
    holder = tx.run(_HOLDER, row=entry.key)
    return Busy(holder[0][0] if holder else entry.worker)


def take_over(tx: Transaction, entry: Entry, dead: str) -> bool:
    """Take the claim of a dead worker. False when somebody else was quicker."""
    return bool(tx.count(_TAKE_OVER, row=entry.key, holder=dead, **given(worker=entry.worker)))


def fill(tx: Transaction, entry: Entry, reply: ProviderReply, now: datetime) -> None:
    """Keep the answer, whoever holds the claim meanwhile; but not about a person who was erased since it was asked."""
    answer = given(
        state=ANSWERED,
        worker=entry.worker,
        model=entry.model,
        answer=reply.text,
        finish_reason=reply.finish_reason,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        answered_at=now,
    )
    if not tx.count(_FILL, row=entry.key, **answer):
        release(tx, entry)


def release(tx: Transaction, entry: Entry) -> None:
    """Give up the claim: the next one may try."""
    tx.run(_RELEASE, row=entry.key, holder=entry.worker)


def forget(tx: Transaction, keys: Sequence[str]) -> None:
    """Drop answers, so that asking again asks the provider."""
    for key in keys:
        tx.run(_FORGET, row=key)


def _insert_claim(tx: Transaction, entry: Entry, now: datetime) -> bool:
    values = {"worker": entry.worker, "model": entry.model, "profile": entry.profile_id, "now": now}
    return bool(tx.run(_CLAIM, row=entry.key, **values))
