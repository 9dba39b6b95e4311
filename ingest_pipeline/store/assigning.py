"""Keeps every identifier, and so every document, pointing at the right profile.

    persons + splits ──────────▶ groups ─▶ homes      the profile of each identifier without merges by hand
    persons + splits + merges ─▶ groups ─▶ profiles   from the homes, each under the name of what it was merged into

Homes have a memory: who is one profile now stays it. What merges make of them follows from the homes, so that a merge
that is taken back leaves nothing behind, whatever was read in between.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, or_, select, update

from ingest_pipeline.identity import (
    Resolution,
    choose_profiles,
    find_heirs,
    merge_profiles,
    place_profile,
    resolve,
)
from ingest_pipeline.store.existence import delete_empty, mark_changed, new_profile
from ingest_pipeline.store.neighbourhood import Neighbourhood, load_neighbourhood
from ingest_pipeline.store.tables import DocumentRow, IdentifierRow, Profile
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in, upsert


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decision by hand asks for beside itself: identifiers that move to another home, and the profiles it is
    about, which may have no identifiers. ``returning`` is the one that a merge which is taken back ended, ``named`` the
    identifiers that this merge joined."""

    homes: Mapping[str, str] = field(default_factory=dict)
    profiles: frozenset[str] = frozenset()
    returning: str | None = None
    named: frozenset[str] = frozenset()


def assign(connection: Connection, touched: Iterable[str], now: datetime, decided: Decided | None = None) -> set[str]:
    """Resolve the neighbourhood of some identifiers and write what changed; returns the profiles to be folded again.

    To be called under ``lock_identities``.
    """
    return _Assignment(connection, load_neighbourhood(connection, touched), now, decided or Decided()).run()


class _Assignment:
    def __init__(self, connection: Connection, around: Neighbourhood, now: datetime, decided: Decided) -> None:
        self.connection, self.around, self.now, self.decided = connection, around, now, decided
        self.before = self._load_identifiers()
        self.known = self._load_profiles()
        self.heirs: Mapping[str, str] = {}
        self.changed: set[str] = set()
        self.created: set[str] = set()

    def run(self) -> set[str]:
        splits, merges = self.around.splits, self.around.merges
        natural = resolve(self.around.claims.values(), splits)
        groups = sorted(natural.groups, key=min)
        homes = self._choose_homes(groups)
        self._retire(homes)
        profiles, resolution = homes, natural
        merged: Mapping[str, str] = {}
        if merges:
            resolution = resolve(self.around.claims.values(), [*splits, *(merge.decision for merge in merges)])
            merged = merge_profiles((self._home(m.into), self._home(m.other or m.into)) for m in merges)
            profiles = self._choose_profiles(sorted(resolution.groups, key=min), homes, merged)
        self._save_profiles(resolution, homes, profiles)
        self._repoint(homes, profiles, resolution.ambiguous)
        if merges or self.heirs or self.decided.profiles:
            self._place(homes, profiles, merged)
        delete_empty(self.connection, self.known.keys() - set(homes.values()) - set(profiles.values()))
        mark_changed(self.connection, self.changed)
        return self.changed | self.created

    def _load_identifiers(self) -> dict[str, Row[Any]]:
        query = select(IdentifierRow.id, IdentifierRow.home_id, IdentifierRow.profile_id, IdentifierRow.ambiguous)
        return {row.id: row for row in select_in(self.connection, query, IdentifierRow.id, self.around.identifiers)}

    def _load_profiles(self) -> dict[str, Row[Any]]:
        wanted = {i for row in self.before.values() for i in (row.home_id, row.profile_id) if i}
        wanted |= {i for merge in self.around.merges for i in (merge.into, merge.other) if i}
        wanted |= self.decided.profiles | set(self.decided.homes.values())
        query = select(Profile.id, Profile.created_at, Profile.display_name, Profile.retired_into)
        known = {row.id: row for row in select_in(self.connection, query, Profile.id, sorted(wanted))}
        homes = {row.retired_into for row in known.values() if row.retired_into} - known.keys()
        return known | {row.id: row for row in select_in(self.connection, query, Profile.id, sorted(homes))}

    def _age(self, profile: str) -> tuple[float, str]:
        created = self.known[profile].created_at if profile in self.known else self.now
        return created.timestamp(), profile

    def _choose_homes(self, groups: Sequence[frozenset[str]]) -> dict[str, str]:
        current = {i: row.home_id for i, row in self.before.items() if row.home_id} | dict(self.decided.homes)
        chosen = choose_profiles(groups, {i: self._age(home) for i, home in current.items()})
        return _by_identifier(groups, [profile or str(uuid.uuid4()) for profile in chosen])

    def _home(self, profile: str) -> str:
        """The profile that sources made this one part of, or itself."""
        row = self.known.get(profile)
        home = row.retired_into if row and row.retired_into else profile
        return self.heirs.get(home, home)

    def _choose_profiles(
        self, groups: Sequence[frozenset[str]], homes: Mapping[str, str], merged: Mapping[str, str]
    ) -> dict[str, str]:
        """A group is what the merge says that names it. Any other is its home, unless that was merged into another;
        then it is what it was before: now, or before the merge that is taken back; or new."""
        before = {i: self._home(row.profile_id) for i, row in self.before.items() if row.profile_id}
        named = frozenset[str]().union(*(part for m in self.around.merges for part in m.decision.together))
        by_hand = {i: merged[p] for i, p in homes.items() if i in named and p in merged}
        found = _by_identifier(groups, choose_profiles(groups, {i: self._age(p) for i, p in by_hand.items()}))
        for current in (homes, before):
            left = [group for group in groups if not group & found.keys()]
            gone = {p for p, into in merged.items() if p != into}.union(found.values())
            free = {i: self._age(p) for i, p in current.items() if p not in gone}
            found |= _by_identifier(left, choose_profiles(left, free))
        left = [group for group in groups if not group & found.keys()]
        returning, gone = self.decided.returning, {p for p, into in merged.items() if p != into}
        if (
            left
            and returning
            and returning in self.known
            and returning not in gone.union(homes.values(), found.values())
        ):
            most = max(left, key=lambda group: (len(group & self.decided.named), min(group)))
            found |= dict.fromkeys(most, returning)
            left.remove(most)
        return found | _by_identifier(left, [str(uuid.uuid4()) for _ in left])

    def _save_profiles(
        self, resolution: Resolution[str], homes: Mapping[str, str], profiles: Mapping[str, str]
    ) -> None:
        names: dict[str, str | None] = dict.fromkeys({*homes.values(), *profiles.values()})
        for group in resolution.groups:
            known = [self.around.names[key] for key in group if key in self.around.names]
            names[profiles[next(iter(group))]] = _display_name(known)
        created = [new_profile(i, name, self.now) for i, name in names.items() if i not in self.known]
        upsert(self.connection, Profile, created)
        self.created = {str(row["id"]) for row in created}
        living = set(profiles.values())
        renamed = [
            {"b_id": i, "display_name": name}
            for i, name in names.items()
            if i in living and i in self.known and self.known[i].display_name != name
        ]
        if renamed:
            mine = update(Profile).where(Profile.__table__.c.id == bindparam("b_id"))
            self.connection.execute(mine.values(display_name=bindparam("display_name")), renamed)
            self.changed.update(str(row["b_id"]) for row in renamed)  # their summaries name them

    def _repoint(self, homes: Mapping[str, str], profiles: Mapping[str, str], ambiguous: frozenset[str]) -> None:
        changed = [
            {"b_id": i, "home": homes.get(i), "profile": profiles.get(i), "shared": i in ambiguous}
            for i, row in self.before.items()
            if (row.home_id, row.profile_id, row.ambiguous) != (homes.get(i), profiles.get(i), i in ambiguous)
        ]
        if not changed:
            return
        self.connection.execute(
            update(IdentifierRow)
            .where(IdentifierRow.__table__.c.id == bindparam("b_id"))
            .values(home_id=bindparam("home"), profile_id=bindparam("profile"), ambiguous=bindparam("shared")),
            changed,
        )
        for batch in batches((row["b_id"] for row in changed), IN_LIST):
            self._move_documents(DocumentRow.identifier_id.in_(batch))

    def _move_documents(self, mine: Any) -> None:
        """Documents follow their identifier."""
        moves = (
            select(DocumentRow.profile_id, IdentifierRow.profile_id)
            .join(IdentifierRow, IdentifierRow.id == DocumentRow.identifier_id)
            .where(mine, DocumentRow.profile_id.is_distinct_from(IdentifierRow.profile_id))
            .distinct()
        )
        moving = list(self.connection.execute(moves))
        if moving:
            new = select(IdentifierRow.profile_id).where(IdentifierRow.id == DocumentRow.identifier_id)
            elsewhere = DocumentRow.profile_id.is_distinct_from(new.scalar_subquery())
            self.connection.execute(update(DocumentRow).where(mine, elsewhere).values(profile_id=new.scalar_subquery()))
            self.changed |= {profile for pair in moving for profile in pair if profile}

    def _retire(self, homes: Mapping[str, str]) -> None:
        """A home that lost all its identifiers goes on as the one that took most of them.

        Where all became ambiguous, or somebody said that they are another's, there is none.
        """
        before = {i: row.home_id for i, row in self.before.items() if row.home_id and i not in self.decided.homes}
        living = set(homes.values())
        self.heirs = {home: heir for home, heir in find_heirs(before, homes).items() if home not in living}
        if self.heirs:
            table = Profile.__table__
            self.connection.execute(
                update(Profile)
                .where(or_(table.c.id == bindparam("b_id"), table.c.retired_into == bindparam("b_id")))
                .values(retired_into=bindparam("heir")),
                [{"b_id": home, "heir": heir} for home, heir in sorted(self.heirs.items())],
            )

    def _place(self, homes: Mapping[str, str], profiles: Mapping[str, str], merged: Mapping[str, str]) -> None:
        """Let the profiles around here resolve to those that they go on as; texts given for them go along."""
        around = self.known.keys() | set(homes.values()) | set(profiles.values())
        living = set(profiles.values())
        heirs = {**self._heirs_of_merges(homes, profiles), **find_heirs(homes, profiles)}
        moved = []
        for row in self._load_related(around):
            home = row.retired_into or row.id
            into = place_profile(home, living, heirs, merged)
            if home in around and row.merged_into != (None if into == row.id else into):
                moved.append({"b_id": row.id, "into": None if into == row.id else into, "holder": into})
                self.changed |= {i for i in (row.id, row.merged_into, into) if i}
        if moved:
            table = Profile.__table__
            self.connection.execute(
                update(Profile)
                .where(table.c.id == bindparam("b_id"))
                .values(merged_into=bindparam("into"), updated_at=self.now),
                moved,
            )
            given = DocumentRow.__table__.c.given_to == bindparam("b_id")
            self.connection.execute(update(DocumentRow).where(given).values(profile_id=bindparam("holder")), moved)

    def _heirs_of_merges(self, homes: Mapping[str, str], profiles: Mapping[str, str]) -> Mapping[str, str]:
        """Of profiles that are nobody's home: a merge kept their identifiers from where these were, and is no more."""
        others = {i for merge in self.around.merges for i in (merge.into, merge.other)} | self.decided.profiles
        others |= {row.home_id for row in self.before.values()} | set(homes.values())
        before = {
            i: row.profile_id for i, row in self.before.items() if row.profile_id and row.profile_id not in others
        }
        return find_heirs(before, profiles)

    def _load_related(self, around: Iterable[str]) -> list[Row[Any]]:
        columns = (Profile.id, Profile.retired_into, Profile.merged_into)
        found: dict[str, Row[Any]] = {}
        for column in columns:
            rows = select_in(self.connection, select(*columns).order_by(Profile.id), column, sorted(around))
            found |= {row.id: row for row in rows}
        return list(found.values())


def _by_identifier(groups: Sequence[frozenset[str]], profiles: Sequence[str | None]) -> dict[str, str]:
    return {i: profile for group, profile in zip(groups, profiles, strict=True) if profile for i in group}


_CHATS = frozenset(
    ("slack", "whatsapp", "telegram", "discord", "msteams", "facebook", "instagram", "chatgpt", "claude")
)


def _display_name(names: list[tuple[str, str]]) -> str | None:
    """The CRM's name before a mail header's or a chat's, then the longest, then by alphabet."""
    if not names:
        return None
    return min(names, key=lambda n: (n[0] == "email", n[0].partition(":")[0] in _CHATS, -len(n[1]), n[1]))[1]
