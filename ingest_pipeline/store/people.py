"""Persons and identifiers: stores what sources say of people and keeps every identifier pointing at its profile."""

import secrets
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, delete, select, text, update

from ingest_pipeline.documents import Identifier, Person, stable_id
from ingest_pipeline.identity import Claim, choose_profiles, resolve
from ingest_pipeline.store.tables import (
    DocumentRow,
    EditRow,
    Evidence,
    IdentifierRow,
    Memory,
    PersonIdentifier,
    PersonRow,
    Profile,
    TraitHistory,
    TraitRow,
)
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in, upsert

SHAREABLE = frozenset({"email", "phone"})
"""Kinds of identifiers that several people may use."""

BUCKETS = 1_024
"""Partitions when there are too many profiles for one each (INGEST_PARTITION_BY=bucket)."""

_IDENTITY_LOCK = 7031995

_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Described:
    """A person and when the source described it so."""

    person: Person
    at: datetime | None


def identifier_id(identifier: Identifier) -> str:
    return stable_id("identifier", identifier.kind, identifier.value)


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
        _Assignment(connection, now).run(touched)


def lock_identities(connection: Connection) -> None:
    """Be the only one, until the transaction ends, to decide who is who (on SQLite there is one writer anyway)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _IDENTITY_LOCK})


def reassign(connection: Connection, identifiers: set[str], now: datetime) -> None:
    """Decide again whose these identifiers (ids) are, after persons who claimed them were erased."""
    lock_identities(connection)
    if identifiers:
        _Assignment(connection, now).run(identifiers)


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


@dataclass(slots=True)
class _Assignment:
    """Resolves the neighbourhood of some identifiers and writes what changed."""

    connection: Connection
    now: datetime
    claims: dict[str, Claim[str]] = field(default_factory=dict)
    names: dict[str, tuple[str, str]] = field(default_factory=dict)

    def run(self, touched: set[str]) -> None:
        identifiers = self._load(touched)
        before = {
            row.id: row
            for row in select_in(
                self.connection,
                select(
                    IdentifierRow.id, IdentifierRow.profile_id, IdentifierRow.ambiguous,
                    Profile.created_at, Profile.display_name,
                ).outerjoin(Profile, Profile.id == IdentifierRow.profile_id),
                IdentifierRow.id,
                identifiers,
            )
        }  # fmt: skip
        resolution = resolve(self.claims.values())
        groups = sorted(resolution.groups, key=min)
        current = {i: (r.created_at.timestamp(), r.profile_id) for i, r in before.items() if r.profile_id}
        chosen = choose_profiles(groups, current)
        profiles = [profile or str(uuid.uuid4()) for profile in chosen]
        names = {r.profile_id: r.display_name for r in before.values() if r.profile_id}
        self._save_profiles(dict(zip(profiles, groups, strict=True)), names)
        after = {i: profile for group, profile in zip(groups, profiles, strict=True) for i in group}
        changed = [
            {"b_id": i, "profile_id": after.get(i), "ambiguous": i in resolution.ambiguous}
            for i, row in before.items()
            if row.profile_id != after.get(i) or row.ambiguous != (i in resolution.ambiguous)
        ]
        if changed:
            self._repoint(changed)
            self._retire({i: r.profile_id for i, r in before.items() if r.profile_id}, after)

    def _load(self, touched: set[str]) -> set[str]:
        """Everything connected with the touched identifiers: people share identifiers with people."""
        seen: set[str] = set()
        frontier = set(touched)
        query = select(
            PersonIdentifier.person_id, PersonIdentifier.identifier_id, PersonIdentifier.relation,
            PersonRow.namespace, PersonRow.name, IdentifierRow.kind,
        ).join(PersonRow, PersonRow.id == PersonIdentifier.person_id).join(
            IdentifierRow, IdentifierRow.id == PersonIdentifier.identifier_id
        )  # fmt: skip
        while frontier:
            seen |= frontier
            by_identifier = select(PersonIdentifier.person_id)
            persons = {
                row.person_id
                for row in select_in(self.connection, by_identifier, PersonIdentifier.identifier_id, frontier)
            } - self.claims.keys()
            links = defaultdict(list)
            for row in select_in(self.connection, query, PersonIdentifier.person_id, persons):
                links[row.person_id].append(row)
            for person_id, rows in links.items():
                key = next(row.identifier_id for row in rows if row.relation == "key")
                self.claims[person_id] = Claim(
                    key=key,
                    namespace=rows[0].namespace,
                    same_as=frozenset(row.identifier_id for row in rows if row.relation == "same_as"),
                    shareable=frozenset(row.identifier_id for row in rows if row.kind in SHAREABLE),
                    # A switchboard's number is on many cards.
                    weak=frozenset(row.identifier_id for row in rows if row.kind == "phone"),
                )
                if rows[0].name:
                    self.names[key] = (rows[0].namespace, rows[0].name)
            frontier = {row.identifier_id for rows in links.values() for row in rows} - seen
        return seen

    def _save_profiles(self, groups: dict[str, frozenset[str]], before: dict[str, str | None]) -> None:
        """``groups``: the identifiers of each profile; ``before``: the names of those that are known."""
        created, renamed = [], []
        for profile, group in groups.items():
            name = _display_name([self.names[key] for key in group if key in self.names])
            if profile not in before:
                created.append(new_profile(profile, name, self.now))
            elif before[profile] != name:
                renamed.append({"b_id": profile, "display_name": name})
        upsert(self.connection, Profile, created)
        if renamed:
            table = Profile.__table__
            self.connection.execute(
                update(Profile).where(table.c.id == bindparam("b_id")).values(display_name=bindparam("display_name")),
                renamed,
            )

    def _repoint(self, changed: list[dict[str, object]]) -> None:
        table = IdentifierRow.__table__
        self.connection.execute(
            update(IdentifierRow)
            .where(table.c.id == bindparam("b_id"))
            .values(profile_id=bindparam("profile_id"), ambiguous=bindparam("ambiguous")),
            changed,
        )
        moves = (
            select(DocumentRow.profile_id, IdentifierRow.profile_id)
            .join(IdentifierRow, IdentifierRow.id == DocumentRow.identifier_id)
            .where(DocumentRow.profile_id.is_distinct_from(IdentifierRow.profile_id))
            .distinct()
        )
        target = select(IdentifierRow.profile_id).where(IdentifierRow.id == DocumentRow.identifier_id)
        for batch in batches((row["b_id"] for row in changed), IN_LIST):
            mine = DocumentRow.identifier_id.in_(batch)
            moving = list(self.connection.execute(moves.where(mine)))
            if moving:
                new = target.scalar_subquery()
                elsewhere = mine & DocumentRow.profile_id.is_distinct_from(new)
                self.connection.execute(update(DocumentRow).where(elsewhere).values(profile_id=new))
                mark_changed(self.connection, {profile for pair in moving for profile in pair})

    def _retire(self, before: dict[str, str], after: dict[str, str]) -> None:
        """A profile that lost all its identifiers goes on resolving to the one that took most of them.

        When all became ambiguous there is none. Then it goes, unless it has something of its own.
        """
        alive = set(after.values())
        heirs: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for identifier, profile in before.items():
            if profile not in alive and identifier in after:
                heirs[profile][after[identifier]] += 1
        for profile, counts in sorted(heirs.items()):
            heir = max(sorted(counts), key=lambda p: counts[p])
            self.connection.execute(
                update(Profile)
                .where((Profile.id == profile) | (Profile.merged_into == profile))
                .values(merged_into=heir, updated_at=self.now)
            )
            # Texts given for the profile itself hang on no identifier.
            direct = (DocumentRow.profile_id == profile) & DocumentRow.identifier_id.is_(None)
            self.connection.execute(update(DocumentRow).where(direct).values(profile_id=heir))
            mark_changed(self.connection, {heir})
        delete_empty(self.connection, set(before.values()) - alive - heirs.keys())


def delete_empty(connection: Connection, profiles: Iterable[str]) -> None:
    """Delete those of the profiles that nothing points at, with what was folded for them from texts now elsewhere."""
    for batch in batches(sorted(profiles), IN_LIST):
        # Locked first, so that nobody gives them a text or folds them meanwhile.
        held = select(Profile.id).where(Profile.id.in_(batch), Profile.external_id.is_(None)).with_for_update()
        empty = set(connection.execute(held).scalars())
        # What somebody decided about a profile is something of its own, too.
        for column in (DocumentRow.profile_id, IdentifierRow.profile_id, Profile.merged_into, EditRow.profile_id):
            empty -= {row[0] for row in select_in(connection, select(column).distinct(), column, empty)}
        for table in (Evidence, TraitHistory, TraitRow, Memory):
            connection.execute(delete(table).where(table.profile_id.in_(empty)))
        connection.execute(delete(Profile).where(Profile.id.in_(empty)))


def new_profile(profile_id: str, name: str | None, now: datetime) -> dict[str, object]:
    """A row for ``profiles``. The partition key is random: it ends up in Dagster's event log for good."""
    key = secrets.token_hex(8)
    return {
        "id": profile_id, "partition_key": key, "bucket": int(key, 16) % BUCKETS,
        "display_name": name, "summary_version": 0, "changes": 1, "folded": 0, "created_at": now, "updated_at": now,
    }  # fmt: skip


def mark_changed(connection: Connection, profile_ids: Iterable[str | None]) -> None:
    """The profiles' observations changed: they are to be folded again."""
    for batch in batches(sorted(p for p in profile_ids if p), IN_LIST):
        connection.execute(update(Profile).where(Profile.id.in_(batch)).values(changes=Profile.changes + 1))


def _display_name(names: list[tuple[str, str]]) -> str | None:
    """The CRM's name before a mail header's or a chat's, then the longest, then by alphabet."""
    if not names:
        return None
    return min(names, key=lambda n: (n[0] == "email", n[0].startswith("slack"), -len(n[1]), n[1]))[1]
