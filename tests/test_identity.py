"""Identity: deterministic keys join people, shared keys join nobody, and the order of the records never counts."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.identity import (
    Claim,
    Decision,
    Resolution,
    choose_profiles,
    find_heirs,
    merge_profiles,
    place_profile,
    resolve,
)
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


def merge(*keys: str) -> Decision[str]:
    return Decision((datetime.min.replace(tzinfo=UTC), ""), (frozenset(keys),))


def split(leave: str, *stay: str) -> Decision[str]:
    """Identifiers separated by spaces; those that stay in one part, or in several where a merge had joined them."""
    return Decision(
        (datetime.min.replace(tzinfo=UTC), ""),
        tuple(frozenset(part.split()) for part in stay),
        frozenset(leave.split()),
    )


def in_order(*decisions: Decision[str]) -> list[Decision[str]]:
    return [
        Decision((datetime(2024, 1, 1 + number, tzinfo=UTC), ""), decision.together, decision.apart)
        for number, decision in enumerate(decisions)
    ]


TWO = [sf(1, "a"), sf(2, "b")]
SHARED = [sf(1, "a"), sf(2, "a"), mail("a")]
ONE = [sf(1, "a", "b"), mail("a"), mail("b")]

BY_HAND = [
    ("nobody", [], [], [], ""),
    ("two contacts of one CRM", TWO, [merge("sf1", "sf2")], [["a", "b", "sf1", "sf2"]], ""),
    ("two who share nothing", [sf(1), slack(1)], [merge("sf1", "slack1")], [["sf1", "slack1"]], ""),
    ("the address that both claimed is theirs", SHARED, [merge("sf1", "sf2")], [["a", "sf1", "sf2"]], ""),
    ("three claimed it", [*SHARED, sf(3, "a")], [merge("sf1", "sf2")], [["sf1", "sf2"], ["sf3"]], "a"),
    ("a shared address is given to one of them", SHARED, [merge("sf1", "a")], [["a", "sf1"], ["sf2"]], ""),
    (
        "and links whom no system tells apart from its owner",
        [*SHARED, slack(1, "a")],
        [merge("sf1", "a")],
        [["a", "sf1", "slack1"], ["sf2"]],
        "",
    ),
    (
        "a merged sender's address stays, who claims it later",
        [mail("a"), slack(1), sf(7, "a"), sf(8, "a")],
        [merge("a", "slack1")],
        [["a", "slack1"], ["sf7"], ["sf8"]],
        "",
    ),
    ("one record more joins", [mail("a"), slack(1), sf(7, "a")], [merge("a", "slack1")], [["a", "sf7", "slack1"]], ""),
    (
        "what contradicted before does so no longer",
        [sf(1, "a"), sf(2, "b"), hub(1, "a", "b")],
        [merge("sf1", "sf2")],
        [["a", "b", "hub1", "sf1", "sf2"]],
        "",
    ),
    ("an address is another's", ONE, [split("b", "sf1 a")], [["a", "sf1"], ["b"]], ""),
    ("a contact is another's, its address stays", ONE, [split("sf1 b", "a")], [["a"], ["b", "sf1"]], ""),
    ("what linked the others is gone", ONE, [split("sf1", "a b")], [["a", "b"], ["sf1"]], ""),
    (
        "a shared address belongs to the side that somebody said",
        [sf(1, "a"), hub(1, "a")],
        [split("hub1", "sf1 a")],
        [["a", "sf1"], ["hub1"]],
        "",
    ),
    (
        "who has the address of one side belongs to that side",
        [sf(1, "a"), hub(1, "a"), slack(1, "a")],
        [split("hub1", "sf1 a")],
        [["a", "sf1", "slack1"], ["hub1"]],
        "",
    ),
    (
        "a new record that has both links nobody",
        [sf(1, "a"), hub(1, "b"), slack(1, "a", "b")],
        [split("hub1 b", "sf1 a")],
        [["a", "sf1"], ["b", "hub1"], ["slack1"]],
        "",
    ),
    (
        "nor does a chain",
        [sf(1, "a"), hub(1, "b"), slack(1, "a", "c"), person("x", "x", ("b", "c"), (), ())],
        [split("hub1 b", "sf1 a")],
        [["a", "sf1"], ["b", "hub1"], ["slack1"], ["x"]],
        "c",
    ),
    (
        "a phone on the chain yields first",
        [sf(1, "a"), hub(1, "b"), person("x", "x", ("a",), (), ("p",)), person("y", "y", ("b",), (), ("p",))],
        [split("hub1 b", "sf1 a")],
        [["a", "sf1", "x"], ["b", "hub1", "y"]],
        "p",
    ),
    ("a lead that was converted", [sf(1, same_as=("sf2",)), sf(2)], [split("sf2", "sf1")], [["sf1"], ["sf2"]], ""),
    (
        "a chain of merged records links nobody either",
        [sf(1, same_as=("c",)), sf(2, same_as=("c",)), sf(2, same_as=("sf4",))],
        [split("sf2", "sf1")],
        [["sf1"], ["sf2", "sf4"]],
        "c",
    ),
    (
        "nor is the record in between one of them",
        [sf(1, same_as=("sf3",)), sf(3, same_as=("sf2",)), sf(2)],
        [split("sf2", "sf1")],
        [["sf1"], ["sf2"], ["sf3"]],
        "",
    ),
    ("merged again", ONE, [split("b", "sf1 a"), merge("sf1", "b")], [["a", "b", "sf1"]], ""),
    ("split again", ONE, [split("b", "sf1 a"), merge("sf1", "b"), split("b", "sf1 a")], [["a", "sf1"], ["b"]], ""),
    ("the later one beats", TWO, [merge("sf1", "sf2"), split("sf2 b", "sf1 a")], [["a", "sf1"], ["b", "sf2"]], ""),
    (
        "a split of the one that stayed",
        [sf(1, "a", "b", "c")],
        [split("b", "sf1 a c"), split("c", "sf1 a")],
        [["a", "sf1"], ["b"], ["c"]],
        "",
    ),
    (
        "a split of the one that left",
        [sf(1, "a", "b", "c")],
        [split("b c", "sf1 a"), split("c", "b")],
        [["a", "sf1"], ["b"], ["c"]],
        "",
    ),
    (
        "two who left are merged, apart from the rest",
        [sf(1, "a", "b", "c")],
        [split("b", "sf1 a c"), split("c", "sf1 a"), merge("b", "c")],
        [["a", "sf1"], ["b", "c"]],
        "",
    ),
    (
        "parts that only a merge had joined fall apart without it",
        TWO,
        [split("b", "sf1 a", "sf2")],
        [["a", "sf1"], ["b"], ["sf2"]],
        "",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "decided", "expected", "ambiguous"), [c[1:] for c in BY_HAND], ids=[c[0] for c in BY_HAND]
)
def test_what_is_decided_by_hand_holds(
    said: list[Claim[str]], decided: list[Decision[str]], expected: list[list[str]], ambiguous: str
) -> None:
    result = resolve(said, in_order(*decided))
    assert sorted(sorted(group) for group in result.groups) == expected
    assert result.ambiguous == set(ambiguous)


KEYS = sorted({f"{n}:{n}/{i}" for n in ("hubspot",) for i in range(3)} | {f"email:{c}@x.example" for c in "abcd"})


@st.composite
def decisions(draw: st.DrawFn) -> list[Decision[str]]:
    made = []
    for _ in range(draw(st.integers(0, 3))):
        keys = draw(st.permutations(KEYS))
        cut, end = draw(st.integers(0, 2)), draw(st.integers(2, 4))
        made.append(
            Decision(
                (datetime.min.replace(tzinfo=UTC), ""),
                (frozenset(keys[cut:end]),) if cut < end else (),
                frozenset(keys[:cut]),
            )
        )
    return in_order(*made)


worlds = st.tuples(st.lists(claims, max_size=6), decisions())


@given(worlds, st.data())
def test_the_order_of_arrival_never_counts_beside_decisions(
    world: tuple[list[Claim[str]], list[Decision[str]]], data: st.DataObject
) -> None:
    said, decided = world
    other = resolve(data.draw(st.permutations(said)), data.draw(st.permutations(decided)))
    assert comparable(resolve(said, decided)) == comparable(other)


@given(worlds)
def test_decisions_lose_no_identifier(world: tuple[list[Claim[str]], list[Decision[str]]]) -> None:
    said, decided = world
    result = resolve(said, decided)
    grouped = [identifier for group in result.groups for identifier in group]
    everything = {identifier for c in said for identifier in (c.key, *c.same_as, *c.shareable)}
    named = {key for d in decided for part in (*d.together, d.apart) for key in part}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) | result.ambiguous == everything | named
    assert not result.ambiguous & (set(grouped) | named)


@given(worlds)
def test_the_last_decision_holds_whatever_was_said(world: tuple[list[Claim[str]], list[Decision[str]]]) -> None:
    said, decided = world
    found = resolve(said, decided).groups
    for last in decided[-1:]:
        for part in (*last.together, last.apart):
            assert not part or any(part <= group for group in found)
        for part in last.together:
            assert not any(part & group and last.apart & group for group in found)


@given(worlds)
def test_a_system_is_believed_where_nobody_decided(world: tuple[list[Claim[str]], list[Decision[str]]]) -> None:
    """Two native ids of one namespace are in one group only if it says so itself, or somebody who decided."""
    said, decided = world
    same = resolve([Claim(c.key, c.namespace, c.same_as) for c in said], decided).groups
    for group in resolve(said, decided).groups:
        for namespace in {c.namespace for c in said if c.namespace != "email"}:
            native = {c.key for c in said if c.namespace == namespace} & group
            assert sum(bool(native & people) for people in same) <= 1


def test_merged_profiles_go_on_as_the_one_they_were_merged_into() -> None:
    """Later merges take along what was merged before, in either direction; what was taken back is no input."""
    assert merge_profiles([]) == {}
    assert merge_profiles([("a", "b"), ("c", "a")]) == {"a": "c", "b": "c", "c": "c"}
    assert merge_profiles([("c", "a"), ("a", "b")]) == {"a": "c", "b": "c", "c": "c"}
    assert merge_profiles([("a", "b"), ("a", "b"), ("x", "y")]) == {"a": "a", "b": "a", "x": "x", "y": "x"}


@pytest.mark.parametrize(
    ("homes", "now", "merged", "expected"),
    [
        ({"1": "p"}, {"1": "p"}, {}, "p"),
        ({"1": "p"}, {"1": "q"}, {"p": "q"}, "q"),
        ({"1": "p", "2": "p", "3": "p"}, {"1": "q", "2": "r", "3": "r"}, {}, "r"),  # most of it
        ({"1": "p", "2": "p", "3": "p"}, {"1": "q", "2": "r", "3": "r"}, {"p": "q"}, "q"),  # somebody said where
        ({"1": "p", "2": "p"}, {"1": "r", "2": "q"}, {}, "q"),  # the first of equals
        ({}, {"1": "q"}, {"p": "q"}, "q"),  # nothing of its own but the merge
        ({"2": "q"}, {"2": "r"}, {"p": "q"}, "r"),
        ({}, {}, {}, "p"),
        ({"1": "p"}, {}, {}, "p"),  # ambiguous now
    ],
)
def test_a_profile_goes_on_where_its_identifiers_are(
    homes: dict[str, str], now: dict[str, str], merged: dict[str, str], expected: str
) -> None:
    assert place_profile("p", set(now.values()), find_heirs(homes, now), merged) == expected


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
