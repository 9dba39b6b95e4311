"""Who is who: a pure function from the persons that sources describe to groups, one per profile.

    persons (key, identifiers, same_as) ── resolve ──▶ groups of identifiers + ambiguous identifiers

Deterministic keys only, never names. The result does not depend on the order of the persons, so a mailbox read
before the CRM gives the same profiles as one read after it.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Claim(Generic[Key]):
    """What one person's records say. ``key`` and ``same_as`` are native ids, ``shareable`` e-mails and phones.

    ``namespace`` is the system that tells people apart by ``key``. A bare sender's key is its e-mail address, which
    then also stands in ``shareable``. ``weak`` are the shareable ones that yield when links contradict each other.
    """

    key: Key
    namespace: str
    same_as: frozenset[Key] = frozenset()
    shareable: frozenset[Key] = frozenset()
    weak: frozenset[Key] = frozenset()


@dataclass(frozen=True, slots=True)
class Resolution(Generic[Key]):
    """``groups``: the identifiers of each person. ``ambiguous``: identifiers that would make one of two people."""

    groups: tuple[frozenset[Key], ...]
    ambiguous: frozenset[Key]


class _Groups(Generic[Key]):
    """Union-find over identifiers."""

    def __init__(self) -> None:
        self._parent: dict[Key, Key] = {}

    def find(self, key: Key) -> Key:
        parent = self._parent.setdefault(key, key)
        while parent != key:
            self._parent[key] = self._parent[parent]
            key, parent = parent, self._parent[parent]
        return key

    def union(self, a: Key, b: Key) -> None:
        self._parent[self.find(a)] = self.find(b)


def resolve(claims: Iterable[Claim[Key]]) -> Resolution[Key]:
    """Group identifiers into people.

    1. A record and the native ids it names as the same person (converted lead, merged record) are one person.
    2. An e-mail or phone claimed by two people of one namespace is ambiguous: it links nobody and is nobody's.
       Any other joins all who claim it: the same address in CRM, mail and chat is one person.
    3. Nor do longer ways make one of two people that a system tells apart (two contacts of one CRM have an address
       each, one contact of the other CRM has both): the identifiers on such a way are ambiguous, weak ones first.
    """
    claims = list(claims)
    people: _Groups[Key] = _Groups()
    for claim in claims:
        for other in claim.same_as:
            people.union(claim.key, other)
    claimed_by = _claimants(claims, people)
    ambiguous = {
        key for key, namespaces in claimed_by.items() if any(len(several) > 1 for several in namespaces.values())
    }
    weak = frozenset[Key]().union(*(claim.weak for claim in claims))
    while True:
        groups = _linked(claims, ambiguous)
        contradicting = _contradicting(claims, people, groups, ambiguous)
        if not contradicting:
            return Resolution(_collect(claims, groups, ambiguous), frozenset(ambiguous))
        ambiguous |= contradicting & weak or contradicting


def _linked(claims: Iterable[Claim[Key]], ambiguous: Set[Key]) -> _Groups[Key]:
    groups: _Groups[Key] = _Groups()
    for claim in claims:
        for key in claim.same_as | (claim.shareable - ambiguous):
            groups.union(claim.key, key)
    return groups


def _contradicting(
    claims: Iterable[Claim[Key]], people: _Groups[Key], groups: _Groups[Key], ambiguous: Set[Key]
) -> set[Key]:
    """The shareable identifiers on ways between two people that one namespace tells apart."""
    told_apart: dict[tuple[Key, str], set[Key]] = defaultdict(set)
    for claim in claims:
        # A bare sender has no native id: one person may well write from two addresses.
        if claim.key not in claim.shareable:
            told_apart[groups.find(claim.key), claim.namespace].add(people.find(claim.key))
    ends = {person for several in told_apart.values() if len(several) > 1 for person in several}
    torn = {groups.find(person) for person in ends}
    links: dict[Key, set[Key]] = defaultdict(set)
    for claim in claims:
        if groups.find(claim.key) in torn:
            for key in claim.shareable - ambiguous:
                links[key].add(people.find(claim.key))
    return _between(links, ends)


def _between(links: dict[Key, set[Key]], ends: Set[Key]) -> set[Key]:
    """The links left when those that lead nowhere are taken away, from the outside in."""
    ways: dict[Key, set[Key]] = defaultdict(set)
    for key, several in links.items():
        for person in several:
            ways[person].add(key)
    loose = set(links)
    while loose:
        key = loose.pop()
        # Somebody with no other link is not on a way, unless it ends with them.
        links[key] -= {person for person in links[key] if len(ways[person]) < 2 and person not in ends}
        if len(links[key]) < 2:
            for person in links.pop(key):
                ways[person].discard(key)
                loose |= ways[person]
    return set(links)


def _claimants(claims: list[Claim[Key]], groups: _Groups[Key]) -> Mapping[Key, Mapping[str, set[Key]]]:
    """Shareable identifier → namespace → the people in it who claim the identifier."""
    found: dict[Key, dict[str, set[Key]]] = defaultdict(lambda: defaultdict(set))
    for claim in claims:
        for key in claim.shareable:
            found[key][claim.namespace].add(groups.find(claim.key))
    return found


def _collect(claims: list[Claim[Key]], groups: _Groups[Key], ambiguous: Set[Key]) -> tuple[frozenset[Key], ...]:
    members: dict[Key, set[Key]] = defaultdict(set)
    for claim in claims:
        keys = {claim.key, *claim.same_as, *claim.shareable} - ambiguous
        if keys:
            members[groups.find(next(iter(keys)))].update(keys)
    return tuple(frozenset(keys) for keys in members.values())


def choose_profiles(groups: Iterable[frozenset[Key]], current: Mapping[Key, tuple[float, str]]) -> list[str | None]:
    """Which existing profile each group goes on under; None asks for a new one.

    ``current`` maps identifiers to the (creation time, id) of the profile they point at now. Older profiles choose
    first; after a split the profile stays with the group that keeps most of its identifiers. The input's order of
    groups decides only exact ties.
    """
    groups = list(groups)
    votes: dict[tuple[float, str], list[tuple[int, int]]] = defaultdict(list)
    for index, group in enumerate(groups):
        counts: dict[tuple[float, str], int] = defaultdict(int)
        for key in group:
            if key in current:
                counts[current[key]] += 1
        for profile, count in counts.items():
            votes[profile].append((-count, index))
    chosen: list[str | None] = [None] * len(groups)
    for profile in sorted(votes):
        for _, index in sorted(votes[profile]):
            if chosen[index] is None:
                chosen[index] = profile[1]
                break
    return chosen
