"""Answers that were paid for, and who is getting the missing ones right now."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ingest_pipeline.llm.exchange import ProviderReply
from ingest_pipeline.llm.tables import LlmCacheRow

CLAIMED, ANSWERED = "claimed", "answered"


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


Found: TypeAlias = CachedReply | Busy | None


class AnswerCache:
    """Rows of ``llm_cache`` on a given connection; its transactions are the caller's."""

    def __init__(self, dialect: str) -> None:
        self._insert = sqlite.insert if dialect == "sqlite" else postgresql.insert

    def find(self, connection: Connection, keys: Sequence[str]) -> CachedReply | None:
        """The first answer there is for one of the keys."""
        query = select(LlmCacheRow.key, LlmCacheRow.model, LlmCacheRow.answer, LlmCacheRow.finish_reason).where(
            LlmCacheRow.key.in_(keys), LlmCacheRow.state == ANSWERED
        )
        rows = {row.key: row for row in connection.execute(query)}
        for key in keys:
            if key in rows:
                row = rows[key]
                # What was paid stands in llm_calls; from the cache it costs nothing.
                return CachedReply(key, row.model, ProviderReply(row.answer or "", row.finish_reason or "stop", 0, 0))
        return None

    def claim(self, connection: Connection, entry: Entry, now: datetime) -> Found:
        """Become the one to get this answer (None), or say why not."""
        row = self._insert(LlmCacheRow).values(
            key=entry.key,
            state=CLAIMED,
            worker=entry.worker,
            model=entry.model,
            profile_id=entry.profile_id,
            created_at=now,
        )
        if connection.execute(row.on_conflict_do_nothing().returning(LlmCacheRow.key)).first() is not None:
            return None
        if (found := self.find(connection, [entry.key])) is not None:
            return found
        worker = connection.execute(select(LlmCacheRow.worker).where(LlmCacheRow.key == entry.key)).scalar()
        return Busy(worker or entry.worker)

    def take_over(self, connection: Connection, entry: Entry, dead: str) -> bool:
        """Take the claim of a dead worker. False when somebody else was quicker."""
        mine = update(LlmCacheRow).where(
            LlmCacheRow.key == entry.key, LlmCacheRow.state == CLAIMED, LlmCacheRow.worker == dead
        )
        return bool(connection.execute(mine.values(worker=entry.worker)).rowcount)

    def fill(self, connection: Connection, entry: Entry, reply: ProviderReply, now: datetime) -> None:
        """Keep the answer, whoever holds the claim meanwhile."""
        answer = {
            "state": ANSWERED,
            "worker": entry.worker,
            "model": entry.model,
            "answer": reply.text,
            "finish_reason": reply.finish_reason,
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
            "answered_at": now,
        }
        row = self._insert(LlmCacheRow).values(key=entry.key, profile_id=entry.profile_id, created_at=now, **answer)
        connection.execute(row.on_conflict_do_update(index_elements=["key"], set_=answer))

    def release(self, connection: Connection, entry: Entry) -> None:
        """Give up the claim: the next one may try."""
        connection.execute(
            delete(LlmCacheRow).where(
                LlmCacheRow.key == entry.key, LlmCacheRow.state == CLAIMED, LlmCacheRow.worker == entry.worker
            )
        )

    def forget(self, connection: Connection, keys: Sequence[str]) -> None:
        """Drop answers, so that asking again asks the provider."""
        connection.execute(delete(LlmCacheRow).where(LlmCacheRow.key.in_(keys), LlmCacheRow.state == ANSWERED))
