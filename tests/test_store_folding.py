"""Folding over the store: edits, plans, conflicts, changed rules; what goes in and comes out again leaves nothing."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select, update

from ingest_pipeline.documents import Json, Role, stable_id
from ingest_pipeline.edits import Action, Target, claim_key
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.base import Extraction, Kind, Observation, Status
from ingest_pipeline.extraction.traits import TraitSchema, load_traits, parse_traits
from ingest_pipeline.fold import fold, fold_fingerprint
from ingest_pipeline.folding import fold_profiles, mark_outdated_folds
from ingest_pipeline.memory_fold import memory_id
from ingest_pipeline.states import Rules
from ingest_pipeline.store.edits import Draft, hold_profile, save_edits
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.extractions import save_extractions
from ingest_pipeline.store.facts import load_fact, load_facts
from ingest_pipeline.store.fold_outcomes import Folded
from ingest_pipeline.store.fold_rules import FOLD
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.people import mark_changed
from ingest_pipeline.store.profiles import count_unfolded, load_unfolded, save_states
from ingest_pipeline.store.tables import (
    DocumentRow,
    Evidence,
    ExtractionRow,
    Memory,
    ObservationRow,
    Profile,
    StateRow,
    TraitHistory,
    TraitRow,
)
from tests.builders import contact, day, record, rows, save, sender

SCHEMA = load_traits(None)
A, B = "a@x.example", "b@x.example"
TABLES = (Profile, TraitRow, TraitHistory, Memory, Evidence)


def said(
    value: Json,
    number: int = 1,
    key: str = "location",
    *,
    kind: Kind = Kind.TRAIT,
    effective: datetime | None = None,
    ended: bool = False,
) -> Observation:
    quote = str(value)
    return Observation(
        kind, key, value, 0.9, 0.5, quote, 0, len(quote), Role.SUBJECT, day(number), effective, retracted=ended
    )


def tell(engine: Engine, native_id: str, *found: Observation, address: str = A, fingerprint: str = "f1") -> str:
    """A document with these claims; its id."""
    text = " ".join(dict.fromkeys(o.quote for o in found)) or "Nothing."
    save(engine, record(sender(address), native_id=native_id, text=text, said=day(1)))
    (row,) = [r for r in rows(engine, DocumentRow, native_id=native_id) if r.superseded_at is None]
    placed = [replace(o, start=text.index(o.quote), end=text.index(o.quote) + len(o.quote)) for o in found]
    status = Status.OK if placed else Status.EMPTY
    save_extractions(engine, [Extraction(row.id, status, tuple(placed))], fingerprint, "fake", None)
    return str(row.id)


def refold(engine: Engine, as_of: datetime | None = None, schema: TraitSchema = SCHEMA) -> list[Folded]:
    return list(fold_profiles(engine, schema, as_of=as_of))


def decide(engine: Engine, *drafts: Draft, address: str = A) -> None:
    with engine.begin() as connection:
        save_edits(connection, hold_profile(connection, find_profile(engine, address)), drafts, "kim")


def location(action: Action, value: Json = None) -> Draft:
    return Draft(action, Target.TRAIT, "location", None if value is None else claim_key(value), value)


def stored(engine: Engine) -> list[list[object]]:
    return [sorted(rows(engine, of), key=lambda row: str(row.id)) for of in TABLES]


def values(engine: Engine) -> dict[str, Json]:
    return {row.key: row.value for row in rows(engine, TraitRow)}


def test_every_new_column_is_written(engine: Engine) -> None:
    """Conflict, edit, reason; event, source, sightings."""
    born = said("Is getting married.", 2, "event", kind=Kind.MEMORY, effective=day(20))
    tell(engine, "1", said("Lisbon"), said("Acme", key="company"), born)
    tell(engine, "2", said("Porto"), said("Globex", key="company"), replace(born, quote="Yes, getting married."))
    decide(engine, location(Action.SET, "Rome"))
    (folded,) = refold(engine)
    traits = {row.key: row for row in rows(engine, TraitRow)}
    assert (traits["company"].value, traits["company"].alternatives, folded.conflicts) == ("Globex", ["Acme"], 1)
    assert (traits["location"].source, traits["location"].alternatives) == ("manual", None)
    assert traits["location"].edit_id
    assert {(r.value, r.reason, r.ended_by) for r in rows(engine, TraitHistory)} == {
        ("Lisbon", "set", traits["location"].edit_id), ("Porto", "set", traits["location"].edit_id),
    }  # fmt: skip
    proofs = [(r.quote, r.value) for r in rows(engine, Evidence, trait_id=traits["company"].id)]
    assert sorted(proofs, key=str) == [("Acme", "Acme"), ("Globex", None)]
    (memory,) = rows(engine, Memory)
    assert (memory.event_at, memory.source, memory.sightings, memory.edit_id) == (day(20), "extracted", 2, None)


def test_folding_again_changes_nothing(engine: Engine) -> None:
    """With edits, conflicts and plans as well."""
    tell(engine, "1", said("Lisbon"), said("Acme", key="company"), said("Tea", key="interests"))
    tell(
        engine, "2", said("Porto", 2), said("Globex", key="company"), said("Owns a dog.", kind=Kind.MEMORY, key="fact")
    )
    tell(engine, "3", said("Rome", 3, effective=datetime(2099, 1, 1, tzinfo=UTC)))
    decide(engine, location(Action.CONFIRM, "Lisbon"), Draft(Action.SET, Target.SUMMARY, "summary", value="Kind."))
    refold(engine)
    before = stored(engine)
    (again,) = list(fold_profiles(engine, SCHEMA, [find_profile(engine, A)]))
    assert not again.changed
    assert stored(engine) == before
    assert refold(engine) == []


def test_a_manual_value_survives_another_extraction_and_the_loss_of_all_documents(engine: Engine) -> None:
    document = tell(engine, "1", said("Lisbon"))
    decide(engine, location(Action.SET, "Rome"))
    refold(engine)
    later = tell(engine, "1", said("Porto"), fingerprint="f2")
    refold(engine)
    assert values(engine) == {"location": "Rome"}
    for each in (document, later):
        erase(engine, each)
    refold(engine)
    assert values(engine) == {"location": "Rome"}
    assert (rows(engine, Evidence), rows(engine, TraitHistory)) == ([], [])


def test_a_rejected_value_stays_away_after_another_extraction(engine: Engine) -> None:
    tell(engine, "1", said("Lisbon"))
    refold(engine)
    decide(engine, location(Action.REJECT, "Lisbon"))
    refold(engine)
    assert values(engine) == {}
    tell(engine, "1", said("lisbon "), fingerprint="f2")
    refold(engine)
    assert values(engine) == {}
    assert {row.rejected for row in rows(engine, ObservationRow, superseded=False)} == {"rejected_by_hand"}
    decide(engine, location(Action.UNREJECT, "Lisbon"))
    refold(engine)
    assert {claim_key(value) for value in values(engine).values()} == {"lisbon"}


def test_edits_of_a_profile_merged_into_another_hold_there(engine: Engine) -> None:
    tell(engine, "1", said("Lisbon"), address=A)
    tell(engine, "2", said("Tea", key="interests"), address=B)
    decide(engine, location(Action.SET, "Rome"), address=B)
    refold(engine)
    save(engine, record(contact(1, A, B), native_id="3", text=""))
    refold(engine)
    (trait,) = rows(engine, TraitRow, key="location")
    assert (trait.profile_id, trait.value) == (find_profile(engine, A), "Rome")


def test_a_summary_written_by_hand_stays_until_it_is_cleared(engine: Engine) -> None:
    """Else it is made from the facts, and anew only when they change."""

    def summary() -> tuple[str | None, str | None, int]:
        refold(engine)
        (row,) = rows(engine, Profile)
        return row.summary, row.summary_source, row.summary_version

    tell(engine, "1", said("Lisbon"))
    assert summary() == ("Lisbon.", "template", 1)
    assert summary() == ("Lisbon.", "template", 1)
    decide(engine, location(Action.SET, "Rome"))
    assert summary() == ("Rome.", "template", 2)
    decide(engine, Draft(Action.SET, Target.SUMMARY, "summary", value="By hand."))
    assert summary() == ("By hand.", "manual", 3)
    decide(engine, location(Action.SET, "Oslo"))
    assert summary() == ("By hand.", "manual", 3)
    decide(engine, Draft(Action.CLEAR, Target.SUMMARY, "summary"))
    assert summary() == ("Oslo.", "template", 4)


def test_a_plan_is_folded_on_its_day_without_any_change(engine: Engine) -> None:
    tell(engine, "1", said("Lisbon"))
    tell(engine, "2", said("Porto", 2, effective=day(20)))
    refold(engine, as_of=day(10))
    assert (values(engine), rows(engine, Profile)[0].refold_at) == ({"location": "Lisbon"}, day(20))
    assert [row.rejected for row in rows(engine, ObservationRow, quote="Porto")] == ["not_yet"]
    assert (count_unfolded(engine, day(19)), refold(engine, as_of=day(19))) == (0, [])
    assert count_unfolded(engine, day(20)) == 1
    (folded,) = refold(engine, as_of=day(20))
    assert folded.changed
    assert (values(engine), rows(engine, Profile)[0].refold_at) == ({"location": "Porto"}, None)
    assert [row.rejected for row in rows(engine, ObservationRow, quote="Porto")] == [None]
    assert count_unfolded(engine, day(21)) == 0


def test_pages_hold_changed_profiles_and_those_whose_day_has_come(engine: Engine) -> None:
    save(engine, *(record(contact(n), native_id=str(n)) for n in range(7)))
    refold(engine)
    ids = sorted(row.id for row in rows(engine, Profile))
    with engine.begin() as connection:
        connection.execute(update(Profile).where(Profile.id.in_(ids[::2])).values(refold_at=day(5)))
        mark_changed(connection, ids[1:3])
    pages = list(load_unfolded(engine, page=2, as_of=day(5)))
    assert sorted(u.profile_id for page in pages for u in page) == sorted({*ids[::2], *ids[1:3]})
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [
        u.profile_id for page in load_unfolded(engine, as_of=day(4)) for u in sorted(page, key=lambda u: u.profile_id)
    ] == ids[1:3]
    some = load_unfolded(engine, ids[:2], as_of=day(4), changed_only=True)
    assert [u.profile_id for page in some for u in page] == ids[1:2]


def narrower(**changes: Json) -> TraitSchema:
    return parse_traits([{"key": "location", "valueType": "string"} | changes])


@pytest.mark.parametrize(
    ("changes", "left"),
    [({"extraction": {"confidenceThreshold": 0.95}}, {}), ({"key": "town"}, {}),
     ({"synonyms": {"Lisboa": ["Lisbon"]}}, {"location": "Lisboa"}), ({"description": "x"}, {"location": "Lisbon"})],
)  # fmt: skip
def test_changed_rules_take_effect_at_the_next_folding(
    engine: Engine, changes: dict[str, Json], left: dict[str, Json]
) -> None:
    """A threshold, a trait that went, a synonym; what a trait is to the extractor is none of the fold's business."""
    tell(engine, "1", said("Lisbon"))
    refold(engine, schema=narrower())
    assert refold(engine, schema=narrower()) == []
    assert len(refold(engine, schema=narrower(**changes))) == (0 if "description" in changes else 1)
    assert values(engine) == left
    assert refold(engine, schema=narrower(**changes)) == []


def test_after_a_migration_everything_is_folded_once(engine: Engine) -> None:
    """Nobody knows by which rules it was folded."""
    tell(engine, "1", said("Lisbon"))
    refold(engine)
    with engine.begin() as connection:
        connection.execute(delete(StateRow))
    assert len(refold(engine)) == 1
    assert refold(engine) == []
    assert [(row.name, row.value) for row in rows_of_state(engine)] == [(FOLD, fold_fingerprint(SCHEMA, Rules()))]


def rows_of_state(engine: Engine) -> list[StateRow]:
    with reading(engine) as connection:
        return list(connection.execute(select(StateRow.__table__)))  # type: ignore[arg-type]


def test_of_two_processes_with_new_rules_one_marks_the_profiles(engine: Engine) -> None:
    tell(engine, "1", said("Lisbon"))
    refold(engine)
    before = rows(engine, Profile)[0].changes
    barrier = Barrier(4)

    def one(_: int) -> bool:
        barrier.wait()
        return mark_outdated_folds(engine, narrower())

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(one, range(4))) == [False, False, False, True]
    assert rows(engine, Profile)[0].changes == before + 1


def test_what_another_version_folds_meanwhile_is_folded_again(engine: Engine) -> None:
    """It does not know the new rules, and its states must not stay."""
    tell(engine, "1", said("Lisbon"))
    refold(engine)
    mark_outdated_folds(engine, narrower())
    assert len(list(fold_profiles(engine, SCHEMA, [find_profile(engine, A)]))) == 1
    assert count_unfolded(engine) == 1
    assert len(refold(engine, schema=narrower())) == 1
    assert count_unfolded(engine) == 0


def test_states_saved_without_rules_count(engine: Engine) -> None:
    tell(engine, "1", said("Lisbon"))
    (page,) = load_unfolded(engine)
    states = [(u, fold(u.profile_id, u.observations, u.edits, SCHEMA, Rules(), datetime.now(UTC))) for u in page]
    assert len(save_states(engine, states)) == 1
    assert count_unfolded(engine) == 0


def test_a_memory_is_found_by_every_id_it_had(engine: Engine) -> None:
    """Before an earlier sentence joined, and before its profile was merged into another."""
    first, earlier = "Is evaluating the Enterprise plan.", "Is now evaluating the Enterprise plan."
    tell(engine, "1", said(first, 3, "fact", kind=Kind.MEMORY))
    tell(engine, "2", said(first, 3, "fact", kind=Kind.MEMORY), address=B)
    refold(engine)
    old = {row.profile_id: row.id for row in rows(engine, Memory)}
    tell(engine, "3", said(earlier, 1, "fact", kind=Kind.MEMORY))
    save(engine, record(contact(1, A, B), native_id="4", text=""))
    refold(engine)
    living = find_profile(engine, A)
    (memory,) = rows(engine, Memory)
    assert memory.id == memory_id(living, earlier) not in old.values()
    for reference in (memory.id, *old.values(), *(i[:8].upper() for i in old.values())):
        found, _ = load_fact(engine, living, reference)
        assert (found.id, len(found.proofs), found.sightings) == (memory.id, 3, 2)
    with pytest.raises(InvalidInput):
        load_fact(engine, living, memory_id(living, "Something else."))


def test_memories_are_listed_by_what_is_left_of_their_importance(engine: Engine) -> None:
    """As of the moment of reading."""
    tell(engine, "1", said("Had a leak.", 1, "context", kind=Kind.MEMORY))
    tell(engine, "2", replace(said("Owns a dog.", 1, "fact", kind=Kind.MEMORY), importance=0.45))
    refold(engine)
    person = find_profile(engine, A)
    at_once = [m.value for m in load_facts(engine, person, at=day(1)).memories]
    later = load_facts(engine, person, at=datetime(2024, 6, 1, tzinfo=UTC)).memories
    assert (at_once, [m.value for m in later]) == (["Had a leak.", "Owns a dog."], ["Owns a dog.", "Had a leak."])
    assert 0 < later[1].decay < later[0].decay < 1


def erase(engine: Engine, document: str) -> None:
    """As if the document had never been read; its person stays."""
    with engine.begin() as connection:
        owner = connection.execute(select(DocumentRow.profile_id).where(DocumentRow.id == document)).scalar_one()
        for table in (Evidence, ObservationRow, ExtractionRow):
            connection.execute(delete(table).where(table.document_id == document))
        connection.execute(delete(DocumentRow).where(DocumentRow.id == document))
        mark_changed(connection, [owner])


claims = st.lists(
    st.builds(said, st.sampled_from(["Lisbon", "Porto", "lisbon"]), st.integers(1, 5), ended=st.booleans())
    | st.builds(said, st.sampled_from(["tea", "go"]), st.integers(1, 5), st.just("interests"))
    | st.builds(
        said,
        st.sampled_from(["Has a dog.", "Has dogs.", "Now has a dog."]),
        st.integers(1, 5),
        st.sampled_from(["fact", "context"]),
        kind=st.just(Kind.MEMORY),
        ended=st.booleans(),
    ),
    min_size=1,
    max_size=4,
)
documents = st.lists(claims, min_size=1, max_size=4)


def content(engine: Engine, address: str) -> list[object]:
    """The folded rows of a person without what depends on when and as whom they were stored."""
    person = find_profile(engine, address)
    claimed = {row.id: (row.value, row.said_at, row.retracted) for row in rows(engine, ObservationRow)}
    t = [
        (r.key, r.value, r.alternatives, r.confidence, r.valid_from) for r in rows(engine, TraitRow, profile_id=person)
    ]
    h = [(r.key, r.value, r.valid_from, r.valid_to, r.reason) for r in rows(engine, TraitHistory, profile_id=person)]
    m = [
        (r.type, r.content, r.importance, r.confidence, r.occurred_at, r.sightings)
        for r in rows(engine, Memory, profile_id=person)
    ]
    e = [(claimed[r.observation_id], r.value) for r in rows(engine, Evidence, profile_id=person)]
    return [sorted(part, key=repr) for part in (t, h, m, e)]


def addresses() -> tuple[str, str]:
    return (f"{uuid.uuid4().hex}@x.example", f"{uuid.uuid4().hex}@x.example")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given=documents, more=claims, at=st.integers(0, 4))
def test_a_document_that_is_added_and_erased_leaves_nothing(
    engine: Engine, given: list[list[Observation]], more: list[Observation], at: int
) -> None:
    """And documents that come one by one, folded in between, give what they give all at once."""
    one, other = addresses()
    for n, found in enumerate(given):
        tell(engine, stable_id(one, str(n)), *found, address=one)
    refold(engine)
    extra = None
    for n, found in enumerate(given):
        if n == min(at, len(given) - 1):
            extra = tell(engine, stable_id(other, "extra"), *more, address=other)
            refold(engine)
        tell(engine, stable_id(other, str(n)), *found, address=other)
        refold(engine)
    assert extra
    erase(engine, extra)
    refold(engine)
    assert content(engine, one) == content(engine, other)
    before = stored(engine)
    list(fold_profiles(engine, SCHEMA, [find_profile(engine, one), find_profile(engine, other)]))
    assert stored(engine) == before
