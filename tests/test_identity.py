"""Identity: deterministic keys join people, shared keys join nobody, and the order of the records never counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.identity import Claim, Resolution, choose_profiles, resolve
from tests.strategies import claims


def sf(number: int, *emails: str, same_as: tuple[str, ...] = (), weak: tuple[str, ...] = ()) -> Claim[str]:
    return person(f"sf{number}", "salesforce", emails, same_as, weak)


def hub(number: int, *emails: str, same_as: tuple[str, ...] = (), weak: tuple[str, ...] = ()) -> Claim[str]:
    return person(f"hub{number}", "hubspot", emails, same_as, weak)


def slack(number: int, *emails: str) -> Claim[str]:
    return person(f"slack{number}", "slack", emails, (), ())


def mail(address: str) -> Claim[str]:
    return person(address, "email", (address,), (), ())


def person(
    key: str, namespace: str, emails: tuple[str, ...], same_as: tuple[str, ...], weak: tuple[str, ...]
) -> Claim[str]:
    return Claim(key, namespace, frozenset(same_as), frozenset(emails) | frozenset(weak), frozenset(weak))


def groups(*claims: Claim[str]) -> list[list[str]]:
    return sorted(sorted(group) for group in resolve(claims).groups)


CASES = [
    ("nobody", [], [], ""),
    ("one person", [sf(1, "a")], [["a", "sf1"]], ""),
    ("no e-mail at all", [sf(1), sf(2)], [["sf1"], ["sf2"]], ""),
    ("CRM, mail and chat", [sf(1, "a"), mail("a"), slack(1, "a")], [["a", "sf1", "slack1"]], ""),
    ("one contact, three addresses", [hub(1, "a", "b"), mail("a"), mail("b")], [["a", "b", "hub1"]], ""),
    ("two contacts share an address", [sf(1, "a"), sf(2, "a")], [["sf1"], ["sf2"]], "a"),
    ("the sender of a shared address is nobody", [sf(1, "a"), sf(2, "a"), mail("a")], [["sf1"], ["sf2"]], "a"),
    ("shared means nobody's", [sf(1, "a"), sf(2, "a"), hub(1, "a")], [["hub1"], ["sf1"], ["sf2"]], "a"),
    ("shared in one CRM, own address besides", [sf(1, "a", "b"), sf(2, "a"), mail("b")], [["b", "sf1"], ["sf2"]], "a"),
    ("a converted lead", [sf(1, "a", same_as=("sf2",)), sf(2, "a")], [["a", "sf1", "sf2"]], ""),
    ("a merged record of which nothing else is left", [hub(1, "a", same_as=("hub9",))], [["a", "hub1", "hub9"]], ""),
    ("lead with an address of its own", [sf(1, "a", same_as=("sf2",)), sf(2, "b")], [["a", "b", "sf1", "sf2"]], ""),
    ("merged twice", [sf(1, same_as=("sf2",)), sf(2, same_as=("sf3",)), sf(3, "a")], [["a", "sf1", "sf2", "sf3"]], ""),
    ("a chain over two CRMs", [sf(1, "a", "b"), hub(1, "b", "c"), mail("c")], [["a", "b", "c", "hub1", "sf1"]], ""),
    ("the other CRM contradicts", [sf(1, "a"), sf(2, "b"), hub(1, "a", "b")], [["hub1"], ["sf1"], ["sf2"]], "ab"),
    (
        "what hangs on a contradiction and leads nowhere stays",
        [sf(1, "a", "x"), sf(2, "b"), hub(1, "a", "b"), slack(1, "x"), mail("a")],
        [["hub1"], ["sf1", "slack1", "x"], ["sf2"]],
        "ab",
    ),
    (
        "a long way round is no way either",
        [sf(1, "a"), hub(1, "a", "b"), slack(1, "b", "c"), sf(2, "c")],
        [["hub1"], ["sf1"], ["sf2"], ["slack1"]],
        "abc",
    ),
    (
        "a phone yields before an address",
        [sf(1, "a", weak=("p",)), hub(1, "a"), hub(2, "b", weak=("p",))],
        [["a", "hub1", "sf1"], ["b", "hub2"]],
        "p",
    ),
    ("a phone joins like an address", [sf(1, "a", weak=("p",)), hub(1, weak=("p",))], [["a", "hub1", "p", "sf1"]], ""),
]  # fmt: skip


@pytest.mark.parametrize(("claims", "expected", "ambiguous"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_people_are_joined_by_their_keys(claims: list[Claim[str]], expected: list[list[str]], ambiguous: str) -> None:
    assert groups(*claims) == expected
    assert resolve(claims).ambiguous == set(ambiguous)


def test_names_are_not_even_looked_at() -> None:
    """A claim has no name: two people called Li Wei are two people."""
    assert "name" not in Claim.__slots__


def comparable(resolution: Resolution[str]) -> tuple[set[frozenset[str]], frozenset[str]]:
    return set(resolution.groups), resolution.ambiguous


@given(st.lists(claims, max_size=8).flatmap(lambda c: st.tuples(st.just(c), st.permutations(c))))
def test_the_order_never_counts(pair: tuple[list[Claim[str]], list[Claim[str]]]) -> None:
    assert comparable(resolve(pair[0])) == comparable(resolve(pair[1]))


@given(st.lists(claims, max_size=8))
def test_said_twice_is_said_once(said: list[Claim[str]]) -> None:
    assert comparable(resolve(said)) == comparable(resolve(said + said))


@given(st.lists(claims, max_size=8))
def test_every_identifier_is_in_one_group_or_ambiguous(said: list[Claim[str]]) -> None:
    result = resolve(said)
    grouped = [identifier for group in result.groups for identifier in group]
    everything = {identifier for c in said for identifier in (c.key, *c.same_as, *c.shareable)}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) | result.ambiguous == everything
    assert not set(grouped) & result.ambiguous


@given(st.lists(claims, max_size=8))
def test_a_system_that_tells_two_people_apart_is_believed(said: list[Claim[str]]) -> None:
    """No group holds two native ids of one namespace, unless that namespace itself says that they are the same."""
    same = resolve([Claim(c.key, c.namespace, c.same_as) for c in said]).groups
    for group in resolve(said).groups:
        for namespace in {c.namespace for c in said if c.namespace != "email"}:
            native = {c.key for c in said if c.namespace == namespace} & group
            assert sum(bool(native & people) for people in same) <= 1


@given(st.lists(claims, max_size=6), claims)
def test_one_more_record_never_parts_what_no_shared_key_held(said: list[Claim[str]], more: Claim[str]) -> None:
    """Groups only part at an identifier that became ambiguous."""
    before, after = resolve(said), resolve([*said, more])
    if after.ambiguous == before.ambiguous:
        assert all(any(group <= other for other in after.groups) for group in before.groups)


OLD, NEW = (1.0, "old"), (2.0, "new")


@pytest.mark.parametrize(
    ("found", "current", "expected"),
    [
        (["a"], {}, [None]),
        (["a"], {"a": OLD}, ["old"]),
        (["abc"], {"a": OLD}, ["old"]),  # grew
        (["ab"], {"a": NEW, "b": OLD}, ["old"]),  # merged: the older stays
        (["abc"], {"a": NEW, "b": NEW, "c": OLD}, ["old"]),  # even if smaller
        (["ab", "c"], {"a": OLD, "b": OLD, "c": OLD}, ["old", None]),  # parted: most of it stays
        (["c", "ab"], {"a": OLD, "b": OLD, "c": OLD}, [None, "old"]),
        (["ab", "cd"], {"a": OLD, "b": NEW, "c": NEW, "d": NEW}, ["old", "new"]),  # b went over
        (["ab", "c"], {"a": OLD, "b": NEW, "c": NEW}, ["old", "new"]),
        (["ab", "c"], {"a": OLD, "b": OLD, "c": NEW}, ["old", "new"]),  # nothing happened
    ],
)
def test_profiles_stay_with_most_of_their_identifiers(
    found: list[str], current: dict[str, tuple[float, str]], expected: list[str | None]
) -> None:
    assert choose_profiles([frozenset(group) for group in found], current) == expected


@given(st.lists(claims, min_size=1, max_size=8))
def test_choosing_again_chooses_the_same(said: list[Claim[str]]) -> None:
    found = list(resolve(said).groups)
    current = {i: (float(n), f"profile {n}") for n, group in enumerate(found) for i in group}
    assert choose_profiles(found, current) == [f"profile {n}" for n in range(len(found))]


@given(
    st.lists(claims, max_size=8),
    st.dictionaries(
        st.sampled_from(["email:a@x.example", "email:b@x.example", "hubspot:hubspot/0"]), st.sampled_from([OLD, NEW])
    ),
)
def test_no_profile_is_chosen_twice(said: list[Claim[str]], current: dict[str, tuple[float, str]]) -> None:
    chosen = [c for c in choose_profiles(resolve(said).groups, current) if c]
    assert len(chosen) == len(set(chosen))
