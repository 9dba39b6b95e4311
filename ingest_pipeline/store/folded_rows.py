"""Folded states as rows of the profile tables, and what separates the stored rows from them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Select, delete, select
from sqlalchemy.orm import DeclarativeBase

from ingest_pipeline.documents import Json, stable_id
from ingest_pipeline.states import FoldedMemory, FoldedTrait, Observed, PastValue, ProfileState
from ingest_pipeline.store.upsert import IN_LIST, LISTED, batches, select_listed, upsert

Row = dict[str, Any]


class Rows:
    """The rows that the states stand for, by table and id."""

    def __init__(self, now: datetime) -> None:
        self._stamps = {"created_at": now, "updated_at": now}
        self.traits: dict[str, Row] = {}
        self.history: dict[str, Row] = {}
        self.memories: dict[str, Row] = {}
        self.evidence: dict[str, Row] = {}

    def add(self, profile_id: str, state: ProfileState) -> None:
        for trait in state.traits:
            self.traits[trait.id] = _trait(profile_id, trait) | self._stamps
            for observed, value in trait.evidence:
                self._add_evidence(profile_id, observed, trait_id=trait.id, value=value)
        for memory in state.memories:
            self.memories[memory.id] = _memory(profile_id, memory) | self._stamps
            for observed in memory.evidence:
                self._add_evidence(profile_id, observed, memory_id=memory.id)
        for past in state.history:
            self.history[past.id] = _past(profile_id, past)

    def _add_evidence(
        self,
        profile_id: str,
        o: Observed,
        trait_id: str | None = None,
        memory_id: str | None = None,
        value: Json = None,
    ) -> None:
        key = stable_id("evidence", trait_id or memory_id or "", o.id)
        self.evidence[key] = {
            "id": key, "profile_id": profile_id, "trait_id": trait_id, "memory_id": memory_id, "observation_id": o.id,
            "document_id": o.document_id, "quote": o.quote, "start_char": o.start, "end_char": o.end, "value": value,
            "occurred_at": o.said_at,
        }  # fmt: skip


def _trait(profile_id: str, t: FoldedTrait) -> Row:
    return {
        "id": t.id, "profile_id": profile_id, "key": t.key, "value": t.value, "value_type": t.value_type,
        "category": t.category, "confidence": t.confidence, "source": t.source,
        "alternatives": list(t.alternatives) or None, "edit_id": t.edit_id, "valid_from": t.valid_from,
    }  # fmt: skip


def _memory(profile_id: str, m: FoldedMemory) -> Row:
    return {
        "id": m.id, "profile_id": profile_id, "type": m.type, "content": m.content, "importance": m.importance,
        "confidence": m.confidence, "occurred_at": m.occurred_at, "event_at": m.event_at, "source": m.source,
        "sightings": m.sightings, "edit_id": m.edit_id, "last_accessed_at": None,
    }  # fmt: skip


def _past(profile_id: str, h: PastValue) -> Row:
    return {
        "id": h.id, "profile_id": profile_id, "key": h.key, "value": h.value, "confidence": h.confidence,
        "valid_from": h.valid_from, "valid_to": h.valid_to, "reason": h.reason, "observation_id": h.observation_id,
        "edit_id": h.edit_id, "ended_by": h.ended_by,
    }  # fmt: skip


@lru_cache(maxsize=16)
def _stored(
    table: type[DeclarativeBase], ignore: tuple[str, ...], compare: tuple[str, ...]
) -> tuple[Select[Any], list[str]]:
    """The query for the rows of some profiles, and the names of its columns after the id."""
    columns = table.__table__.c
    names = ["profile_id", *(compare or (c.name for c in columns if c.name not in ("id", "profile_id", *ignore)))]
    query = select(columns.id, *(columns[name] for name in names)).where(columns.profile_id.in_(LISTED))
    return query, names


class Difference:
    """What separates the stored rows of some profiles from the wanted ones.

    Compared by all columns save ``ignore``, or by those of ``compare`` alone.
    """

    def __init__(
        self,
        connection: Connection,
        table: type[DeclarativeBase],
        wanted: Mapping[str, Row],
        profiles: Iterable[str],
        ignore: Sequence[str] = (),
        compare: Sequence[str] = (),
    ) -> None:
        self.connection, self.table = connection, table
        query, names = _stored(table, tuple(ignore), tuple(compare))
        stored = {row[0]: row for row in select_listed(connection, query, profiles)}
        self.gone = [row for key, row in stored.items() if key not in wanted]
        self.new = [row for key, row in wanted.items() if key not in stored]
        values = itemgetter(*names)
        self.changed = [row for key, row in wanted.items() if key in stored and values(row) != stored[key][1:]]
        self._actions: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        for row in self.new:
            self._actions[row["profile_id"]].append(("create", row))
        for row in self.changed:
            self._actions[row["profile_id"]].append(("update", row))
        for gone in self.gone:
            self._actions[gone.profile_id].append(("delete", gone._mapping))

    @property
    def profiles(self) -> set[str]:
        """Whose rows differ."""
        return set(self._actions)

    def actions(self, profile_id: str) -> list[tuple[str, Any]]:
        """(create | update | delete, row) for one profile."""
        return self._actions.get(profile_id, [])

    def delete(self) -> None:
        column = self.table.__table__.c.id
        for batch in batches((row.id for row in self.gone), IN_LIST):
            self.connection.execute(delete(self.table).where(column.in_(batch)))

    def write(self) -> None:
        update_columns = [
            c.name for c in self.table.__table__.c if c.name not in ("id", "created_at", "last_accessed_at")
        ]
        upsert(self.connection, self.table, [*self.new, *self.changed], update=update_columns)
