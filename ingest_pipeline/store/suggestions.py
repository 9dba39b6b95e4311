"""Which profiles may be one person: for somebody to decide, never merged by themselves.

names that occur twice ─▶ the same company, or the same address before the @ ─┐
identifiers that several people claim ────────────────────────────────────────┴▶ suggestions, likeliest first
"""

import re
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice

from sqlalchemy import Connection, Engine, select

from ingest_pipeline.edits import Action, Target
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.lookup import ProfileSummary, claims_of_ambiguous, load_summaries, written
from ingest_pipeline.store.tables import EditRow, IdentifierRow, Profile, TraitRow
from ingest_pipeline.store.upsert import select_in

MAX_PROFILES = 4
"""An address that more people claim is a shared mailbox, a name that more people of a company have is a common one."""

MAX_NAMESAKES = 100_000
"""Profiles whose name another one has that are looked at."""

MAX_SHARED = 20_000
"""Claims of ambiguous identifiers that are looked at."""

_PAGE = 10_000
_NO_LETTERS = re.compile(r"[\W_]+")
_LEGAL = frozenset(
    ["ag", "bv", "co", "corp", "corporation", "gmbh", "inc", "kg", "limited", "llc", "llp", "ltd", "oy", "plc", "sa",
     "sarl", "sas", "spa", "srl"]
)  # fmt: skip
"""Words of a company's name that say what kind of company it is."""

_ROLES = frozenset(
    ["admin", "billing", "contact", "hello", "help", "hr", "info", "kontakt", "mail", "marketing", "office", "press",
     "sales", "service", "support", "team"]
)  # fmt: skip
"""Addresses before the @ that say nothing of a person."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Profiles that may be one person, the one to keep first. ``reasons``: what speaks for it."""

    profiles: tuple[ProfileSummary, ...]
    reasons: tuple[str, ...]

    @property
    def commands(self) -> tuple[str, ...]:
        keep, *others = self.profiles
        return tuple(f"ingest merge {keep.id} {other.id}" for other in others)


def normalise_name(name: str) -> str:
    """What two spellings of a name share: ``Park, Kim`` is ``Kim Park``, ``José`` is ``Jose``."""
    return " ".join(sorted(_words(name)))


def _words(text: str) -> list[str]:
    letters = text
    if not text.isascii():
        letters = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return _NO_LETTERS.sub(" ", letters.casefold()).split()


def suggest_merges(engine: Engine, limit: int = 50) -> list[Suggestion]:
    """At most so many suggestions. Pairs that somebody told apart by hand are not among them."""
    found: dict[frozenset[str], list[str]] = defaultdict(list)
    with reading(engine) as connection:
        told_apart = _told_apart(connection)
        for profiles, reason in _by_name(connection):
            found[profiles].append(reason)
        for profiles, reason in _by_claim(connection):
            found[profiles].append(reason)
        untold = {p: why for p, why in found.items() if not any(pair <= p for pair in told_apart)}
        likely = sorted(untold, key=lambda p: (-_weight(untold[p]), sorted(p)))[:limit]
        summaries = load_summaries(connection, {i for profiles in likely for i in profiles})
    return [
        Suggestion(tuple(sorted((summaries[i] for i in profiles), key=_keep_first)), tuple(untold[profiles]))
        for profiles in likely
    ]


def _weight(reasons: Iterable[str]) -> int:
    """Two reasons weigh more than one, a name more than an address that two have."""
    return sum(2 if reason.startswith("same name") else 1 for reason in reasons)


def _keep_first(profile: ProfileSummary) -> tuple[bool, int, str]:
    return profile.external_id is None, -profile.documents, profile.id


def _by_name(connection: Connection) -> Iterator[tuple[frozenset[str], str]]:
    """Profiles of one name that have something else in common."""
    names = {profile: digest for digest, profile in _namesakes(connection)}
    common: dict[tuple[int, str], set[str]] = defaultdict(set)
    for profile, thing in _things_in_common(connection, names):
        common[names[profile], thing].add(profile)
    for (_, thing), profiles in common.items():
        if 1 < len(profiles) <= MAX_PROFILES:
            yield frozenset(profiles), f"same name, {thing}"


def _namesakes(connection: Connection) -> list[tuple[int, str]]:
    """(hash of the name, profile) of those whose name another profile has."""
    import numpy as np

    # Two passes over the names, so that no more than their hashes need be held.
    hashes = array("q", (digest for digest, _ in _names(connection)))
    values, counts = np.unique(np.frombuffer(hashes, dtype=np.int64), return_counts=True)
    twice = set(values[counts > 1].tolist())
    return list(islice((pair for pair in _names(connection) if pair[0] in twice), MAX_NAMESAKES)) if twice else []


def _names(connection: Connection) -> Iterator[tuple[int, str]]:
    living = Profile.merged_into.is_(None) & Profile.display_name.is_not(None)
    query = select(Profile.id, Profile.display_name).where(living).order_by(Profile.id)
    for row in connection.execute(query.execution_options(yield_per=_PAGE)):
        name = normalise_name(row.display_name)
        if name:
            yield hash(name), row.id


def _things_in_common(connection: Connection, profiles: Iterable[str]) -> Iterator[tuple[str, str]]:
    """(profile, what it has that a namesake may have as well)."""
    ids = sorted(profiles)
    company = select(TraitRow.profile_id, TraitRow.value).where(TraitRow.key == "company")
    for row in select_in(connection, company, TraitRow.profile_id, ids):
        if isinstance(row.value, str):
            words = [word for word in _words(row.value) if word not in _LEGAL]
            if words:
                yield row.profile_id, f"same company ({' '.join(words)})"
    address = select(IdentifierRow.profile_id, IdentifierRow.value).where(IdentifierRow.kind == "email")
    for row in select_in(connection, address, IdentifierRow.profile_id, ids):
        local = row.value.partition("@")[0]
        if local not in _ROLES:
            yield row.profile_id, f"same address before the @ ({local})"


def _by_claim(connection: Connection) -> Iterator[tuple[frozenset[str], str]]:
    """Profiles that claim one identifier, which so is nobody's."""
    query = claims_of_ambiguous().order_by(IdentifierRow.kind, IdentifierRow.value).limit(MAX_SHARED)
    for (kind, value), rows in groupby(connection.execute(query), key=lambda row: (row[0], row[1])):
        profiles = frozenset(row.profile_id for row in rows)
        if 1 < len(profiles) <= MAX_PROFILES and not (kind == "email" and value.partition("@")[0] in _ROLES):
            yield profiles, f"both claim {written(kind, value)}"


def _told_apart(connection: Connection) -> set[frozenset[str]]:
    """Pairs that somebody split, or whose merge was taken back."""
    query = select(EditRow.profile_id, EditRow.value).where(
        EditRow.kind == Target.PROFILE.value, EditRow.action == Action.SPLIT.value
    )
    pairs = [(row.profile_id, row.value.get("into") or row.value.get("other")) for row in connection.execute(query)]
    ids = {i for pair in pairs for i in pair if i}
    rows = select_in(connection, select(Profile.id, Profile.merged_into), Profile.id, sorted(ids))
    living = {row.id: row.merged_into or row.id for row in rows}
    known = {frozenset((living[a], living[b])) for a, b in pairs if a in living and b in living}
    return {pair for pair in known if len(pair) == 2}
