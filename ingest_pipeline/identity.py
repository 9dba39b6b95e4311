"""Who is who: a pure function from the persons that sources describe to groups, one per profile.

    persons (key, identifiers, same_as) ── resolve ──▶ groups of identifiers + ambiguous identifiers
    decisions by hand ───────────────────────┘

Deterministic keys only, never names. The result does not depend on the order of the persons, so a mailbox read
before the CRM gives the same profiles as one read after it. What somebody decided by hand is an input like the persons:
it holds whatever is read later, and taking it away gives what there would be without it.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Link = TypeVar("Link", bound=Hashable)


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
class Decision(Generic[Key]):
    """What somebody decided by hand. It beats what sources say, and the later one beats the earlier (``order``).

    Each set of ``together`` is one person's identifiers. ``apart`` are those of one person who is none of these: a
    merge has none. An identifier named here belongs to that person, whoever else claims it.
    """

    order: tuple[datetime, str]
    together: tuple[frozenset[Key], ...] = ()
    apart: frozenset[Key] = frozenset()


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

    def union_all(self, keys: Iterable[Key]) -> None:
        first, *others = keys
        for other in others:
            self.union(first, other)


def resolve(claims: Iterable[Claim[Key]], decisions: Iterable[Decision[Key]] = ()) -> Resolution[Key]:
    """Group identifiers into people.

    1. A record and the native ids it names as the same person (converted lead, merged record) are one person.
    2. An e-mail or phone claimed by two people of one namespace is ambiguous: it links nobody and is nobody's.
       Any other joins all who claim it: the same address in CRM, mail and chat is one person.
    3. Nor do longer ways make one of two people that a system tells apart (two contacts of one CRM have an address
       each, one contact of the other CRM has both): the identifiers on such a way are ambiguous, weak ones first.
    4. What was decided by hand comes first. It makes one of two contacts of one CRM. Two people that it tells apart are
       not joined by 1 either: a native id on such a way is nobody's, unless a record has it. An identifier that was
       named stays with its person where 2 or 3 make it ambiguous.
    """
    by_hand = _stand(decisions)
    said = list(claims)
    claims, people = _people(said, by_hand)
    claimed_by = _claimants(claims, people)
    ambiguous = {
        key for key, namespaces in claimed_by.items() if any(len(several) > 1 for several in namespaces.values())
    }
    weak = frozenset[Key]().union(*(claim.weak for claim in claims))
    while True:
        groups = _linked(claims, ambiguous, by_hand)
        contradicting = _contradicting(claims, people, groups, ambiguous, by_hand)
        if not contradicting:
            found = _collect(claims, groups, ambiguous, by_hand)
            denied = {key for claim in said for key in claim.same_as} if by_hand.apart else set()
            return Resolution(found, frozenset(ambiguous - by_hand.named | denied.difference(*found)))
        ambiguous |= contradicting & weak or contradicting


@dataclass(frozen=True, slots=True)
class _ByHand(Generic[Key]):
    """What still stands of all decisions: sets of one person's identifiers, and pairs that are two people's."""

    together: tuple[frozenset[Key], ...]
    apart: tuple[tuple[Key, Key], ...]
    named: frozenset[Key]

    def told_apart(self, groups: _Groups[Key]) -> list[tuple[Key, Key]]:
        """The pairs as groups; those that a later merge made one are none."""
        found = ((groups.find(a), groups.find(b)) for a, b in self.apart)
        return [(a, b) for a, b in found if a != b]


def _stand(decisions: Iterable[Decision[Key]]) -> _ByHand[Key]:
    """A later split cuts what earlier decisions put together; a later merge simply joins the sides of a split."""
    ordered = sorted(decisions, key=lambda decision: decision.order)
    together: list[frozenset[Key]] = []
    apart: list[tuple[Key, Key]] = []
    for number, decision in enumerate(ordered):
        cuts = [later.apart for later in ordered[number + 1 :] if later.apart]
        one = [part for whole in decision.together for part in _cut(whole, cuts)]
        other = _cut(decision.apart, cuts)
        together += one + other
        apart += [(next(iter(a)), next(iter(b))) for a in one for b in other]
    return _ByHand(tuple(together), tuple(apart), frozenset[Key]().union(*together))


def _cut(whole: frozenset[Key], cuts: Iterable[frozenset[Key]]) -> list[frozenset[Key]]:
    parts = [whole]
    for cut in cuts:
        parts = [side for part in parts for side in (part & cut, part - cut)]
    return [part for part in parts if part]


def _people(claims: list[Claim[Key]], by_hand: _ByHand[Key]) -> tuple[list[Claim[Key]], _Groups[Key]]:
    """Who is one person by rule 1, and the claims without what a decision denies."""
    people: _Groups[Key] = _Groups()
    for part in by_hand.together:
        people.union_all(part)
    if by_hand.apart:
        claims = _without_denied_records(claims, people, by_hand)
    for claim in claims:
        for other in claim.same_as:
            people.union(claim.key, other)
    return (_without_denied_links(claims, people, by_hand) if by_hand.named else claims), people


def _without_denied_records(claims: list[Claim[Key]], decided: _Groups[Key], by_hand: _ByHand[Key]) -> list[Claim[Key]]:
    """Leave out each ``same_as`` on a way between two people that somebody told apart."""
    links = {
        (claim.key, other): {decided.find(claim.key), decided.find(other)}
        for claim in claims
        for other in claim.same_as
    }
    joined: _Groups[Key] = _Groups()
    for a, b in links:
        joined.union(decided.find(a), decided.find(b))
    pairs = by_hand.told_apart(decided)
    ends = {end for a, b in pairs if joined.find(a) == joined.find(b) for end in (a, b)}
    denied = _between(links, ends) if ends else set()
    return [
        replace(claim, same_as=frozenset(other for other in claim.same_as if (claim.key, other) not in denied))
        for claim in claims
    ]


def _without_denied_links(claims: list[Claim[Key]], people: _Groups[Key], by_hand: _ByHand[Key]) -> list[Claim[Key]]:
    """Leave out identifiers that were said to be another's: of who was told apart by hand, or by one of the systems."""
    apart: dict[Key, set[Key]] = defaultdict(set)
    for a, b in by_hand.told_apart(people):
        apart[a].add(b)
        apart[b].add(a)
    natives: dict[Key, set[str]] = defaultdict(set)
    for claim in claims:
        if claim.key not in claim.shareable:
            natives[people.find(claim.key)].add(claim.namespace)

    def is_denied(claim: Claim[Key], key: Key) -> bool:
        person, owner = people.find(claim.key), people.find(key)
        return person != owner and (owner in apart[person] or claim.namespace in natives[owner])

    return [
        replace(claim, shareable=claim.shareable - {k for k in claim.shareable & by_hand.named if is_denied(claim, k)})
        for claim in claims
    ]


def _linked(claims: Iterable[Claim[Key]], ambiguous: Set[Key], by_hand: _ByHand[Key]) -> _Groups[Key]:
    groups: _Groups[Key] = _Groups()
    for part in by_hand.together:
        groups.union_all(part)
    for claim in claims:
        for key in claim.same_as | (claim.shareable - ambiguous):
            groups.union(claim.key, key)
    return groups


def _contradicting(
    claims: Iterable[Claim[Key]],
    people: _Groups[Key],
    groups: _Groups[Key],
    ambiguous: Set[Key],
    by_hand: _ByHand[Key],
) -> set[Key]:
    """The shareable identifiers on ways between two people that one namespace, or somebody, tells apart."""
    told_apart: dict[tuple[Key, str], set[Key]] = defaultdict(set)
    for claim in claims:
        # A bare sender has no native id: one person may well write from two addresses.
        if claim.key not in claim.shareable:
            told_apart[groups.find(claim.key), claim.namespace].add(people.find(claim.key))
    ends = {person for several in told_apart.values() if len(several) > 1 for person in several}
    ends |= {end for a, b in by_hand.told_apart(people) if groups.find(a) == groups.find(b) for end in (a, b)}
    torn = {groups.find(person) for person in ends}
    links: dict[Key, set[Key]] = defaultdict(set)
    for claim in claims:
        if groups.find(claim.key) in torn:
            for key in claim.shareable - ambiguous:
                links[key].add(people.find(claim.key))
                if key in by_hand.named:
                    links[key].add(people.find(key))
    return _between(links, ends)


def _between(links: dict[Link, set[Key]], ends: Set[Key]) -> set[Link]:
    """The links left when those that lead nowhere are taken away, from the outside in."""
    ways: dict[Key, set[Link]] = defaultdict(set)
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


def _collect(
    claims: list[Claim[Key]], groups: _Groups[Key], ambiguous: Set[Key], by_hand: _ByHand[Key]
) -> tuple[frozenset[Key], ...]:
    members: dict[Key, set[Key]] = defaultdict(set)
    for claim in claims:
        keys = {claim.key, *claim.same_as, *claim.shareable} - ambiguous
        if keys:
            members[groups.find(next(iter(keys)))].update(keys)
    for part in by_hand.together:
        members[groups.find(next(iter(part)))].update(part)
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


def merge_profiles(merges: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """What each profile goes on as after (into, other) merges by hand, in their order. Others are not in it."""
    groups: _Groups[str] = _Groups()
    seen: set[str] = set()
    for into, other in merges:
        groups.union(other, into)
        seen |= {into, other}
    return {profile: groups.find(profile) for profile in seen}


def find_heirs(homes: Mapping[Key, str], now: Mapping[Key, str]) -> Mapping[str, str]:
    """For each profile the one that has most of its identifiers now; the first by id of several."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for key, home in homes.items():
        if key in now:
            votes[home][now[key]] += 1
    return {home: min(counts, key=lambda heir: (-counts[heir], heir)) for home, counts in votes.items()}


def place_profile(profile: str, living: Set[str], heirs: Mapping[str, str], merged: Mapping[str, str]) -> str:
    """The profile as which this one goes on: what it was merged into by hand, itself, or its heir."""
    into = merged.get(profile, profile)
    if into != profile:
        return place_profile(into, living, heirs, merged)
    return profile if profile in living else heirs.get(profile, profile)
