"""Persons and identifiers: stores what sources say of people and keeps every identifier pointing at its profile."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, select, text

from ingest_pipeline.documents import Person, stable_id
from ingest_pipeline.store.assigning import assign
from ingest_pipeline.store.existence import BUCKETS, delete_empty, mark_changed, new_profile
from ingest_pipeline.store.neighbourhood import identifier_id
from ingest_pipeline.store.tables import IdentifierRow, PersonIdentifier, PersonRow
from ingest_pipeline.store.upsert import select_in, upsert

__all__ = [
    "BUCKETS",
    "Described",
    "delete_empty",
    "identifier_id",
    "lock_identities",
    "mark_changed",
    "new_profile",
    "reassign",
    "save_persons",
]

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
    described = list(described)
    lock_identities(connection)
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
