"""Merging and splitting by hand: it holds whatever is read later, and what is taken back leaves nothing behind."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, func, select, text, update

from ingest_pipeline.documents import Identifier, Person, Record
from ingest_pipeline.editing import Editor, set_trait
from ingest_pipeline.errors import InvalidInput, ProfileNotFound
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.merging import (
    Done,
    merge_profiles,
    plan_merge,
    plan_split,
    plan_undo,
    split_profile,
    undo_merge,
)
from ingest_pipeline.partitions import load_partition_keys
from ingest_pipeline.store.audit_log import Via, load_audit_log
from ingest_pipeline.store.direct import create_profile, save_text
from ingest_pipeline.store.edits import load_edits
from ingest_pipeline.store.engine import open_engine, reading
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.facts import load_facts
from ingest_pipeline.store.lookup import find_profile, list_ambiguous, list_profiles
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
from tests.builders import (
    contact,
    day,
    documents,
    empty,
    facts,
    identifiers_by_profile,
    people,
    record,
    rows,
    save,
    sender,
)
from tests.strategies import persons

A, B, C = "a@x.example", "b@x.example", "c@x.example"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """One database for all tests here: making one takes longer than most of them."""
    url = f"sqlite:///{tmp_path_factory.mktemp('merging') / 'profiles.db'}"
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_url")
        admin = create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE merging"))
        admin.dispose()
        url = admin.url.set(drivername="postgresql", database="merging").render_as_string(hide_password=False)
    engine = open_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(shared_engine: Engine) -> Engine:
    empty(shared_engine)
    return shared_engine


SCHEMA = load_traits(None)


def editor(engine: Engine) -> Editor:
    return Editor(engine, SCHEMA, "ana", Via.CLI)


def merge(engine: Engine, into: str, other: str) -> Done:
    return merge_profiles(editor(engine), plan_merge(engine, into, other))


def split(engine: Engine, profile: str, *identifiers: str) -> Done:
    return split_profile(editor(engine), plan_split(engine, profile, identifiers))


def undo(engine: Engine, profile: str) -> Done:
    return undo_merge(editor(engine), plan_undo(engine, profile))


def sync(engine: Engine, *records: Record) -> None:
    if records:
        save(engine, *records)
    extractor = OfflineExtractor(SCHEMA)
    list(extract_pending(engine, extractor, Selection(extractor.fingerprint)))
    list(fold_profiles(engine, SCHEMA))


def traits(engine: Engine, profile: str) -> dict[str, Any]:
    return {row.key: row.value for row in rows(engine, TraitRow, profile_id=find_profile(engine, profile))}


STAMPS = {"created_at", "updated_at", "changes", "folded", "last_accessed_at", "summary_updated_at", "summary_version"}
KEPT = (Profile, IdentifierRow, PersonRow, PersonIdentifier, DocumentRow, TraitRow, TraitHistory, Memory, Evidence)


def snapshot(engine: Engine) -> dict[str, list[str]]:
    """Every row of what makes people, but for when it was written, and for the decisions themselves."""
    found = {}
    for table in KEPT:
        names = [column.key for column in table.__table__.columns if column.key not in STAMPS]
        found[table.__tablename__] = sorted(repr([getattr(row, name) for name in names]) for row in rows(engine, table))
    found["edits"] = sorted(repr(tuple(row)) for row in rows(engine, EditRow) if row.kind != "profile")
    return found


def two(engine: Engine) -> tuple[str, str]:
    """Two people with a mail each, the older profile first."""
    save(engine, record(sender(A, "Kim Park"), native_id="1", text="I live in Lisbon.", said=day(1)))
    save(engine, record(sender(B, "K. Park"), native_id="2", text="I live in Porto.", said=day(2)))
    sync(engine)
    return find_profile(engine, A), find_profile(engine, B)


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


# Random histories


@st.composite
def worlds(draw: st.DrawFn, least: int = 1) -> list[Record]:
    said = draw(st.lists(persons(), min_size=least, max_size=5))
    texts = ("I live in Lisbon.", "I moved to Porto.", "I work at Acme.")
    return [
        record(p, native_id=draw(st.sampled_from("1234567")), text=draw(st.sampled_from(texts)), said=day(n + 1))
        for n, p in enumerate(said)
    ]


Step = tuple[str, Any]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("merge"), st.tuples(st.integers(0, 9), st.integers(0, 9))),
        st.tuples(st.just("split"), st.tuples(st.integers(0, 9), st.integers(1, 9))),
        st.tuples(st.just("undo"), st.integers(0, 9)),
        st.tuples(st.just("sync"), worlds()),
    ),
    max_size=5,
)


def living(engine: Engine) -> list[str]:
    """In an order that does not depend on random ids."""
    keys = identifiers_by_profile(engine)
    external = {row.id: row.external_id or "" for row in rows(engine, Profile)}
    return sorted(keys, key=lambda profile: (sorted(keys[profile]), external[profile]))


def shown(engine: Engine, profile: str) -> list[str]:
    return [i for i in sorted(identifiers_by_profile(engine)[profile]) if not i.startswith("profile:")]


def take(engine: Engine, step: Step) -> None:
    """A step of a history, as far as it makes sense there."""
    kind, what = step
    if kind == "sync":
        sync(engine, *what)
        return
    found = living(engine)
    if not found:
        return
    try:
        if kind == "merge":
            merge(engine, found[what[0] % len(found)], found[what[1] % len(found)])
        elif kind == "split":
            profile = found[what[0] % len(found)]
            names = shown(engine, profile)
            split(engine, profile, *(name for bit, name in enumerate(names) if what[1] >> bit & 1))
        else:
            undo(engine, found[what % len(found)])
    except InvalidInput as error:
        if error.code not in {"already_merged", "nothing_left", "no_merge", "no_identifiers"}:
            raise


def start(engine: Engine, world: Iterable[Record]) -> None:
    empty(engine)
    sync(engine, *world)
    save_text(engine, create_profile(engine, "customer 7"), "I work at Bolt.", None, None, day(1))
    sync(engine)


histories = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@histories
@given(worlds(), steps, st.integers(0, 9), st.integers(1, 9))
def test_merge_then_split_is_before_after_any_history(
    engine: Engine, world: list[Record], history: list[Step], a: int, b: int
) -> None:
    start(engine, world)
    for step in history:
        take(engine, step)
    found = living(engine)
    if len(found) < 2:
        return
    one, other = found[a % len(found)], found[(a + b % (len(found) - 1) + 1) % len(found)]
    before = snapshot(engine)
    merge(engine, one, other)
    assert find_profile(engine, other) == one
    undo(engine, one)
    assert snapshot(engine) == before


def one_by_one(engine: Engine, records: Iterable[Record]) -> None:
    """Each in a batch of its own, so that no two profiles are of the same age."""
    for item in records:
        save(engine, item)
    sync(engine)


@histories
@given(worlds(least=2), steps, st.integers(0, 9), st.integers(1, 9), st.lists(worlds(), min_size=1, max_size=2))
def test_a_merge_that_is_taken_back_was_never_there(
    engine: Engine, world: list[Record], history: list[Step], a: int, b: int, later: list[list[Record]]
) -> None:
    """Whatever was read while it held."""
    states = []
    for merged in (True, False):
        empty(engine)
        one_by_one(engine, world)
        for step in history:
            take(engine, step)
        found = living(engine)
        if len(found) < 2:
            return
        one, other = found[a % len(found)], found[(a + b % (len(found) - 1) + 1) % len(found)]
        if merged:
            merge(engine, one, other)
        for records in later:
            one_by_one(engine, records)
        if merged:
            undo(engine, one)
        sync(engine)
        keys = identifiers_by_profile(engine)
        ended = [keys[find_profile(engine, profile)] for profile in found if is_known(engine, profile)]
        states.append((people(engine), documents(engine), facts(engine), ended))
    assert states[0] == states[1]


def is_known(engine: Engine, profile: str) -> bool:
    """Profiles of which nothing is left are deleted."""
    with reading(engine) as connection:
        return bool(connection.execute(select(func.count()).where(Profile.id == profile)).scalar_one())


@histories
@given(worlds(least=2), steps, st.integers(0, 9), st.integers(1, 9), st.lists(worlds(), min_size=1, max_size=3))
def test_decisions_survive_every_later_sync(
    engine: Engine, world: list[Record], history: list[Step], a: int, b: int, later: list[list[Record]]
) -> None:
    """What was merged resolves to one profile, what was split to two."""
    start(engine, world)
    for step in history:
        take(engine, step)
    found = living(engine)
    if len(found) < 2:
        return
    one, other = found[a % len(found)], found[(a + b % (len(found) - 1) + 1) % len(found)]
    merge(engine, one, other)
    names = shown(engine, one)
    leaving = [name for bit, name in enumerate(names) if b >> bit & 1]
    apart: list[set[str]] = []
    try:
        done = split(engine, one, *leaving)
        apart = [set(shown(engine, p)) for p in (done.profile, done.other or "")]
    except InvalidInput:
        pass
    for records in later:
        sync(engine, *records)
        if not apart:
            assert len({find_profile(engine, profile) for profile in (one, other)}) == 1
        for group in identifiers_by_profile(engine).values():
            assert not apart or not all(group & side for side in apart)
        for side in apart:
            assert len({profile for profile, group in identifiers_by_profile(engine).items() if group & side}) <= 1
