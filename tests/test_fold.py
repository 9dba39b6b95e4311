"""The fold: what holds now and what held before follow from the observations alone, never from their order."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Json, Role, stable_id
from ingest_pipeline.extraction.base import Kind
from ingest_pipeline.extraction.traits import parse_traits
from ingest_pipeline.fold import Observed, ProfileState, fold, memory_key

SCHEMA = parse_traits(
    [
        {"key": "city", "valueType": "string", "extraction": {"confidenceThreshold": 0.6}},
        {"key": "tone", "valueType": "enum", "enumValues": ["formal", "casual"], "synonyms": {"casual": ["relaxed"]}},
        {"key": "likes", "valueType": "array"},
        {"key": "seats", "valueType": "number"},
        {"key": "off", "valueType": "string", "extraction": {"enabled": False}},
    ]
)
PROFILE = stable_id("profile", "1")


def at(day: int | None) -> datetime | None:
    return None if day is None else datetime(2024, 1, day, tzinfo=UTC)


def seen(
    value: Json,
    day: int | None = 1,
    key: str = "city",
    *,
    effective: int | None = None,
    ended: bool = False,
    role: Role = Role.SUBJECT,
    confidence: float = 0.9,
    ident: str = "",
    kind: Kind = Kind.TRAIT,
) -> Observed:
    ident = ident or stable_id(str((value, day, key, effective, ended, role, confidence)))
    quote = f"about {value}"
    return Observed(
        ident, stable_id("document", ident), kind, key, value, confidence,
        0.5 if kind is Kind.MEMORY else None, role, at(day), at(effective), ended, quote, 0, len(quote),
    )  # fmt: skip


def said(sentence: str, day: int | None = 1, kind: str = "fact", *, ended: bool = False, ident: str = "") -> Observed:
    return seen(sentence, day, kind, ended=ended, ident=ident, kind=Kind.MEMORY)


def values(state: ProfileState) -> dict[str, Json]:
    return {trait.key: trait.value for trait in state.traits}


def history(state: ProfileState) -> list[tuple[Json, int | None, int | None]]:
    past = [
        (h.value, h.valid_from.day if h.valid_from else None, h.valid_to.day if h.valid_to else None)
        for h in state.history
    ]
    return sorted(past, key=lambda p: (p[1] or 0, p[2] or 0))


L, P = "Lisbon", "Porto"

SINGLE: list[tuple[str, list[Observed], Json, list[tuple[Json, int | None, int | None]]]] = [
    ("nothing", [], None, []),
    ("one", [seen(L)], L, []),
    ("said twice", [seen(L, 1), seen(L, 5)], L, []),
    ("in another case", [seen(L, 1), seen("lisbon", 5)], L, []),
    ("moved", [seen(L, 1), seen(P, 3)], P, [(L, 1, 3)]),
    ("an old mail read late", [seen(P, 3), seen(L, 1)], P, [(L, 1, 3)]),
    ("and back", [seen(L, 1), seen(P, 3), seen(L, 5)], L, [(L, 1, 3), (P, 3, 5)]),
    ("a stated date goes before the day it was said", [seen(P, 9, effective=2), seen(L, 5)], L, [(P, 2, 5)]),
    ("no date is before any", [seen(L, None), seen(P, 1)], P, [(L, None, 1)]),
    ("a field before words of the same day", [seen(P, role=Role.FIELD), seen(L)], P, [(L, 1, 1)]),
    ("own words before a note", [seen(P), seen(L, role=Role.NOTE)], P, [(L, 1, 1)]),
    ("later words before an earlier field", [seen(P, 2), seen(L, role=Role.FIELD)], P, [(L, 1, 2)]),
    ("the surer one of equals", [seen(P, confidence=0.95), seen(L)], P, [(L, 1, 1)]),
    ("the stable key last", [seen(P, ident="b"), seen(L, ident="a")], P, [(L, 1, 1)]),
    ("no longer", [seen(L, 1), seen(L, 4, ended=True)], None, [(L, 1, 4)]),
    ("no longer there, but here", [seen(L, 1), seen(L, 4, ended=True), seen(P, 6)], P, [(L, 1, 4)]),
    ("what was not is not ended", [seen(L, 1), seen(P, 4, ended=True)], L, []),
    ("ended before it was said", [seen(L, 4), seen(L, 1, ended=True)], L, []),
    ("only ever ended", [seen(L, 4, ended=True)], None, []),
    ("unsure", [seen(L, confidence=0.59)], None, []),
    ("just sure enough", [seen(L, confidence=0.6)], L, []),
    ("an unsure doubt ends nothing", [seen(L), seen(L, 2, ended=True, confidence=0.5)], L, []),
    ("a plan is no fact", [seen(L, 1), seen(P, 2, effective=20)], L, []),
]  # fmt: skip


@pytest.mark.parametrize(("observed", "value", "past"), [c[1:] for c in SINGLE], ids=[c[0] for c in SINGLE])
def test_the_value_effective_latest_holds(
    observed: list[Observed], value: Json, past: list[tuple[Json, int | None, int | None]]
) -> None:
    for order in (observed, observed[::-1]):
        state = fold(PROFILE, order, SCHEMA)
        assert values(state).get("city") == value
        assert history(state) == past


ARRAY: list[tuple[str, list[Observed], list[str] | None]] = [
    ("one", [seen("tea", key="likes")], ["tea"]),
    ("all of them, oldest first", [seen("tea", 2, "likes"), seen("go", 1, "likes")], ["go", "tea"]),
    ("one spelling, the latest", [seen("Tea", 1, "likes"), seen("tea", 2, "likes")], ["tea"]),
    ("one no longer", [seen("tea", 1, "likes"), seen("go", 1, "likes"), seen("tea", 3, "likes", ended=True)], ["go"]),
    ("none any longer", [seen("tea", 1, "likes"), seen("tea", 3, "likes", ended=True)], None),
    ("again", [seen("tea", 1, "likes"), seen("tea", 2, "likes", ended=True), seen("tea", 3, "likes")], ["tea"]),
    ("ended with another spelling", [seen("Tea", 1, "likes"), seen(" tea.", 3, "likes", ended=True)], None),
]  # fmt: skip


@pytest.mark.parametrize(("observed", "value"), [c[1:] for c in ARRAY], ids=[c[0] for c in ARRAY])
def test_an_array_is_the_union_and_each_element_ends_by_itself(
    observed: list[Observed], value: list[str] | None
) -> None:
    for order in (observed, observed[::-1]):
        state = fold(PROFILE, order, SCHEMA)
        assert values(state).get("likes") == value
        for trait in state.traits:
            assert {element for _, element in trait.evidence} == set(trait.value)


def test_evidence_is_what_speaks_for_the_value_that_holds() -> None:
    first, other, last = seen("Lisbon", 1), seen("Porto", 3), seen("Lisbon", 5)
    again = seen("lisbon", 7, confidence=0.95)
    (trait,) = fold(PROFILE, [first, other, last, again], SCHEMA).traits
    assert [observed.id for observed, _ in trait.evidence] == [last.id, again.id]
    assert (trait.confidence, trait.valid_from) == (0.95, at(5))


def test_history_names_what_began_and_what_ended_a_value() -> None:
    first, last = seen("Lisbon", 1), seen("Porto", 3)
    (past,) = fold(PROFILE, [first, last], SCHEMA).history
    assert (past.observation_id, past.ended_by) == (first.id, last.id)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("shoe_size", "44", "unknown_trait"),
        ("off", "x", "trait_disabled"),
        ("tone", "pompous", "not_in_enum"),
        ("seats", "many", "wrong_type"),
        ("city", 7, "wrong_type"),
        ("city", "  ", "empty_value"),
        ("city", None, "empty_value"),
        ("likes", ["tea"], "wrong_type"),
    ],
)
def test_a_value_that_the_schema_refuses_is_kept_aside_with_the_reason(key: str, value: Json, reason: str) -> None:
    state = fold(PROFILE, [seen(value, key=key, ident="x"), seen("Lisbon")], SCHEMA)
    assert state.rejected == {"x": reason}
    assert values(state) == {"city": "Lisbon"}


def test_a_plan_is_kept_aside_too() -> None:
    assert fold(PROFILE, [seen("Porto", 2, effective=20, ident="x")], SCHEMA).rejected == {"x": "not_yet"}


@pytest.mark.parametrize(("value", "stored"), [("formal", "formal"), ("FORMAL", "formal"), ("relaxed", "casual")])
def test_values_are_stored_as_the_schema_spells_them(value: str, stored: str) -> None:
    assert values(fold(PROFILE, [seen(value, key="tone")], SCHEMA)) == {"tone": stored}


def test_one_sentence_said_twice_is_one_memory_with_two_proofs() -> None:
    one, two = said("Has two dogs.", 1), said("has two  dogs", 5)
    (memory,) = fold(PROFILE, [two, one], SCHEMA).memories
    assert (memory.content, memory.occurred_at) == ("has two  dogs", at(5))
    assert [o.id for o in memory.evidence] == [one.id, two.id]


def test_the_same_words_as_fact_and_as_event_are_two() -> None:
    assert len(fold(PROFILE, [said("Runs.", kind="fact"), said("Runs.", kind="event")], SCHEMA).memories) == 2


@pytest.mark.parametrize(
    ("days", "ended", "alive"), [([1], 3, 0), ([1, 5], 3, 1), ([5], 3, 1), ([1, 2, 3], None, 3), ([], 3, 0)]
)
def test_a_memory_counts_from_its_last_retraction_on(days: list[int], ended: int | None, alive: int) -> None:
    observed = [said("Has a dog.", day) for day in days]
    observed += [said("Has a dog.", ended, ended=True)] if ended else []
    memories = fold(PROFILE, observed, SCHEMA).memories
    assert sum(len(memory.evidence) for memory in memories) == alive


def test_a_memory_keeps_its_id_when_proofs_come_and_the_profile_decides_it() -> None:
    one, two = said("Has a dog.", 1), said("Has a dog", 2)
    (alone,), (both,) = fold(PROFILE, [one], SCHEMA).memories, fold(PROFILE, [one, two], SCHEMA).memories
    (other,) = fold(stable_id("profile", "2"), [one], SCHEMA).memories
    assert alone.id == both.id != other.id


@pytest.mark.parametrize(("a", "b"), [("Tea.", " tea "), ("STRASSE", "straße"), ("Yes!", "yes…"), ("a\n b", "a b")])
def test_case_spaces_and_final_marks_make_no_other_sentence(a: str, b: str) -> None:
    assert memory_key(a) == memory_key(b)


observations = st.builds(
    seen,
    st.sampled_from(["Lisbon", "lisbon", "Porto", "formal", "relaxed", "tea", 3, "4", None]),
    st.sampled_from([None, 1, 2, 3]),
    st.sampled_from(["city", "tone", "likes", "seats", "off", "unknown"]),
    effective=st.sampled_from([None, None, 1, 2, 9]),
    ended=st.booleans(),
    role=st.sampled_from([Role.FIELD, Role.SUBJECT, Role.NOTE]),
    confidence=st.sampled_from([0.5, 0.6, 0.9]),
) | st.builds(
    said, st.sampled_from(["Has a dog.", "has a dog", "Runs"]), st.sampled_from([None, 1, 2]), ended=st.booleans()
)
many = st.lists(observations, max_size=12, unique_by=lambda o: o.id)


@given(many.flatmap(lambda o: st.tuples(st.just(o), st.permutations(o))))
def test_the_order_never_counts(pair: tuple[list[Observed], list[Observed]]) -> None:
    assert fold(PROFILE, pair[0], SCHEMA) == fold(PROFILE, pair[1], SCHEMA)


@given(many)
def test_every_fact_has_a_proof_and_every_proof_is_an_observation(observed: list[Observed]) -> None:
    state = fold(PROFILE, observed, SCHEMA)
    ids = {o.id for o in observed}
    for trait in state.traits:
        assert trait.evidence
        assert {o.id for o, _ in trait.evidence} <= ids
    for memory in state.memories:
        assert memory.evidence
        assert {o.id for o in memory.evidence} <= ids
    assert {h.observation_id for h in state.history} | {h.ended_by for h in state.history} <= ids


@given(many)
def test_ids_are_unique_and_rows_are_sorted(observed: list[Observed]) -> None:
    state = fold(PROFILE, observed, SCHEMA)
    for part in (state.traits, state.history, state.memories):
        ids = [row.id for row in part]
        assert ids == sorted(set(ids))


@given(many)
def test_what_proves_the_present_suffices_for_it(observed: list[Observed]) -> None:
    """Folding only the evidence again gives the same facts: nothing else had a say in what holds."""
    state = fold(PROFILE, observed, SCHEMA)
    proofs = {o.id: o for trait in state.traits for o, _ in trait.evidence}
    proofs |= {o.id: o for memory in state.memories for o in memory.evidence}
    again = fold(PROFILE, list(proofs.values()), SCHEMA)
    assert again == replace(state, history=(), rejected={})


@given(many)
def test_history_ends_where_something_else_begins(observed: list[Observed]) -> None:
    for past in fold(PROFILE, observed, SCHEMA).history:
        assert past.valid_from is None or (past.valid_to is not None and past.valid_from <= past.valid_to)
