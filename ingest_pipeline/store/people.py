"""Persons and identifiers: stores what sources say of people and keeps every identifier pointing at its profile."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from msgspec import structs
from sqlalchemy import Connection, select, text

from ingest_pipeline.documents import Identifier, Person, stable_id
from ingest_pipeline.store.assigning import assign
from ingest_pipeline.store.existence import BUCKETS, delete_empty, mark_changed, new_profile
from ingest_pipeline.store.neighbourhood import ANCHOR, identifier_id
from ingest_pipeline.store.tables import IdentifierRow, PersonIdentifier, PersonRow, Profile
from ingest_pipeline.store.upsert import select_in, upsert

__all__ = [
    "BUCKETS",
    "EXTERNAL",
    "Described",
    "delete_empty",
    "identifier_id",
    "lock_identities",
    "mark_changed",
    "new_profile",
    "reassign",
    "save_persons",
]

EXTERNAL = "external"
"""The kind of keys that a file gives without saying of which system."""

_UUID_DIGITS = 32
_IDENTITY_LOCK = 7031995

_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Described:
    """A person and when the source described it so."""

    person: Person
    at: datetime | None


def save_persons(connection: Connection, described: Iterable[Described], now: datetime) -> None:
    """Store persons and let every identifier they touch point at the right profile.

    Profiles appear, merge and part here; documents follow their identifier. On PostgreSQL one transaction at a time
    does this (SQLite has one writer anyway), else two could each create the profile of one new person.
    """
    lock_identities(connection)
    described = _referring(connection, list(described))
    _save_identifiers(connection, described)
    touched = _save_claims(connection, [d for d in described if d.person.claims])
    if touched:
        assign(connection, touched, now)


def lock_identities(connection: Connection) -> None:
    """Be the only one, until the transaction ends, to decide who is who (on SQLite there is one writer anyway)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _IDENTITY_LOCK})


def reassign(connection: Connection, identifiers: set[str], now: datetime) -> None:
    """Decide again whose these identifiers (ids) are, after persons who claimed them were erased."""
    lock_identities(connection)
    if identifiers:
        assign(connection, identifiers, now)


def _save_identifiers(connection: Connection, described: Iterable[Described]) -> None:
    everything = {
        identifier for d in described for identifier in (d.person.key, *d.person.identifiers, *d.person.same_as)
    }
    rows = [{"id": identifier_id(i), "kind": i.kind, "value": i.value, "ambiguous": False} for i in sorted(everything)]
    upsert(connection, IdentifierRow, rows)


def _referring(connection: Connection, described: list[Described]) -> list[Described]:
    """The persons, those whose key of unknown kind is a profile's external or internal id bound to that profile.

    Only keys that are met for the first time are looked up: a binding stays.
    """
    keys = {identifier_id(d.person.key): d.person.key.value for d in described if d.person.key.kind == EXTERNAL}
    if not keys:
        return described
    query = select(IdentifierRow.id).where(IdentifierRow.home_id.is_not(None))
    known = {keys[row.id] for row in select_in(connection, query, IdentifierRow.id, sorted(keys))}
    homes = _homes(connection, set(keys.values()) - known)
    bound = _identifiers_of(connection, set(homes.values()))
    return [
        Described(structs.replace(d.person, same_as=(*d.person.same_as, bound[homes[d.person.key.value]])), d.at)
        if d.person.key.kind == EXTERNAL and d.person.key.value in homes
        else d
        for d in described
    ]


def _homes(connection: Connection, values: set[str]) -> dict[str, str]:
    """Values that are a profile's external id or id → the profile."""
    uuids = {_as_uuid(value): value for value in values}
    columns = select(Profile.id, Profile.external_id, Profile.retired_into)
    found = {
        uuids[row.id]: row.retired_into or row.id
        for row in select_in(connection, columns, Profile.id, sorted(uuids.keys() - {""}))
    }
    by_external_id = select_in(connection, columns, Profile.external_id, sorted(values))
    return found | {row.external_id: row.retired_into or row.id for row in by_external_id}


def _identifiers_of(connection: Connection, profiles: set[str]) -> dict[str, Identifier]:
    """One identifier of each profile; one without any gets a hidden one, as for a merge by hand."""
    columns = select(IdentifierRow.kind, IdentifierRow.value, IdentifierRow.home_id)
    columns = columns.where(IdentifierRow.ambiguous.is_(False)).order_by(IdentifierRow.id)
    found: dict[str, Identifier] = {}
    for row in select_in(connection, columns, IdentifierRow.home_id, sorted(profiles)):
        found.setdefault(row.home_id, Identifier(row.kind, row.value))
    anchors = {profile: Identifier(ANCHOR, profile) for profile in sorted(profiles - found.keys())}
    ids = {profile: identifier_id(anchor) for profile, anchor in anchors.items()}
    persons = {profile: stable_id("person", key) for profile, key in ids.items()}
    upsert(
        connection,
        IdentifierRow,
        [
            {"id": key, "kind": ANCHOR, "value": p, "profile_id": p, "home_id": p, "ambiguous": False}
            for p, key in ids.items()
        ],
    )
    upsert(
        connection,
        PersonRow,
        [
            {"id": person, "namespace": f"{ANCHOR}:{p}", "name": None, "described_at": None}
            for p, person in persons.items()
        ],
    )
    links = [{"person_id": persons[p], "identifier_id": ids[p], "relation": "key"} for p in anchors]
    upsert(connection, PersonIdentifier, links)
    return found | anchors


def _as_uuid(value: str) -> str:
    """The value as profile ids are written; empty when it is none."""
    try:
        return str(uuid.UUID(value)) if len(value) >= _UUID_DIGITS else ""
    except ValueError:
        return ""


def _save_claims(connection: Connection, described: Iterable[Described]) -> set[str]:
    """Store the persons; returns the identifiers of those that say something new."""
    persons: dict[str, _Description] = {}
    links: dict[tuple[str, str], str] = {}
    for d in described:
        key = identifier_id(d.person.key)
        person = stable_id("person", key)
        description = _Description(d.person.namespace, d.person.name, d.at)
        persons[person] = max(description, persons.get(person, description), key=_Description.rank)
        pairs = [(i, "has") for i in d.person.identifiers] + [(i, "same_as") for i in d.person.same_as]
        for pair, relation in [((person, identifier_id(i)), relation) for i, relation in pairs] + [
            ((person, key), "key")
        ]:
            links[pair] = max(relation, links.get(pair, relation), key=_RELATIONS.index)
    renamed = _save_descriptions(connection, persons)
    query = select(PersonIdentifier.person_id, PersonIdentifier.identifier_id, PersonIdentifier.relation)
    known = {(a, b): relation for a, b, relation in select_in(connection, query, PersonIdentifier.person_id, persons)}
    new = {
        pair: relation
        for pair, relation in links.items()
        if pair not in known or _RELATIONS.index(relation) > _RELATIONS.index(known[pair])
    }
    rows = [{"person_id": p, "identifier_id": i, "relation": relation} for (p, i), relation in new.items()]
    upsert(connection, PersonIdentifier, rows, update=("relation",))
    return {i for (person, i) in links if (person, i) in new or person in renamed}


_RELATIONS = ("has", "same_as", "key")
"""What binds an identifier to a person, weakest first; the strongest that was ever said holds."""


@dataclass(frozen=True, slots=True)
class _Description:
    """A row of ``persons``. The latest that has a name holds, whichever was read first."""

    namespace: str
    name: str | None
    at: datetime | None

    def rank(self) -> tuple[bool, datetime, str, str]:
        return (self.name is not None, self.at or _BEGINNING, self.name or "", self.namespace)


def _save_descriptions(connection: Connection, persons: dict[str, _Description]) -> set[str]:
    """Store what holds now; returns the known persons with another name than before."""
    query = select(PersonRow.id, PersonRow.namespace, PersonRow.name, PersonRow.described_at)
    known = {row.id: _Description(*row[1:]) for row in select_in(connection, query, PersonRow.id, persons)}
    better = {i: d for i, d in persons.items() if i not in known or d.rank() > known[i].rank()}
    rows = [{"id": i, "namespace": d.namespace, "name": d.name, "described_at": d.at} for i, d in better.items()]
    upsert(connection, PersonRow, rows, update=("name", "described_at"))
    return {i for i, d in better.items() if i in known and known[i].name != d.name}
