"""Persons in the store: whatever the order and the batches, every identifier points at the same person's profile."""

from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, update

from ingest_pipeline.documents import Identifier, Person, Record
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.people import BUCKETS
from ingest_pipeline.store.tables import IdentifierRow, Profile, TraitRow
from tests.builders import (
    contact,
    day,
    empty,
    facts,
    identifiers_by_profile,
    owners,
    people,
    record,
    rows,
    save,
    sender,
)
from tests.strategies import persons

A, B = "a@x.example", "b@x.example"


def identities(engine: Engine) -> tuple[object, ...]:
    ambiguous = sorted(row.value for row in rows(engine, IdentifierRow) if row.ambiguous)
    return people(engine), owners(engine), ambiguous


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[list[Record]], list[list[Record]]]:
    """The same records twice, in two orders and cut into batches in two ways."""
    said = draw(st.lists(st.tuples(persons(), st.sampled_from([None, day(1), day(2)])), min_size=1, max_size=6))
    records = [record(person, native_id=str(n), modified=at) for n, (person, at) in enumerate(said)]
    return _batches(draw, records), _batches(draw, draw(st.permutations(records)))


def _batches(draw: st.DrawFn, records: list[Record]) -> list[list[Record]]:
    cut = draw(st.integers(0, len(records)))
    return [records[:cut], records[cut:]] if draw(st.booleans()) else [[r] for r in records]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrivals())
def test_the_order_and_the_batches_never_count(engine: Engine, both: tuple[list[list[Record]], ...]) -> None:
    results = []
    for batches in both:
        empty(engine)
        for batch in batches:
            save(engine, *batch)
        results.append(identities(engine))
        for batch in batches:
            save(engine, *batch)
        assert identities(engine) == results[-1]
    assert results[0] == results[1]


def test_one_person_in_three_systems_is_one_profile(engine: Engine) -> None:
    slack = Person(Identifier("slack", "T1/U1"), "slack:T1", "kim", (Identifier("email", A),))
    save(engine, record(sender(A, "K. Park"), native_id="mail"))
    before = find_profile(engine, A)
    save(engine, record(contact(1, A, name="Kim Park"), native_id="note"), record(slack, native_id="chat"))
    assert people(engine) == [([f"email:{A}", "hubspot:h/1", "slack:T1/U1"], "Kim Park")]
    assert find_profile(engine, "slack:T1/U1") == before
    assert len(set(owners(engine).values())) == 1


def test_a_merged_profile_goes_on_resolving_and_the_older_one_stays(engine: Engine) -> None:
    save(engine, record(sender(A), native_id="1"))
    save(engine, record(sender(B), native_id="2"))
    older, younger = find_profile(engine, A), find_profile(engine, B)
    save(engine, record(contact(1, A, B), native_id="3"))
    assert find_profile(engine, younger) == find_profile(engine, older) == find_profile(engine, B) == older
    assert owners(engine).keys() == {"1", "2", "3"}
    assert len(set(owners(engine).values())) == 1


def test_a_chain_of_merges_resolves_in_one_step(engine: Engine) -> None:
    addresses = [f"{letter}@x.example" for letter in "abcd"]
    for number, address in enumerate(addresses):
        save(engine, record(sender(address), native_id=str(number)))
    first = [find_profile(engine, address) for address in addresses]
    for number, pair in enumerate([addresses[2:], addresses[1:3], addresses[:2]]):
        person = Person(
            Identifier("crm", str(number)), f"crm{number}", None, tuple(Identifier("email", a) for a in pair)
        )
        save(engine, record(person, native_id=f"m{number}"))
    assert {find_profile(engine, profile) for profile in first} == {first[0]}
    assert {row.merged_into for row in rows(engine, Profile) if row.merged_into} == {first[0]}


@pytest.mark.parametrize("reference_first", [True, False])
def test_a_reference_finds_its_profile_and_never_makes_one(engine: Engine, reference_first: bool) -> None:
    reference, claim = record(contact(claims=False), native_id="task"), record(contact(1, A), native_id="contact")
    save(engine, reference if reference_first else claim)
    if reference_first:
        assert people(engine) == []
        assert owners(engine) == {"task": None}
    save(engine, claim if reference_first else reference)
    assert owners(engine) == dict.fromkeys(("task", "contact"), frozenset({f"email:{A}", "hubspot:h/1"}))


def test_two_contacts_with_one_address_take_it_from_the_sender(engine: Engine) -> None:
    """The mail is nobody's any more, what it proved is gone, and no empty profile is left."""
    schema = load_traits(None)
    save(engine, record(sender(A), native_id="mail", said=day(1)))
    sync(engine)
    assert [row.key for row in rows(engine, TraitRow)] == ["location"]
    save(engine, record(contact(1, A), native_id="1", text=""), record(contact(2, A), native_id="2", text=""))
    list(fold_profiles(engine, schema))
    assert people(engine) == [(["hubspot:h/1"], None), (["hubspot:h/2"], None)]
    assert owners(engine)["mail"] is None
    assert facts(engine) == {"traits": [], "history": [], "memories": [], "evidence": []}
    with pytest.raises(InvalidInput, match="several people"):
        find_profile(engine, A)


def test_an_address_that_becomes_ambiguous_later_is_refolded_away(engine: Engine) -> None:
    save(engine, record(contact(1, A), native_id="1", text="I live in Porto.", said=day(1)))
    save(engine, record(sender(A), native_id="mail", said=day(2)))
    sync(engine)
    assert [row.value for row in rows(engine, TraitRow, key="location")] == ["Lisbon"]
    save(engine, record(contact(2, A), native_id="2", text="", modified=day(3)))
    sync(engine)
    assert [row.value for row in rows(engine, TraitRow, key="location")] == ["Porto"]
    assert owners(engine) == {"1": frozenset({"hubspot:h/1"}), "mail": None}


def test_a_profile_with_something_of_its_own_stays_without_identifiers(engine: Engine) -> None:
    save(engine, record(sender(A), native_id="mail"))
    profile = find_profile(engine, A)
    with engine.begin() as connection:
        connection.execute(update(Profile).values(external_id="customer 7"))
    save(engine, record(contact(1, A), native_id="1"), record(contact(2, A), native_id="2"))
    assert find_profile(engine, "customer 7") == profile
    assert identifiers_by_profile(engine)[profile] == frozenset()


def sync(engine: Engine) -> None:
    schema = load_traits(None)
    extractor = OfflineExtractor(schema)
    list(extract_pending(engine, extractor, Selection(extractor.fingerprint)))
    list(fold_profiles(engine, schema))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([("Kim", day(1)), ("Kim Park", day(2))], "Kim Park"),
        ([("Kim Park", day(2)), ("Kim", day(1))], "Kim Park"),
        ([("Kim Park", day(1)), (None, day(2))], "Kim Park"),  # a later mail without a name
        ([("Kim", None), ("Li", day(1))], "Li"),
        ([("Kim", day(1)), ("Li", None)], "Kim"),
        ([("Kim", None), ("Li", None)], "Li"),  # whichever comes first
        ([("Li", None), ("Kim", None)], "Li"),
        ([(None, None)], None),
    ],
)
def test_the_latest_name_holds(engine: Engine, said: list[tuple[str | None, datetime | None]], expected: str) -> None:
    for number, (name, at) in enumerate(said):
        save(engine, record(contact(1, name=name), native_id=str(number), modified=at))
    assert people(engine) == [(["hubspot:h/1"], expected)]


def test_the_stronger_relation_holds_in_any_order(engine: Engine) -> None:
    """The old id of a merged record binds, also when it was first mentioned as something that a person merely has."""
    old = Identifier("hubspot", "h/9")
    mentions = Person(contact(1).key, "hubspot", None, (old,))
    merges = Person(contact(1).key, "hubspot", None, (), (old,))
    for first, second in ((mentions, merges), (merges, mentions)):
        empty(engine)
        save(engine, record(first, native_id="1"))
        save(engine, record(second, native_id="2"))
        assert people(engine) == [(["hubspot:h/1", "hubspot:h/9"], None)]


def test_partition_keys_are_random_and_say_nothing(engine: Engine) -> None:
    save(engine, record(contact(1, A, name="Kim Park"), native_id="1"))
    (first,) = rows(engine, Profile)
    assert len(first.partition_key) == 16
    assert first.bucket == int(first.partition_key, 16) % BUCKETS
    empty(engine)
    save(engine, record(contact(1, A, name="Kim Park"), native_id="1"))
    assert rows(engine, Profile)[0].partition_key != first.partition_key


def test_an_address_on_many_contacts_costs_no_more_queries(engine: Engine) -> None:
    """Queries per batch do not grow with the people who share a key."""
    counts = []
    for size in (20, 200):
        statements: list[str] = []
        listener = lambda *args, log=statements: log.append(args[2])  # noqa: E731
        event.listen(engine, "before_cursor_execute", listener)
        save(engine, *(record(contact(size + n, A), native_id=f"{size}/{n}") for n in range(size)))
        event.remove(engine, "before_cursor_execute", listener)
        counts.append(len(statements))
    assert counts[1] <= counts[0] + 5
