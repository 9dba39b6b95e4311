"""Merges and splits by hand in the store: an edit, the decision as a person of identity resolution, its effect.

    edits ◀─ the same id ─▶ persons "manual:<edit id>" ── merged | stays | leaves ──▶ identifiers

A merge that is taken back is no person any more; its edit and the one that took it back stay. Everything here is done
under ``lock_identities``, in the caller's transaction.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select

from ingest_pipeline.documents import Identifier, Json, stable_id
from ingest_pipeline.edits import Action, Edit, Target
from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.identity import merge_profiles
from ingest_pipeline.store.assigning import Decided, assign
from ingest_pipeline.store.edits import Draft, save_edits
from ingest_pipeline.store.neighbourhood import (
    ANCHOR,
    LEAVES,
    MANUAL,
    MERGED,
    SHAREABLE,
    STAYS,
    identifier_id,
    load_neighbourhood,
)
from ingest_pipeline.store.people import lock_identities
from ingest_pipeline.store.tables import DocumentRow, EditRow, IdentifierRow, PersonIdentifier, PersonRow, Profile
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in, upsert


@dataclass(frozen=True, slots=True)
class Changed:
    """What a decision did: its edit, and the profiles to be folded again."""

    edit: Edit
    profiles: frozenset[str]


@dataclass(frozen=True, slots=True)
class StandingMerge:
    """A merge by hand that was not taken back. ``other`` is None where it gave an identifier to ``into``."""

    edit_id: str
    into: str
    other: str | None
    at: datetime
    actor: str


def merge(connection: Connection, into: str, other: str | None, given: Set[str], actor: str) -> Changed:
    """Make ``other``, and the identifiers (ids) that are ``given``, part of ``into``.

    Raises ProfileNotFound, or InvalidInput (``already_merged``) when they are one profile already.
    """
    lock_identities(connection)
    profiles = [into, other] if other else [into]
    _hold(connection, profiles)
    named = frozenset().union(*(_naming(connection, profile) for profile in profiles), given)
    drafts = [Draft(Action.MERGE, Target.PROFILE, "", value={"other": other})]
    (edit,) = save_edits(connection, into, drafts, actor, _last_decided(connection, named, profiles))
    _save_decision(connection, edit, {MERGED: [named]})
    return Changed(edit, frozenset(assign(connection, named, edit.at, Decided(profiles=frozenset(profiles)))))


def split(connection: Connection, profile: str, leaving: Set[str], actor: str) -> tuple[Changed, str]:
    """Make identifiers (ids) of the profile another person's; returns that one's profile, which is new, as well.

    Raises ProfileNotFound, or InvalidInput: ``not_of_profile``, ``nothing_left``.
    """
    lock_identities(connection)
    _hold(connection, [profile])
    homes = {row.id: row.home_id for row in load_identifiers(connection, profile)}
    if leaving - homes.keys():
        raise InvalidInput("not_of_profile", "one of these identifiers is not this profile's any more")
    if not homes.keys() - leaving and not has_something_of_its_own(connection, profile):
        raise nothing_left()
    stays: dict[str | None, set[str]] = defaultdict(set)
    for identifier, home in homes.items():
        if identifier not in leaving:
            stays[home].add(identifier)
    # What is the profile's by a merge only, because several people claim it.
    homeless = stays.pop(None, set())
    new = str(uuid.uuid4())
    drafts = [Draft(Action.SPLIT, Target.PROFILE, "", value={"into": new})]
    (edit,) = save_edits(connection, profile, drafts, actor, _last_decided(connection, homes, [profile]))
    # Apart from what merges made of it, so that they can be taken back: each home is a part of its own.
    parts = {home: part for home, part in stays.items() if home}
    _hold_by_merges(connection, parts, homeless)
    _save_decision(connection, edit, {LEAVES: [leaving], STAYS: [part for _, part in sorted(parts.items())]})
    decided = Decided(dict.fromkeys(leaving, new), frozenset({profile}))
    return Changed(edit, frozenset(assign(connection, homes, edit.at, decided))), new


def undo_merge(connection: Connection, profile: str, actor: str) -> tuple[Changed, StandingMerge]:
    """Take the profile's last merge back, with all that it did. Raises InvalidInput (``no_merge``)."""
    lock_identities(connection)
    _hold(connection, [profile])
    last = last_merge(connection, profile)
    named = _forget_decision(connection, last.edit_id)
    profiles = [last.into, last.other] if last.other else [last.into]
    value: dict[str, Json] = {"undo": last.edit_id, "other": last.other}
    drafts = [Draft(Action.SPLIT, Target.PROFILE, "", value=value)]
    (edit,) = save_edits(connection, last.into, drafts, actor, _last_decided(connection, named, profiles))
    decided = Decided(profiles=frozenset(profiles), returning=last.other, named=frozenset(named))
    changed = assign(connection, named, edit.at, decided)
    _drop_anchors(connection, named)
    return Changed(edit, frozenset(changed)), last


def last_merge(connection: Connection, profile: str) -> StandingMerge:
    """The latest merge by hand of what this profile is now. Raises InvalidInput (``no_merge``) when there is none."""
    of_profile = or_(Profile.id == profile, Profile.merged_into == profile)
    query = (
        select(EditRow.id, EditRow.profile_id, EditRow.value, EditRow.at, EditRow.actor, EditRow.action)
        .join(Profile, Profile.id == EditRow.profile_id)
        .where(of_profile, EditRow.kind == Target.PROFILE.value)
        .order_by(EditRow.at.desc(), EditRow.id.desc())
    )
    taken_back = set()
    for row in connection.execute(query):
        if row.action == Action.MERGE.value and row.id not in taken_back:
            return StandingMerge(row.id, row.profile_id, row.value["other"], row.at, row.actor)
        taken_back.add(row.value.get("undo"))
    raise InvalidInput("no_merge", "nothing was merged into this profile by hand; name the identifiers to split off")


def load_identifiers(connection: Connection, profile: str) -> list[Row[Any]]:
    """(id, kind, value, home_id) of the profile's identifiers, the hidden one included."""
    i = IdentifierRow
    return list(connection.execute(select(i.id, i.kind, i.value, i.home_id).where(i.profile_id == profile)))


def find_followers(connection: Connection, identifiers: Sequence[Row[Any]], leaving: Set[str]) -> set[str]:
    """Those of the profile's identifiers that only leaving persons name: who goes takes their address along.

    The bare sender behind an address says nothing of whose it is.
    """
    kinds = {row.id: row.kind for row in identifiers}
    query = select(PersonIdentifier.person_id, PersonIdentifier.identifier_id)
    links = list(select_in(connection, query, PersonIdentifier.identifier_id, sorted(kinds)))
    keys = query.where(PersonIdentifier.relation == "key")
    persons = {row.person_id for row in links}
    # A decision by hand has no key.
    key_of = {person: key for person, key in select_in(connection, keys, PersonIdentifier.person_id, persons)}
    named_by: dict[str, set[str]] = defaultdict(set)
    for person, identifier in links:
        if person in key_of and (key_of[person] != identifier or kinds[identifier] not in SHAREABLE):
            named_by[identifier].add(key_of[person])
    return {i for i, named in named_by.items() if i not in leaving and named <= leaving}


def has_something_of_its_own(connection: Connection, profile: str) -> bool:
    """Whether the profile means somebody without any identifier: by its external id, or a text given for it."""
    known = connection.execute(select(Profile.external_id).where(Profile.id == profile)).scalar()
    given = select(DocumentRow.id).where(DocumentRow.given_to == profile).limit(1)
    return known is not None or connection.execute(given).first() is not None


def nothing_left() -> InvalidInput:
    return InvalidInput("nothing_left", "these are all identifiers of the profile; name those of one of the two people")


def _hold(connection: Connection, profiles: Sequence[str]) -> None:
    query = select(Profile.id, Profile.merged_into).where(Profile.id.in_(profiles)).order_by(Profile.id)
    rows = list(connection.execute(query.with_for_update()))
    if len(rows) < len(profiles):
        raise InvalidInput("already_merged", "a profile cannot be merged with itself") if rows else ProfileNotFound
    if any(row.merged_into for row in rows):
        raise InvalidInput("already_merged", "somebody else merged one of the profiles meanwhile; look again")


def _naming(connection: Connection, profile: str) -> frozenset[str]:
    """The identifiers that mean the profile: keys of persons, and those that somebody decided about before.

    A profile without any gets a hidden one.
    """
    known = [row.id for row in load_identifiers(connection, profile)]
    if not known:
        return frozenset({_anchor(connection, profile)})
    keys = select(PersonIdentifier.identifier_id).where(PersonIdentifier.relation != "has")
    found = {row.identifier_id for row in select_in(connection, keys, PersonIdentifier.identifier_id, known)}
    return frozenset(found or known)


def _anchor(connection: Connection, profile: str) -> str:
    key = identifier_id(Identifier(ANCHOR, profile))
    person = stable_id("person", key)
    # A namespace of its own: two profiles with an anchor may well be one person.
    namespace = f"{ANCHOR}:{profile}"
    upsert(
        connection,
        IdentifierRow,
        [{"id": key, "kind": ANCHOR, "value": profile, "profile_id": profile, "home_id": profile, "ambiguous": False}],
    )
    upsert(connection, PersonRow, [{"id": person, "namespace": namespace, "name": None, "described_at": None}])
    upsert(connection, PersonIdentifier, [{"person_id": person, "identifier_id": key, "relation": "key"}])
    return key


def _drop_anchors(connection: Connection, identifiers: Iterable[str]) -> None:
    """Take hidden identifiers away that no decision names any more."""
    link = PersonIdentifier.identifier_id
    query = (
        select(IdentifierRow.id, func.min(IdentifierRow.value))
        .join(PersonIdentifier, link == IdentifierRow.id)
        .where(IdentifierRow.kind == ANCHOR)
        .group_by(IdentifierRow.id)
        .having(func.count() == 1)
    )
    for row in list(select_in(connection, query, IdentifierRow.id, sorted(identifiers))):
        connection.execute(delete(PersonIdentifier).where(link == row.id))
        connection.execute(delete(PersonRow).where(PersonRow.id == stable_id("person", row.id)))
        connection.execute(delete(IdentifierRow).where(IdentifierRow.id == row.id))


def _save_decision(connection: Connection, edit: Edit, sides: Mapping[str, Sequence[Iterable[str]]]) -> None:
    persons, links = [], []
    parts = [(relation, part) for relation, several in sides.items() for part in several]
    for number, (relation, part) in enumerate(parts):
        person = _person_of(edit.id, number)
        persons.append({"id": person, "namespace": MANUAL + edit.id, "name": None, "described_at": edit.at})
        links += [{"person_id": person, "identifier_id": i, "relation": relation} for i in sorted(part)]
    connection.execute(insert(PersonRow), persons)
    connection.execute(insert(PersonIdentifier), links)


def _hold_by_merges(connection: Connection, stays: Mapping[str, set[str]], homeless: set[str]) -> None:
    """Let the merges that joined these homes name all that stays: what they named may be leaving.

    The last of them names what came along with a merge only: ``homeless`` identifiers, that several people claim, and
    whoever was linked by these.
    """
    everything = homeless.union(*stays.values())
    merges = load_neighbourhood(connection, everything).merges
    profiles = {i for merge in merges for i in (merge.into, merge.other) if i}
    query = select(Profile.id, Profile.retired_into).where(Profile.retired_into.is_not(None))
    retired = {row.id: row.retired_into for row in select_in(connection, query, Profile.id, sorted(profiles))}
    pairs: list[tuple[str, str]] = []
    named: dict[str, set[str]] = {}
    for merge in merges:
        into, other = (retired.get(profile, profile) for profile in (merge.into, merge.other or merge.into))
        pairs.append((into, other))
        joined = merge_profiles(pairs)
        of_merge = [part for home, part in stays.items() if joined.get(home) == joined[into]]
        if of_merge or everything.intersection(*merge.decision.together):
            named[_person_of(merge.decision.order[1])] = set().union(*of_merge)
    if named:
        named[list(named)[-1]] |= everything.difference(*named.values())
    links = [{"person_id": p, "identifier_id": i, "relation": MERGED} for p, ids in named.items() for i in ids]
    upsert(connection, PersonIdentifier, links)


def _person_of(edit_id: str, part: int = 0) -> str:
    return stable_id("person", MANUAL + edit_id, str(part))


def _forget_decision(connection: Connection, edit_id: str) -> set[str]:
    """Take a decision out of identity resolution; the identifiers that it named."""
    mine = PersonIdentifier.person_id == _person_of(edit_id)
    named = set(connection.execute(select(PersonIdentifier.identifier_id).where(mine)).scalars())
    connection.execute(delete(PersonIdentifier).where(mine))
    connection.execute(delete(PersonRow).where(PersonRow.id == _person_of(edit_id)))
    return named


def _last_decided(connection: Connection, identifiers: Iterable[str], profiles: Sequence[str]) -> datetime | None:
    """When somebody last decided about these identifiers, or anything about these profiles."""
    decided = select(func.max(PersonRow.described_at)).join(PersonIdentifier)
    decided = decided.where(PersonRow.namespace.startswith(MANUAL))
    times = [
        connection.execute(decided.where(PersonIdentifier.identifier_id.in_(batch))).scalar()
        for batch in batches(sorted(identifiers), IN_LIST)
    ]
    times.append(connection.execute(select(func.max(EditRow.at)).where(EditRow.profile_id.in_(profiles))).scalar())
    return max((at for at in times if at), default=None)
