"""Merging and splitting by hand: it holds whatever is read later, and what is taken back leaves nothing behind."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, update

from ingest_pipeline.documents import Identifier, Person
from ingest_pipeline.editing import Editor, set_trait
from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.merging import (
    Done,
    merge_profiles,
    plan_merge,
    plan_split,
    plan_undo,
    undo_merge,
)
from ingest_pipeline.partitions import load_partition_keys
from ingest_pipeline.store.audit_log import Via, load_audit_log
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.edits import load_edits
from ingest_pipeline.store.facts import load_facts
from ingest_pipeline.store.lookup import find_profile, list_ambiguous, list_profiles
from ingest_pipeline.store.tables import (
    DocumentRow,
    EditRow,
    IdentifierRow,
    PersonRow,
    Profile,
    TraitRow,
)
from tests.builders import (
    contact,
    day,
    empty,
    people,
    record,
    rows,
    save_text,
    sender,
)
from tests.merging import SCHEMA, A, B, C, editor, merge, shared_store, snapshot, split, sync, traits, two, undo


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with shared_store(request, tmp_path_factory.mktemp("store")) as engine:
        yield engine


@pytest.fixture
def engine(store: Engine) -> Engine:
    empty(store)
    return store


def test_all_of_the_other_becomes_the_one_and_still_resolves(engine: Engine) -> None:
    one, other = two(engine)
    set_trait(editor(engine), other, "company", "Acme")
    with engine.begin() as connection:
        connection.execute(update(Profile).where(Profile.id == other).values(external_id="customer 7"))
    assert merge(engine, one, other).profile == one
    assert {find_profile(engine, r) for r in (one, other, A, B, "customer 7")} == {one}
    assert {row.profile_id for row in rows(engine, DocumentRow)} == {one}
    assert traits(engine, one) == {"location": "Porto", "company": "Acme", **name_of(engine, one)}
    assert not rows(engine, TraitRow, profile_id=other)
    assert [(e.action.value, e.actor) for e in load_edits(engine, one)] == [("merge", "ana"), ("set", "ana")]


def name_of(engine: Engine, profile: str) -> dict[str, Any]:
    return {key: value for key, value in traits(engine, profile).items() if key == "name"}


def test_the_first_one_named_stays_even_if_it_is_younger(engine: Engine) -> None:
    older, younger = two(engine)
    merge(engine, younger, older)
    assert find_profile(engine, A) == younger
    sync(engine, record(contact(1, A), native_id="3"))
    assert find_profile(engine, "hubspot:h/1") == younger


def test_merge_then_split_is_before(engine: Engine) -> None:
    one, other = two(engine)
    set_trait(editor(engine), other, "company", "Acme")
    before = snapshot(engine)
    for order in ((one, other), (other, one)):
        merge(engine, *order)
        assert snapshot(engine) != before
        done = undo(engine, A)
        assert (done.profile, done.other) == order
        assert snapshot(engine) == before
        assert [e.action.value for e in load_edits(engine, order[0])][:2] == ["split", "merge"]


def test_who_was_nobodys_home_returns_as_the_same_profile(engine: Engine) -> None:
    """By a phone number the contact belongs to one user of a chat, by a merge to another: so the first is apart from
    their home."""
    phone = Identifier("phone", "+4930111")
    addresses = tuple(Identifier("email", address) for address in (A, B))

    def user(number: int, *more: Identifier) -> Person:
        return Person(Identifier("slack", f"slack:T1/{number}"), "slack:T1", f"User {number}", (*addresses, *more))

    known = Person(Identifier("salesforce", "salesforce:a/0"), "salesforce:a", None, (*addresses, phone))
    sync(engine, record(known, native_id="1"), record(user(0), native_id="2"))
    customer = create_profile(engine, "customer 7")
    save_text(engine, customer, "I work at Acme.", None, None, day(1))
    merge(engine, customer, find_profile(engine, A))
    sync(engine, record(user(2, phone), native_id="3"))
    other = find_profile(engine, "slack:slack:T1/2")
    assert other != customer
    before = snapshot(engine)
    merge(engine, customer, other)
    assert find_profile(engine, "slack:slack:T1/2") == customer
    undo(engine, customer)
    assert snapshot(engine) == before


def test_a_text_for_a_profile_that_was_merged_meanwhile_is_the_other_ones(engine: Engine) -> None:
    one, other = two(engine)
    merge(engine, one, other)
    save_text(engine, other, "I work at Bolt.", None, None, day(3))
    (given,) = rows(engine, DocumentRow, source="direct")
    assert (given.profile_id, given.given_to) == (one, other)
    undo(engine, one)
    (given,) = rows(engine, DocumentRow, source="direct")
    assert given.profile_id == other


def test_a_dead_key_is_back_after_the_undo(engine: Engine) -> None:
    """Dagster's keys are those of the living, as each sync registers them."""
    two(engine)
    before = load_partition_keys(engine)
    merge(engine, A, B)
    assert len(load_partition_keys(engine)) == 1
    undo(engine, A)
    assert load_partition_keys(engine) == before


def test_two_contacts_of_one_system_and_their_shared_address(engine: Engine) -> None:
    """By hand a contradiction is none: the address that both claimed is theirs."""
    sync(
        engine,
        record(contact(1, A, name="Kim"), native_id="1", text=""),
        record(contact(2, A, name="Kim Park"), native_id="2", text=""),
        record(sender(A), native_id="mail", said=day(1)),
    )
    before = snapshot(engine)
    plan = plan_merge(engine, "hubspot:h/1", "hubspot:h/2")
    assert plan.systems == ("hubspot",)
    merge_profiles(editor(engine), plan)
    assert people(engine) == [([f"email:{A}", "hubspot:h/1", "hubspot:h/2"], "Kim Park")]
    assert not list_ambiguous(engine)
    undo(engine, "hubspot:h/2")
    assert snapshot(engine) == before
    merge(engine, "hubspot:h/1", "hubspot:h/2")
    sync(engine)
    assert traits(engine, A)["location"] == "Lisbon"


def test_an_address_that_several_claim_can_be_given_to_one(engine: Engine) -> None:
    sync(
        engine,
        record(contact(1, A), native_id="1", text=""),
        record(contact(2, A), native_id="2", text=""),
        record(sender(A), native_id="mail"),
    )
    before = snapshot(engine)
    merge(engine, "hubspot:h/1", A)
    assert people(engine) == [([f"email:{A}", "hubspot:h/1"], None), (["hubspot:h/2"], None)]
    sync(engine, record(contact(3, A), native_id="3"))
    assert find_profile(engine, A) == find_profile(engine, "hubspot:h/1")
    assert find_profile(engine, "hubspot:h/3") != find_profile(engine, A)
    undo(engine, "hubspot:h/1")
    assert find_profile(engine, "hubspot:h/1") != find_profile(engine, "hubspot:h/2")
    with pytest.raises(InvalidInput, match="several people"):
        find_profile(engine, A)
    assert set(before["profiles"]) <= set(snapshot(engine)["profiles"])


def test_profiles_without_identifiers_are_merged_with_their_texts(engine: Engine) -> None:
    """With one that has some, into one that has some, among themselves."""
    for order in (("customer 7", A), (A, "customer 7"), ("customer 7", "customer 8")):
        empty(engine)
        check_without_identifiers(engine, order)


def check_without_identifiers(engine: Engine, order: tuple[str, str]) -> None:
    sync(engine, record(sender(A), native_id="1"))
    for name in ("customer 7", "customer 8"):
        profile = create_profile(engine, name)
        save_text(engine, profile, f"I work at {name.title()}.", None, None, day(2))
    sync(engine)
    before = snapshot(engine)
    merge(engine, *order)
    into = find_profile(engine, order[0])
    assert find_profile(engine, order[1]) == into
    assert not any(":" in i for p in list_profiles(engine)[0] for i in p.identifiers)
    assert not any(i.startswith("profile:") for i in load_facts(engine, into).identifiers)
    merged = [row for row in rows(engine, DocumentRow) if row.profile_id == into]
    assert len(merged) == 2
    sync(engine, record(contact(1, A), native_id="3", text=""))
    assert find_profile(engine, order[1]) == find_profile(engine, order[0])
    undo(engine, order[0])
    after = snapshot(engine)
    assert before["documents"] == after["documents"]
    assert set(before["profiles"]) == set(after["profiles"])
    assert before["traits"] == after["traits"]
    assert "profile" not in {row.kind for row in rows(engine, IdentifierRow)}


def test_a_chain_of_merges_is_taken_back_one_by_one(engine: Engine) -> None:
    two(engine)
    sync(engine, record(sender(C), native_id="3"))
    states = [snapshot(engine)]
    merge(engine, B, C)
    states.append(snapshot(engine))
    merge(engine, A, B)
    assert len({find_profile(engine, r) for r in (A, B, C)}) == 1
    undo(engine, C)
    assert snapshot(engine) == states.pop()
    undo(engine, C)
    assert snapshot(engine) == states.pop()
    with pytest.raises(InvalidInput, match="nothing was merged"):
        undo(engine, C)


def test_the_address_of_who_leaves_goes_along(engine: Engine) -> None:
    """Nobody else names it; the sender behind it is no witness."""
    sync(
        engine,
        record(contact(1, A, B), native_id="1", text="", modified=day(1)),
        record(Person(Identifier("slack", "T/U"), "slack:T", None, (Identifier("email", B),)), native_id="2"),
        record(sender(B), native_id="3"),
    )
    plan = plan_split(engine, A, ["slack:T/U"])
    assert (plan.leaving, plan.followers) == (("slack:T/U",), ())  # the contact names it, too
    plan = plan_split(engine, A, ["hubspot:h/1"])
    assert (plan.leaving, plan.followers) == ((A, "hubspot:h/1"), (A,))
    assert (plan.staying, plan.documents) == ((B, "slack:T/U"), 0)


def test_a_split_holds_against_all_that_would_link(engine: Engine) -> None:
    """A shared address, a new record, a chain over a third."""
    sync(
        engine,
        record(contact(1, A, B), native_id="1", text=""),
        record(sender(A, "Kim"), native_id="2", text="I live in Lisbon."),
        record(sender(B, "Lee"), native_id="3", text="I live in Porto."),
    )
    one = find_profile(engine, A)
    done = split(engine, A, B)
    assert done.profile == one
    assert done.other == find_profile(engine, B) != one
    assert traits(engine, A)["location"] == "Lisbon"
    assert traits(engine, B)["location"] == "Porto"
    chain = [Identifier("email", f"{n}@y.example") for n in range(2)]
    later = [
        contact(1, A, B),
        Person(Identifier("salesforce", "1"), "salesforce", None, (Identifier("email", A), Identifier("email", B))),
        Person(Identifier("slack", "1"), "slack:1", None, (Identifier("email", A), chain[0])),
        Person(Identifier("slack", "2"), "slack:2", None, tuple(chain)),
        Person(Identifier("slack", "3"), "slack:3", None, (Identifier("email", B), chain[1])),
    ]
    for number, person in enumerate(later):
        sync(engine, record(person, native_id=f"later {number}", modified=day(3)))
        assert (find_profile(engine, A), find_profile(engine, B)) == (one, done.other)
    assert {row.profile_id for row in rows(engine, DocumentRow, native_id="3")} == {done.other}


def test_a_converted_lead_can_be_another_person(engine: Engine) -> None:
    lead = Person(Identifier("salesforce", "lead"), "salesforce", "Lee")
    person = Person(Identifier("salesforce", "contact"), "salesforce", "Kim", (), (lead.key,))
    sync(engine, record(lead, native_id="1"), record(person, native_id="2"))
    split(engine, "salesforce:contact", "salesforce:lead")
    assert people(engine) == [(["salesforce:contact"], "Kim"), (["salesforce:lead"], "Lee")]
    sync(engine, record(person, native_id="2", modified=day(3)))
    assert find_profile(engine, "salesforce:contact") != find_profile(engine, "salesforce:lead")


def test_merged_again_after_a_split_and_split_again(engine: Engine) -> None:
    """The latest decision holds."""
    sync(engine, record(contact(1, A, B), native_id="1"))
    split(engine, A, B)
    apart = snapshot(engine)
    merge(engine, A, B)
    assert find_profile(engine, A) == find_profile(engine, B)
    undo(engine, A)
    assert snapshot(engine) == apart
    merge(engine, A, B)
    split(engine, A, B)
    sync(engine, record(contact(1, A, B), native_id="1", modified=day(3)))
    assert find_profile(engine, A) != find_profile(engine, B)


def test_a_merge_beats_the_split_of_an_address_without_a_sender(engine: Engine) -> None:
    """No person is known by the address; it is what somebody decided about."""
    sync(engine, record(contact(1, A, B), native_id="1"))
    split(engine, "hubspot:h/1", A, B)
    slack = Person(Identifier("slack", "T/U"), "slack:T", None, (Identifier("email", B),))
    sync(engine, record(slack, native_id="2"))
    before = snapshot(engine)
    merge(engine, "hubspot:h/1", "slack:T/U")
    assert len({find_profile(engine, r) for r in (A, B, "hubspot:h/1", "slack:T/U")}) == 1
    undo(engine, A)
    assert snapshot(engine) == before


def test_a_merge_is_taken_back_although_something_was_split_off_since(engine: Engine) -> None:
    sync(
        engine,
        record(contact(1, A, B), native_id="1"),
        record(Person(Identifier("slack", "T/U"), "slack:T"), native_id="2"),
    )
    one, other = find_profile(engine, A), find_profile(engine, "slack:T/U")
    merge(engine, A, "slack:T/U")
    third = split(engine, A, B).other
    undo(engine, A)
    found = [find_profile(engine, r) for r in (A, "hubspot:h/1", B, "slack:T/U")]
    assert found == [one, one, third, other]


def test_who_was_joined_by_sources_meanwhile_goes_back_with_them(engine: Engine) -> None:
    """Its id and the texts given for it follow its identifiers, as if there had been no merge."""
    one, other = two(engine)
    sync(engine, record(sender(C), native_id="3"))
    third = find_profile(engine, C)
    save_text(engine, third, "I work at Bolt.", None, None, day(3))
    merge(engine, A, B)
    sync(engine, record(contact(1, B, C), native_id="4"))
    assert find_profile(engine, third) == one
    undo(engine, A)
    assert [find_profile(engine, r) for r in (one, other, third, C)] == [one, other, other, other]
    assert {row.profile_id for row in rows(engine, DocumentRow, given_to=third)} == {other}


def test_the_sources_may_say_the_same_as_the_merge_that_is_taken_back(engine: Engine) -> None:
    one, other = two(engine)
    merge(engine, B, A)
    sync(engine, record(contact(1, A, B), native_id="3"))
    done = undo(engine, A)
    assert (done.profile, done.other) == (one, None)
    assert {find_profile(engine, r) for r in (A, B, one, other)} == {one}


def test_what_a_merge_had_joined_stays_together_when_what_it_named_leaves(engine: Engine) -> None:
    """The contact was all that the merge knew of its profile; a record read since stays, and so does the other one."""
    sync(engine, record(contact(1, A), native_id="1"))
    sync(engine, record(sender(B), native_id="2"))
    merge(engine, "hubspot:h/1", B)
    slack = Person(Identifier("slack", "T/U"), "slack:T", None, (Identifier("email", A),))
    sync(engine, record(slack, native_id="3"))
    split(engine, B, "hubspot:h/1")
    assert people(engine) == [([f"email:{A}", f"email:{B}", "slack:T/U"], None), (["hubspot:h/1"], None)]
    undo(engine, B)
    assert len({find_profile(engine, r) for r in (A, B, "hubspot:h/1")}) == 3


def test_an_address_that_a_merge_made_the_profiles_stays_when_one_of_the_claimants_leaves(engine: Engine) -> None:
    """It was not named among what is another person's."""
    sync(engine, record(contact(1, A), native_id="1"), record(contact(2, A), native_id="2"))
    sync(engine, record(contact(3, B), native_id="3"))
    merge(engine, "hubspot:h/1", "hubspot:h/2")
    merge(engine, "hubspot:h/3", "hubspot:h/1")
    split(engine, "hubspot:h/3", "hubspot:h/1")
    assert people(engine) == [
        ([f"email:{A}", f"email:{B}", "hubspot:h/2", "hubspot:h/3"], None),
        (["hubspot:h/1"], None),
    ]
    undo(engine, "hubspot:h/3")
    assert [a.identifier for a in list_ambiguous(engine)] == [f"email:{A}"]


def test_edits_go_along_and_back(engine: Engine) -> None:
    one, other = two(engine)
    set_trait(editor(engine), other, "location", "Oslo")
    merge(engine, one, other)
    assert traits(engine, one)["location"] == "Oslo"
    set_trait(editor(engine), one, "company", "Acme")
    undo(engine, one)
    assert (traits(engine, A)["location"], traits(engine, A)["company"]) == ("Lisbon", "Acme")
    assert traits(engine, B)["location"] == "Oslo"
    assert "company" not in traits(engine, B)


def test_what_is_planned_says_what_conflicts(engine: Engine) -> None:
    one, other = two(engine)
    plan = plan_merge(engine, A, B)
    assert plan.other is not None
    assert (plan.into.id, plan.other.id) == (one, other)
    assert ("location", "Lisbon", "Porto") in {(c.key, c.value, c.other) for c in plan.conflicts}
    assert (plan.into.documents, plan.other.documents) == (1, 1)
    merge_profiles(editor(engine), plan)
    again = plan_undo(engine, A)
    assert (again.identifiers, again.documents, again.merge.actor) == ((B,), 1, "ana")


REFUSED: list[tuple[Callable[[Engine], Done], type[Exception], str]] = [
    (lambda e: merge(e, A, A), InvalidInput, "with itself"),
    (lambda e: merge(e, A, find_profile(e, A)), InvalidInput, "one profile already"),
    (lambda e: merge(e, A, "nobody@x.example"), ProfileNotFound, "no profile"),
    (lambda e: merge(e, "nobody@x.example", A), ProfileNotFound, "no profile"),
    (lambda e: split(e, A), InvalidInput, "name the identifiers"),
    (lambda e: split(e, A, B), InvalidInput, "no identifier of the profile"),
    (lambda e: split(e, A, A), InvalidInput, "all identifiers"),
    (lambda e: undo(e, A), InvalidInput, "nothing was merged"),
    (lambda e: merge_profiles(Editor(e, SCHEMA, " ", Via.CLI), plan_merge(e, A, B)), InvalidInput, "the name"),
]


def test_what_makes_no_sense_is_refused_and_changes_nothing(engine: Engine) -> None:
    two(engine)
    before = snapshot(engine)
    for attempt, error, message in REFUSED:
        with pytest.raises(error, match=message):
            attempt(engine)
    assert snapshot(engine) == before
    assert not rows(engine, EditRow)


def test_somebody_was_faster(engine: Engine) -> None:
    two(engine)
    plan = plan_merge(engine, A, B)
    merge_profiles(editor(engine), plan)
    with pytest.raises(InvalidInput, match="meanwhile"):
        merge_profiles(editor(engine), plan)
    undoing = plan_undo(engine, A)
    undo_merge(editor(engine), undoing)
    with pytest.raises(InvalidInput, match="nothing was merged"):
        undo_merge(editor(engine), undoing)


def test_all_identifiers_may_leave_who_is_known_by_an_external_id(engine: Engine) -> None:
    sync(engine, record(sender(A), native_id="1"))
    profile = find_profile(engine, A)
    with engine.begin() as connection:
        connection.execute(update(Profile).values(external_id="customer 7"))
    done = split(engine, A, A)
    assert find_profile(engine, "customer 7") == profile
    assert find_profile(engine, A) == done.other
    sync(engine, record(contact(1, A), native_id="2"))
    assert find_profile(engine, "customer 7") == profile


def test_every_decision_is_in_the_audit_log_of_both(engine: Engine) -> None:
    one, other = two(engine)
    merge(engine, one, other)
    undo(engine, one)
    third = split(engine, find_profile(engine, save_pair(engine)), C).other
    for profile in (one, other):
        assert [(e.action, e.via, e.actor) for e in load_audit_log(engine, profile)] == [
            ("split", "cli", "ana"),
            ("merge", "cli", "ana"),
        ]
    assert [e.action for e in load_audit_log(engine, third)] == ["split"]
    assert not any("@" in repr(e.detail) for e in load_audit_log(engine))
    assert not any("@" in repr(row.value) for row in rows(engine, EditRow))


def save_pair(engine: Engine) -> str:
    sync(engine, record(contact(9, C), native_id="9"))
    return "hubspot:h/9"


def test_a_decision_on_a_slow_clock_is_still_the_later_one(engine: Engine) -> None:
    sync(engine, record(contact(1, A, B), native_id="1"))
    split(engine, A, B)
    ahead = datetime(2100, 1, 1, tzinfo=UTC)
    with engine.begin() as connection:
        connection.execute(update(EditRow).values(at=ahead))
        connection.execute(
            update(PersonRow).where(PersonRow.namespace.startswith("manual:")).values(described_at=ahead)
        )
    merge(engine, B, A)
    assert find_profile(engine, A) == find_profile(engine, B)
