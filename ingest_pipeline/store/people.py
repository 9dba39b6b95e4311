"""Persons and identifiers: stores what sources say of people and keeps every identifier pointing at its profile."""

import secrets
import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, bindparam, select, text, update

from ingest_pipeline.documents import Identifier, Person, stable_id
from ingest_pipeline.identity import Claim, choose_profiles, resolve
from ingest_pipeline.store.tables import DocumentRow, IdentifierRow, PersonIdentifier, PersonRow, Profile
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in, upsert

SHAREABLE = frozenset({"email", "phone"})
"""Kinds of identifiers that several people may use."""

BUCKETS = 1_024
"""Partitions when there are too many profiles for one each (INGEST_PARTITION_BY=bucket)."""

_IDENTITY_LOCK = 7031995


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
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _IDENTITY_LOCK})
    _save_identifiers(connection, described)
    touched = _save_claims(connection, [d for d in described if d.person.claims])
    if touched:
        _Assignment(connection, now).run(touched)


def _save_identifiers(connection: Connection, described: Iterable[Described]) -> None:
    everything = {
        identifier for d in described for identifier in (d.person.key, *d.person.identifiers, *d.person.same_as)
    }
    rows = [{"id": identifier_id(i), "kind": i.kind, "value": i.value, "ambiguous": False} for i in sorted(everything)]
    upsert(connection, IdentifierRow, rows)


def _save_claims(connection: Connection, described: Iterable[Described]) -> set[str]:
    """Store the persons; returns the identifiers of those that say something new."""
    persons: dict[str, dict[str, object]] = {}
    links: dict[tuple[str, str], str] = {}
    for d in described:
        key = identifier_id(d.person.key)
        person_id = stable_id("person", key)
        row: dict[str, object] = {
            "id": person_id,
            "namespace": d.person.namespace,
            "name": d.person.name,
            "described_at": d.at,
        }
        known = persons.get(person_id)
        if known is None or _newer(row, known):
            persons[person_id] = row
        for other in d.person.identifiers:
            links.setdefault((person_id, identifier_id(other)), "has")
        for other in d.person.same_as:
            links[person_id, identifier_id(other)] = "same_as"
        links[person_id, key] = "key"
    names = {i: n for i, n in select_in(connection, select(PersonRow.id, PersonRow.name), PersonRow.id, persons)}
    query = select(PersonIdentifier.person_id, PersonIdentifier.identifier_id)
    known_links = {(a, b) for a, b in select_in(connection, query, PersonIdentifier.person_id, persons)}
    upsert(connection, PersonRow, list(persons.values()), update=("name", "described_at"), newer="described_at")
    new = {pair: relation for pair, relation in links.items() if pair not in known_links}
    upsert(
        connection,
        PersonIdentifier,
        [{"person_id": p, "identifier_id": i, "relation": relation} for (p, i), relation in sorted(new.items())],
    )
    renamed = {person for person, row in persons.items() if person in names and names[person] != row["name"]}
    return {i for (person, i) in links if (person, i) in new or person in renamed}


def _newer(row: dict[str, object], known: dict[str, object]) -> bool:
    """Later descriptions win, then a total order, so that the result does not depend on which came first."""

    def rank(r: dict[str, object]) -> tuple[bool, object, str]:
        return (r["described_at"] is not None, r["described_at"] or 0, str(r["name"] or ""))

    a, b = rank(row), rank(known)
    return a > b if a[0] == b[0] else a[0] > b[0]


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
                    IdentifierRow.id, IdentifierRow.profile_id, IdentifierRow.ambiguous, Profile.created_at
                ).outerjoin(Profile, Profile.id == IdentifierRow.profile_id),
                IdentifierRow.id,
                identifiers,
            )
        }
        resolution = resolve(self.claims.values())
        groups = sorted(resolution.groups, key=min)
        current = {i: (r.created_at.timestamp(), r.profile_id) for i, r in before.items() if r.profile_id}
        chosen = choose_profiles(groups, current)
        profiles = [profile or str(uuid.uuid4()) for profile in chosen]
        self._save_profiles(groups, profiles, new={p for p, c in zip(profiles, chosen, strict=True) if c is None})
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
                )
                if rows[0].name:
                    self.names[key] = (rows[0].namespace, rows[0].name)
            frontier = {row.identifier_id for rows in links.values() for row in rows} - seen
        return seen

    def _save_profiles(self, groups: list[frozenset[str]], profiles: list[str], new: set[str]) -> None:
        created, renamed = [], []
        for group, profile in zip(groups, profiles, strict=True):
            name = _display_name([self.names[key] for key in group if key in self.names])
            if profile in new:
                created.append(new_profile(profile, name, self.now))
            else:
                renamed.append({"b_id": profile, "display_name": name})
        upsert(self.connection, Profile, created)
        if renamed:
            table = Profile.__table__
            self.connection.execute(
                update(Profile)
                .where(table.c.id == bindparam("b_id"))
                .values(display_name=bindparam("display_name"), merged_into=None),
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
        for batch in batches((row["b_id"] for row in changed), IN_LIST):
            mine = DocumentRow.identifier_id.in_(batch)
            target = select(IdentifierRow.profile_id).where(IdentifierRow.id == DocumentRow.identifier_id)
            moving = mine & DocumentRow.profile_id.is_distinct_from(target.scalar_subquery())
            losing = set(self.connection.execute(select(DocumentRow.profile_id).where(moving).distinct()).scalars())
            if not losing:
                continue
            gaining = set(
                self.connection.execute(
                    select(IdentifierRow.profile_id)
                    .join(DocumentRow, DocumentRow.identifier_id == IdentifierRow.id)
                    .where(moving)
                    .distinct()
                ).scalars()
            )
            self.connection.execute(update(DocumentRow).where(moving).values(profile_id=target.scalar_subquery()))
            mark_changed(self.connection, (losing | gaining) - {None})

    def _retire(self, before: dict[str, str], after: dict[str, str]) -> None:
        """A profile that lost all its identifiers goes on resolving to the one that took most of them."""
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
