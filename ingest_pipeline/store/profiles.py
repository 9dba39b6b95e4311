"""Profile tables: loads observations for the fold and writes the difference between the old state and the new."""

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Update,
    bindparam,
    func,
    or_,
    select,
    update,
)

from ingest_pipeline.documents import Role
from ingest_pipeline.edits import Edit
from ingest_pipeline.extraction.base import Kind
from ingest_pipeline.states import Observed, ProfileState
from ingest_pipeline.store.edits import edit_of
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.fold_outcomes import Folded, Origin, TraitChange
from ingest_pipeline.store.fold_rules import stored_fingerprint
from ingest_pipeline.store.folded_rows import Difference, Rows
from ingest_pipeline.store.summaries import save_summaries
from ingest_pipeline.store.tables import (
    DocumentRow,
    EditRow,
    Evidence,
    Memory,
    ObservationRow,
    Profile,
    TraitHistory,
    TraitRow,
)
from ingest_pipeline.store.upsert import LISTED, batches, select_listed
from ingest_pipeline.summary import TEMPLATE_VERSION


@dataclass(frozen=True, slots=True)
class Unfolded:
    """A profile to fold, with all its current observations and edits. ``changes`` is what ``folded`` becomes;
    ``origins`` are (source, origin) by document."""

    profile_id: str
    partition_key: str
    changes: int
    observations: tuple[Observed, ...]
    rejected: Mapping[str, str | None]
    edits: tuple[Edit, ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict)


def load_unfolded(
    where: Engine | Connection,
    profiles: Sequence[str] | None = None,
    page: int = 500,
    as_of: datetime | None = None,
    changed_only: bool = False,
) -> Iterator[list[Unfolded]]:
    """Pages of profiles that are to be folded: their observations or edits changed, or a claim was made for a day that
    has come (``as_of``; now). With ``profiles`` these in any case, or, ``changed_only``, those of them."""
    as_of = as_of or datetime.now(UTC)
    if profiles is not None:
        for ids in batches(sorted(profiles), page):
            if changed_only:
                with reading(where) as connection:
                    found = connection.execute(_changed(), {"listed": ids, "as_of": as_of})
                    ids = list(found.scalars())
            if ids:
                yield _load_page(where, ids)
        return
    for ids in unfolded_ids(where, as_of, page):
        yield _load_page(where, ids)


@cache
def _changed() -> Select[Any]:
    as_of = bindparam("as_of", type_=Profile.refold_at.type)
    return select(Profile.id).where(or_(*_outdated(as_of)), Profile.id.in_(LISTED))


def unfolded_ids(where: Engine | Connection, as_of: datetime, page: int = 500) -> Iterator[list[str]]:
    """Pages of the ids of profiles that are to be folded. Each is looked for only when it is asked for."""
    after = ""
    while True:
        with reading(where) as connection:
            ids = _next_page(connection, as_of, after, page)
        if not ids:
            return
        yield ids
        after = ids[-1]


def _outdated(as_of: datetime | BindParameter[datetime]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Each has an index of its own."""
    return Profile.changes != Profile.folded, Profile.refold_at <= as_of


def _next_page(connection: Connection, as_of: datetime, after: str, page: int) -> list[str]:
    found: set[str] = set()
    for condition in _outdated(as_of):
        query = select(Profile.id).where(condition).order_by(Profile.id).limit(page)
        found.update(connection.execute(query.where(Profile.id > after) if after else query).scalars())
    return sorted(found)[:page]


_OBSERVED = (
    "id", "document_id", "kind", "key", "value", "confidence", "importance", "role", "said_at", "effective_at",
    "retracted", "quote", "start_char", "end_char", "stated",
)  # fmt: skip
"""The fields of ``Observed`` in their order, by the names that they have here."""

_KINDS = {kind.value: kind for kind in Kind}
_ROLES = {role.value: role for role in Role}


@cache
def _observations() -> Select[Any]:
    o = ObservationRow.__table__.c
    return (
        select(
            DocumentRow.profile_id, DocumentRow.source, DocumentRow.origin, o.rejected, *(o[name] for name in _OBSERVED)
        )
        .join(DocumentRow, DocumentRow.id == o.document_id)
        .where(
            DocumentRow.superseded_at.is_(None),
            o.superseded.is_(False),
            DocumentRow.wanted.is_(None) | (DocumentRow.wanted == o.kind),
            DocumentRow.profile_id.in_(LISTED),
        )
    )


@cache
def _edits() -> Select[Any]:
    """Of the profiles and of those merged into them, by the living one."""
    living = func.coalesce(Profile.merged_into, Profile.id).label("living")
    query = select(EditRow.__table__, living).join(Profile, Profile.id == EditRow.profile_id)
    return query.where(Profile.id.in_(LISTED) | Profile.merged_into.in_(LISTED))


@cache
def _profiles() -> Select[Any]:
    return select(Profile.id, Profile.partition_key, Profile.changes).where(Profile.id.in_(LISTED))


def _load_page(where: Engine | Connection, ids: Sequence[str]) -> list[Unfolded]:
    with reading(where) as connection:
        profiles = list(select_listed(connection, _profiles(), ids))
        observed: dict[str, list[Observed]] = defaultdict(list)
        rejected: dict[str, dict[str, str | None]] = defaultdict(dict)
        origins: dict[str, dict[str, Origin]] = defaultdict(dict)
        for profile, source, origin, reason, *values in select_listed(connection, _observations(), ids):
            values[2], values[7] = _KINDS[values[2]], _ROLES[values[7]]
            observed[profile].append(Observed._make(values))
            rejected[profile][values[0]] = reason
            if values[1] not in origins[profile]:
                origins[profile][values[1]] = source, origin
        edits: dict[str, list[Edit]] = defaultdict(list)
        for row in select_listed(connection, _edits(), ids):
            edits[row.living].append(edit_of(row))
    return [
        Unfolded(
            profile_id=p.id,
            partition_key=p.partition_key,
            changes=p.changes,
            observations=tuple(observed[p.id]),
            rejected=rejected[p.id],
            edits=tuple(edits[p.id]),
            origins=origins[p.id],
        )
        for p in profiles
    ]


def save_states(
    where: Engine | Connection,
    states: Sequence[tuple[Unfolded, ProfileState]],
    fingerprint: str | None = None,
    summary_by: str = TEMPLATE_VERSION,
) -> list[Folded]:
    """Write the folded states of a page of profiles in one transaction: only the rows that differ.

    States that somebody else's newer fold has overtaken, and those of profiles that are gone, are left out. Profiles
    merged into another are emptied without a word: they are nobody's partition any more. ``fingerprint`` is that of the
    rules; where the store knows others, because another version runs as well, the profiles stay marked as changed.
    ``summary_by`` is that of the rules.
    """
    now = datetime.now(UTC)

    def save(connection: Connection) -> list[Folded]:
        held = _hold(connection, [unfolded for unfolded, _ in states])
        counts = fingerprint is None or stored_fingerprint(connection) in (None, fingerprint)
        mine = [(u, state) for u, state in states if u.profile_id in held]
        folded, changed = _save(connection, mine, now)
        changed |= save_summaries(connection, {u.profile_id: state for u, state in mine}, summary_by, now)
        _mark_folded(connection, mine, changed, now, counts)
        return [f for f in folded if held[f.profile_id]]

    return write(where, save)


def _hold(connection: Connection, states: Sequence[Unfolded]) -> dict[str, bool]:
    """Lock the profiles (on SQLite the whole database is). Those whose state is not overtaken, and who is living."""
    rows = {row.id: row for row in select_listed(connection, _held(), sorted(u.profile_id for u in states))}
    found = ((rows.get(u.profile_id), u.changes) for u in states)
    return {row.id: row.merged_into is None for row, changes in found if row and row.folded <= changes}


@cache
def _held() -> Select[Any]:
    query = select(Profile.id, Profile.folded, Profile.merged_into).order_by(Profile.id).with_for_update()
    return query.where(Profile.id.in_(LISTED))


def _save(
    connection: Connection, states: Sequence[tuple[Unfolded, ProfileState]], now: datetime
) -> tuple[list[Folded], set[str]]:
    """Write the facts; returns what that did, and the profiles whose facts or evidence are others now."""
    wanted = Rows(now)
    for unfolded, state in states:
        wanted.add(unfolded.profile_id, state)
    ids = [unfolded.profile_id for unfolded, _ in states]
    stamps = ("created_at", "updated_at")
    traits = Difference(connection, TraitRow, wanted.traits, ids, ignore=stamps)
    memories = Difference(connection, Memory, wanted.memories, ids, ignore=(*stamps, "last_accessed_at"))
    # Its id names the fact and the observation, of which it repeats what is never edited.
    evidence = Difference(connection, Evidence, wanted.evidence, ids, compare=("value",))
    history = Difference(connection, TraitHistory, wanted.history, ids)
    for difference in (evidence, traits, memories, history):
        difference.delete()
    for difference in (traits, memories, history, evidence):
        difference.write()
    _save_rejected(connection, states)
    changed = set().union(*(difference.profiles for difference in (traits, memories, history, evidence)))
    return [_summary(unfolded, state, traits, memories) for unfolded, state in states], changed


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
    connection: Connection,
    states: Sequence[tuple[Unfolded, ProfileState]],
    changed: Container[str],
    now: datetime,
    counts: bool,
) -> None:
    """``updated_at`` is when the profile last became another, not when somebody last looked."""
    rows: list[dict[str, Any]] = [
        {
            "b_id": u.profile_id,
            "folded": u.changes if counts else u.changes - 1,
            "refold_at": state.refold_at,
            "told_name": state.told_name,
        }
        for u, state in states
    ]
    for is_changed, values in ((True, {"updated_at": now}), (False, {})):
        some = [row | values for row in rows if (row["b_id"] in changed) is is_changed]
        if some:
            connection.execute(_folded(is_changed), some)


@cache
def _folded(is_changed: bool) -> Update:
    names = ("folded", "refold_at", "told_name", *(["updated_at"] if is_changed else []))
    mine = update(Profile).where(Profile.__table__.c.id == bindparam("b_id"))
    return mine.values({name: bindparam(name) for name in names})


def _summary(unfolded: Unfolded, state: ProfileState, traits: Difference, memories: Difference) -> Folded:
    reasons = Counter(state.rejected.values())
    documents, quotes = _origins(unfolded, state)
    changes = Counter(TraitChange(row["key"], action) for action, row in traits.actions(unfolded.profile_id))
    memory_actions = [action for action, _ in memories.actions(unfolded.profile_id)]
    return Folded(
        profile_id=unfolded.profile_id,
        partition_key=unfolded.partition_key,
        traits=len(state.traits),
        memories=len(state.memories),
        evidence=quotes.total(),
        changed=bool(changes or memory_actions),
        trait_changes=changes,
        memories_created=memory_actions.count("create"),
        memories_deleted=memory_actions.count("delete"),
        rejected=reasons,
        conflicts=sum(bool(t.alternatives) for t in state.traits),
        documents=documents,
        quotes=quotes,
    )


def _origins(unfolded: Unfolded, state: ProfileState) -> tuple[Counter[Origin], Counter[Origin]]:
    """Documents that prove something, and their quotes, by origin."""
    proofs = [o.document_id for t in state.traits for o, _ in t.evidence]
    proofs += [o.document_id for m in state.memories for o in m.evidence]
    origin = unfolded.origins
    return Counter(origin[document] for document in set(proofs)), Counter(origin[document] for document in proofs)


def count_unfolded(engine: Engine, as_of: datetime | None = None, at_most: int | None = None) -> int:
    """How many ``load_unfolded`` would give; it stops counting at ``at_most``."""
    found = select(Profile.id).where(or_(*_outdated(as_of or datetime.now(UTC)))).limit(at_most)
    with reading(engine) as connection:
        return connection.execute(select(func.count()).select_from(found.subquery())).scalar_one()
