"""Profile tables: loads observations for the fold and writes the difference between the old state and the new."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, func, select, update
from sqlalchemy.orm import DeclarativeBase

from ingest_pipeline.documents import Role, stable_id
from ingest_pipeline.extraction.base import Kind
from ingest_pipeline.fold import Observed, ProfileState
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.tables import DocumentRow, Evidence, Memory, ObservationRow, Profile, TraitHistory, TraitRow
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in, upsert


@dataclass(frozen=True, slots=True)
class Unfolded:
    """A profile to fold, with all its current observations. ``changes`` is what ``folded`` becomes."""

    profile_id: str
    partition_key: str
    changes: int
    observations: tuple[Observed, ...]
    rejected: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class TraitChange:
    """``action`` is create, update or delete, from the stored state before and after."""

    key: str
    action: str


@dataclass(frozen=True, slots=True)
class Folded:
    """What folding one profile changed and what it has now. Holds no values: it goes into run metadata."""

    profile_id: str
    partition_key: str
    traits: int
    memories: int
    evidence: int
    trait_changes: tuple[TraitChange, ...] = ()
    memories_created: int = 0
    memories_deleted: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        return bool(self.trait_changes or self.memories_created or self.memories_deleted)


def load_unfolded(engine: Engine, profiles: Sequence[str] | None = None, page: int = 500) -> Iterator[list[Unfolded]]:
    """Pages of profiles whose observations changed since they were last folded, or the given profiles in any case."""
    if profiles is not None:
        for ids in batches(sorted(profiles), page):
            yield _load_page(engine, ids)
        return
    after = ""
    while True:
        query = select(Profile.id).where(Profile.changes != Profile.folded).order_by(Profile.id).limit(page)
        with reading(engine) as connection:
            ids = list(connection.execute(query.where(Profile.id > after) if after else query).scalars())
        if not ids:
            return
        yield _load_page(engine, ids)
        after = ids[-1]


_OBSERVED = (
    "id", "document_id", "kind", "key", "value", "confidence", "importance", "role", "said_at", "effective_at",
    "retracted", "quote", "start_char", "end_char", "rejected",
)  # fmt: skip


def _load_page(engine: Engine, ids: Sequence[str]) -> list[Unfolded]:
    o = ObservationRow.__table__.c
    query = (
        select(*(o[name] for name in _OBSERVED), DocumentRow.profile_id.label("profile_id"))
        .join(DocumentRow, DocumentRow.id == o.document_id)
        .where(
            DocumentRow.superseded_at.is_(None),
            o.superseded.is_(False),
            DocumentRow.wanted.is_(None) | (DocumentRow.wanted == o.kind),
        )
    )
    with reading(engine) as connection:
        profiles = list(
            select_in(
                connection, select(Profile.id, Profile.partition_key, Profile.changes), Profile.id.expression, ids
            )
        )
        found: dict[str, list[Any]] = defaultdict(list)
        for row in select_in(connection, query, DocumentRow.profile_id, ids):
            found[row.profile_id].append(row)
    return [
        Unfolded(
            profile_id=p.id,
            partition_key=p.partition_key,
            changes=p.changes,
            observations=tuple(_observed(row) for row in found[p.id]),
            rejected={row.id: row.rejected for row in found[p.id]},
        )
        for p in profiles
    ]


def _observed(row: Any) -> Observed:
    return Observed(
        id=row.id,
        document_id=row.document_id,
        kind=Kind(row.kind),
        key=row.key,
        value=row.value,
        confidence=row.confidence,
        importance=row.importance,
        role=Role(row.role),
        said_at=row.said_at,
        effective_at=row.effective_at,
        retracted=row.retracted,
        quote=row.quote,
        start=row.start_char,
        end=row.end_char,
    )


def save_states(engine: Engine, states: Sequence[tuple[Unfolded, ProfileState]]) -> list[Folded]:
    """Write the folded states of a page of profiles in one transaction: only the rows that differ.

    States that somebody else's newer fold has overtaken, and those of profiles that are gone, are left out. Profiles
    merged into another are emptied without a word: they are nobody's partition any more.
    """
    now = datetime.now(UTC)

    def save(connection: Connection) -> list[Folded]:
        held = _hold(connection, [unfolded for unfolded, _ in states])
        folded = _save(connection, [(u, state) for u, state in states if u.profile_id in held], now)
        return [f for f in folded if held[f.profile_id]]

    return write(engine, save)


def _hold(connection: Connection, states: Sequence[Unfolded]) -> dict[str, bool]:
    """Lock the profiles (on SQLite the whole database is). Those whose state is not overtaken, and who is living."""
    query = select(Profile.id, Profile.folded, Profile.merged_into).order_by(Profile.id).with_for_update()
    rows = {row.id: row for row in select_in(connection, query, Profile.id, sorted(u.profile_id for u in states))}
    found = ((rows.get(u.profile_id), u.changes) for u in states)
    return {row.id: row.merged_into is None for row, changes in found if row and row.folded <= changes}


def _save(connection: Connection, states: Sequence[tuple[Unfolded, ProfileState]], now: datetime) -> list[Folded]:
    wanted = _Rows(now)
    for unfolded, state in states:
        wanted.add(unfolded.profile_id, state)
    ids = [unfolded.profile_id for unfolded, _ in states]
    stamps = ("created_at", "updated_at")
    traits = _Difference(connection, TraitRow, wanted.traits, ids, ignore=stamps)
    memories = _Difference(connection, Memory, wanted.memories, ids, ignore=(*stamps, "last_accessed_at"))
    evidence = _Difference(connection, Evidence, wanted.evidence, ids)
    history = _Difference(connection, TraitHistory, wanted.history, ids)
    for difference in (evidence, traits, memories, history):
        difference.delete()
    for difference in (traits, memories, history, evidence):
        difference.write()
    changed = set().union(*(difference.profiles for difference in (traits, memories, history, evidence)))
    _save_rejected(connection, states)
    _mark_folded(connection, states, changed, now)
    return [_summary(unfolded, state, traits, memories) for unfolded, state in states]


class _Rows:
    """The rows that the states stand for, by table."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.traits: dict[str, dict[str, Any]] = {}
        self.history: dict[str, dict[str, Any]] = {}
        self.memories: dict[str, dict[str, Any]] = {}
        self.evidence: dict[str, dict[str, Any]] = {}

    def add(self, profile_id: str, state: ProfileState) -> None:
        stamps = {"created_at": self.now, "updated_at": self.now}
        for t in state.traits:
            self.traits[t.id] = {
                "id": t.id, "profile_id": profile_id, "key": t.key, "value": t.value, "value_type": t.value_type,
                "category": t.category, "confidence": t.confidence, "source": "extracted",
                "alternatives": None, "edit_id": None,
                "valid_from": t.valid_from, **stamps,
            }  # fmt: skip
            for observed, element in t.evidence:
                self._add_evidence(profile_id, observed, trait_id=t.id, value=element)
        for m in state.memories:
            self.memories[m.id] = {
                "id": m.id, "profile_id": profile_id, "type": m.type, "content": m.content,
                "importance": m.importance, "confidence": m.confidence, "occurred_at": m.occurred_at,
                "event_at": None, "source": "extracted", "sightings": len(m.evidence), "edit_id": None,
                "last_accessed_at": None, **stamps,
            }  # fmt: skip
            for observed in m.evidence:
                self._add_evidence(profile_id, observed, memory_id=m.id)
        for h in state.history:
            self.history[h.id] = {
                "id": h.id, "profile_id": profile_id, "key": h.key, "value": h.value, "confidence": h.confidence,
                "valid_from": h.valid_from, "valid_to": h.valid_to, "observation_id": h.observation_id,
                "reason": "replaced", "edit_id": None, "ended_by": h.ended_by,
            }  # fmt: skip

    def _add_evidence(
        self, profile_id: str, o: Observed, trait_id: str | None = None, memory_id: str | None = None, value: Any = None
    ) -> None:
        key = stable_id("evidence", trait_id or memory_id or "", o.id)
        self.evidence[key] = {
            "id": key, "profile_id": profile_id, "trait_id": trait_id, "memory_id": memory_id, "observation_id": o.id,
            "document_id": o.document_id, "quote": o.quote, "start_char": o.start, "end_char": o.end, "value": value,
            "occurred_at": o.said_at,
        }  # fmt: skip


class _Difference:
    """What separates the stored rows of some profiles from the wanted ones."""

    def __init__(
        self,
        connection: Connection,
        table: type[DeclarativeBase],
        wanted: Mapping[str, dict[str, Any]],
        profiles: Iterable[str],
        ignore: Sequence[str] = (),
    ) -> None:
        self.connection, self.table = connection, table
        columns = table.__table__.c
        self.names = [c.name for c in columns if c.name not in ignore]
        query = select(*(columns[name] for name in self.names))
        stored = {row.id: row for row in select_in(connection, query, columns.profile_id, profiles)}
        self.gone = [row for key, row in stored.items() if key not in wanted]
        self.new = [row for key, row in wanted.items() if key not in stored]
        self.changed = [row for key, row in wanted.items() if key in stored and self._differs(row, stored[key])]
        self._actions: dict[str, list[tuple[str, Any]]] = defaultdict(list)
        for row in self.new:
            self._actions[row["profile_id"]].append(("create", row))
        for row in self.changed:
            self._actions[row["profile_id"]].append(("update", row))
        for gone in self.gone:
            self._actions[gone.profile_id].append(("delete", gone._mapping))

    def _differs(self, wanted: Mapping[str, Any], stored: Any) -> bool:
        return any(wanted[name] != getattr(stored, name) for name in self.names)

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


def _save_rejected(connection: Connection, states: Sequence[tuple[Unfolded, ProfileState]]) -> None:
    changed = [
        {"b_id": key, "rejected": state.rejected.get(key)}
        for unfolded, state in states
        for key, before in unfolded.rejected.items()
        if before != state.rejected.get(key)
    ]
    if changed:
        connection.execute(
            update(ObservationRow)
            .where(ObservationRow.__table__.c.id == bindparam("b_id"))
            .values(rejected=bindparam("rejected")),
            sorted(changed, key=itemgetter("b_id")),
        )


def _mark_folded(
    connection: Connection, states: Sequence[tuple[Unfolded, ProfileState]], changed: Container[str], now: datetime
) -> None:
    """``updated_at`` is when the profile last became another, not when somebody last looked."""
    table = Profile.__table__
    mine = update(Profile).where(table.c.id == bindparam("b_id"))
    rows = [{"b_id": u.profile_id, "folded": u.changes} for u, _ in states]
    for is_changed, values in ((True, {"updated_at": now}), (False, {})):
        some = [row for row in rows if (row["b_id"] in changed) is is_changed]
        if some:
            connection.execute(mine.values(folded=bindparam("folded"), **values), some)


def _summary(unfolded: Unfolded, state: ProfileState, traits: _Difference, memories: _Difference) -> Folded:
    reasons: dict[str, int] = defaultdict(int)
    for reason in state.rejected.values():
        reasons[reason] += 1
    memory_actions = [action for action, _ in memories.actions(unfolded.profile_id)]
    return Folded(
        profile_id=unfolded.profile_id,
        partition_key=unfolded.partition_key,
        traits=len(state.traits),
        memories=len(state.memories),
        evidence=sum(len(t.evidence) for t in state.traits) + sum(len(m.evidence) for m in state.memories),
        trait_changes=tuple(TraitChange(row["key"], action) for action, row in traits.actions(unfolded.profile_id)),
        memories_created=memory_actions.count("create"),
        memories_deleted=memory_actions.count("delete"),
        rejected=dict(reasons),
    )


def count_unfolded(engine: Engine) -> int:
    with reading(engine) as connection:
        return connection.execute(select(func.count()).where(Profile.changes != Profile.folded)).scalar_one()
