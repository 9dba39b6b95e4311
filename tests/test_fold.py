"""The fold: what holds now and what held before follow from observations and edits alone, never from their order."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Json, Role, stable_id
from ingest_pipeline.edits import Action, Edit, Target, claim_key
from ingest_pipeline.extraction.base import Kind
from ingest_pipeline.extraction.traits import TraitSchema, parse_traits
from ingest_pipeline.fold import fold as fold_all
from ingest_pipeline.fold import fold_fingerprint
from ingest_pipeline.memory_fold import memory_id
from ingest_pipeline.states import Observed, ProfileState, Rules
from ingest_pipeline.trait_fold import element_key, value_key

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
AS_OF = datetime(2024, 1, 18, tzinfo=UTC)
"""Plans for the 20th are still plans."""


def fold(
    profile_id: str,
    observed: Iterable[Observed],
    schema: TraitSchema = SCHEMA,
    edits: Iterable[Edit] = (),
    as_of: datetime = AS_OF,
    rules: Rules = Rules(),  # noqa: B008
) -> ProfileState:
    return fold_all(profile_id, observed, edits, schema, rules, as_of)


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
    ("the clearly surer one of equals", [seen(P, confidence=0.95), seen(L, confidence=0.85)], P, [(L, 1, 1)]),
    ("of equals none goes", [seen(P, ident="b"), seen(L, ident="a")], P, []),
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


def test_the_same_words_as_fact_and_as_event_are_one_of_the_type_said_most() -> None:
    (tied,) = fold(PROFILE, [said("Runs.", kind="event"), said("Runs.", kind="fact")]).memories
    (most,) = fold(PROFILE, [said("Runs.", n, kind) for n, kind in enumerate(("fact", "event", "event"), 1)]).memories
    assert (tied.type, most.type) == ("fact", "event")
    assert tied.id == most.id


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
    assert claim_key(a) == claim_key(b)


@pytest.mark.parametrize(
    ("a", "b", "one_value", "one_element"),
    [
        ("Zürich", "zurich", True, True), ("São Paulo", "SAO PAULO", True, True), ("X–Y", "x-y", True, True),
        ("E-Mail", "email", False, True), ("road cycling", "road-cycling", False, True), ("dogs", "dog", False, True),
        ("chess", "ches", False, False), ("tennis", "tenni", False, False), ("10-20", "1020", False, False),
        ("go", "golf", False, False), ("東京", "東京", True, True), ("東京", "京都", False, False),
        ("3", "3.0", False, False),
    ],
)  # fmt: skip
def test_spellings_of_one_value_and_of_one_element(a: str, b: str, one_value: bool, one_element: bool) -> None:
    """Also as edits name them, by ``claim_key``."""
    for x, y in ((a, b), (claim_key(a), b), (a, claim_key(b))):
        assert (value_key(x) == value_key(y), element_key(x) == element_key(y)) == (one_value, one_element)


@pytest.mark.parametrize(
    ("pieces", "confidence"),
    [
        ([("a", "q", 0.7)], 0.7),
        ([("a", "q", 0.7), ("b", "r", 0.6)], 0.88),
        ([("a", "q", 0.7), ("a", "r", 0.6)], 0.7),
        ([("a", "q", 0.7), ("b", "Q.", 0.8)], 0.8),
        ([("a", "q", 0.7), ("b", "q", 0.6), ("b", "r", 0.6), ("c", "s", 0.6)], 0.88),
        ([(str(n), str(n), 0.9) for n in range(9)], 0.99),
        ([("a", "q", 0.6), ("b", "r", 0.6), ("c", "s", 0.6)], 0.936),
    ],
    ids=["one", "two documents", "one document twice", "copied", "a chain of copies", "never certain", "three"],
)
def test_only_independent_evidence_adds_up(pieces: list[tuple[str, str, float]], confidence: float) -> None:
    """A document, or a sentence however often it is copied, counts once."""
    claims = [
        seen("Lisbon", n, confidence=sure, ident=str(n))._replace(document_id=document, quote=quote)
        for n, (document, quote, sure) in enumerate(pieces, 1)
    ]
    (trait,) = fold(PROFILE, claims).traits
    (memory,) = fold(PROFILE, [c._replace(kind=Kind.MEMORY, key="fact") for c in claims]).memories
    assert trait.confidence == memory.confidence == confidence
    assert memory.sightings <= len({document for document, _, _ in pieces})


def test_a_conflict_keeps_each_value_with_its_proofs() -> None:
    one, other = seen("Lisbon", confidence=0.9), seen("Porto", confidence=0.95)
    (trait,) = fold(PROFILE, [one, other]).traits
    assert (trait.value, trait.alternatives, trait.confidence) == ("Porto", ("Lisbon",), 0.95)
    assert dict(trait.evidence) == {other: None, one: "Lisbon"}


def test_a_plan_says_when_to_fold_again() -> None:
    plans = [seen("Porto", 2, effective=22), seen("Rome", 2, effective=20), seen("Lisbon", 1)]
    state = fold(PROFILE, plans)
    assert (values(state), state.refold_at) == ({"city": "Lisbon"}, at(20))
    assert fold(PROFILE, plans, as_of=at(20) or AS_OF).refold_at == at(22)
    assert fold(PROFILE, plans, as_of=at(22) or AS_OF).refold_at is None


def test_the_rank_of_sources_can_be_chosen() -> None:
    claims = [seen("Porto", role=Role.FIELD), seen("Lisbon")]
    own_words_first = Rules(source_rank=(Role.SUBJECT, Role.FIELD, Role.SIGNATURE, Role.NOTE))
    assert values(fold(PROFILE, claims)) == {"city": "Porto"}
    assert values(fold(PROFILE, claims, rules=own_words_first)) == {"city": "Lisbon"}


def edit(action: Action, number: int = 1, value: Json = None, **other: Json) -> Edit:
    fields = {"kind": Target.TRAIT, "key": "city", "target": None if value is None else claim_key(value)} | other
    when = datetime(2024, 1, 10, number, tzinfo=UTC)
    return Edit(stable_id("edit", str(number)), when, "kim", action, value=value, **fields)  # type: ignore[arg-type]


def test_evidence_goes_on_behind_a_value_set_by_hand() -> None:
    first, other, last = seen("Lisbon", 1), seen("Porto", 12), seen("Porto", 13)
    by_hand = edit(Action.SET, value="Rome", confidence=0.8)
    (trait,) = fold(PROFILE, [first, other, last], edits=[by_hand]).traits
    assert (trait.value, trait.source, trait.confidence, trait.edit_id) == ("Rome", "manual", 0.8, by_hand.id)
    assert (trait.valid_from, trait.alternatives) == (by_hand.at, ())
    assert dict(trait.evidence) == {other: "Porto", last: "Porto"}
    (same,) = fold(PROFILE, [seen("Lisbon", 1)], edits=[edit(Action.SET, value="Lisbon")]).traits
    assert (same.valid_from, [element for _, element in same.evidence]) == (at(1), [None])


def test_history_names_the_edit_that_ended_a_value_and_the_one_that_began_it() -> None:
    first, second = edit(Action.SET, 1, "Rome"), edit(Action.SET, 2, "Oslo")
    lisbon = seen("Lisbon", 1)
    past = {h.value: h for h in fold(PROFILE, [lisbon], edits=[first, second]).history}
    assert (past["Lisbon"].observation_id, past["Lisbon"].edit_id) == (lisbon.id, None)
    assert (past["Rome"].observation_id, past["Rome"].edit_id) == (None, first.id)
    assert (past["Lisbon"].ended_by, past["Rome"].ended_by) == (first.id, second.id)


def test_what_is_confirmed_is_as_sure_as_can_be_and_outlives_its_proofs() -> None:
    confirmed = edit(Action.CONFIRM, value="Lisbon")
    (trait,) = fold(PROFILE, [seen("lisbon", 1)], edits=[confirmed]).traits
    assert (trait.value, trait.source, trait.confidence, trait.edit_id) == ("lisbon", "extracted", 0.99, confirmed.id)
    (alone,) = fold(PROFILE, [], edits=[confirmed]).traits
    assert (alone.value, alone.source, alone.evidence) == ("Lisbon", "manual", ())


def test_edits_that_the_schema_does_not_allow_decide_nothing() -> None:
    refused = edit(Action.SET, value="pompous", key="tone"), edit(Action.SET, 2, "x", key="gone")
    assert values(fold(PROFILE, [seen("formal", key="tone")], edits=refused)) == {"tone": "formal"}
    off = edit(Action.SET, value="by hand", key="off")
    assert values(fold(PROFILE, [], edits=[off])) == {"off": "by hand"}


def test_a_summary_written_by_hand_stays_until_it_is_cleared() -> None:
    about = {"kind": Target.SUMMARY, "key": "summary", "target": None}
    written, cleared = edit(Action.SET, 1, "A good customer.", **about), edit(Action.CLEAR, 2, **about)
    assert fold(PROFILE, [], edits=[written]).summary == "A good customer."
    assert fold(PROFILE, [], edits=[cleared, written]).summary is None


def test_a_memory_is_named_after_its_first_sentence_whatever_joins() -> None:
    first, later = said("Is evaluating the Enterprise plan.", 3), said("Is evaluating Enterprise plan", 5)
    earlier, undated = said("Is now evaluating the Enterprise plan.", 1), said("Evaluating the Enterprise plan", None)
    for group, name in (([first], first), ([first, later, undated], first), ([later, first, earlier], earlier)):
        (memory,) = fold(PROFILE, group).memories
        assert memory.id == memory_id(PROFILE, name.value)
        assert {o.id for o in memory.evidence} == {o.id for o in group}


def test_importance_grows_with_what_is_independent() -> None:
    once, twice = said("Has a dog.", 1), said("Has a dog.", 2)._replace(quote="The dog says hello.")
    copied = twice._replace(document_id=once.document_id)
    importances = [fold(PROFILE, group).memories[0].importance for group in ([once], [once, copied], [once, twice])]
    assert importances == [0.5, 0.5, 0.55]
    many = [said("Has a dog.", n % 20 + 1, ident=str(n)) for n in range(60)]
    many = [o._replace(quote=f"{o.id} {o.quote}") for o in many]
    assert fold(PROFILE, many).memories[0].importance == 0.75


def test_an_event_has_the_day_that_was_named_last() -> None:
    first = said("Is getting married.", 1, "event")._replace(effective_at=at(12))
    later = said("Is getting married.", 3, "event")._replace(effective_at=at(20))
    state = fold(PROFILE, [later, first])
    assert (state.memories[0].event_at, state.refold_at, state.rejected) == (at(20), None, {})
    assert fold(PROFILE, [first._replace(key="fact")]).memories[0].event_at is None


def remembered(action: Action, number: int, target: str, **value: Json) -> Edit:
    about = {"kind": Target.MEMORY, "key": "fact", "target": claim_key(target)}
    return edit(action, number, value, **about)


def test_a_revised_memory_keeps_its_proofs_and_outlives_them() -> None:
    dog = said("Has a dog.", 1)
    revised = remembered(Action.REVISE, 1, dog.value, content="Breeds dogs.", importance=0.9)
    (memory,) = fold(PROFILE, [dog], edits=[revised]).memories
    assert (memory.content, memory.importance, memory.source, memory.edit_id) == (
        "Breeds dogs.", 0.9, "manual", revised.id,
    )  # fmt: skip
    assert (memory.id, memory.evidence) == (memory_id(PROFILE, "Has a dog."), (dog,))
    (alone,) = fold(PROFILE, [], edits=[revised]).memories
    assert (alone.content, alone.type, alone.evidence) == ("Breeds dogs.", "fact", ())
    (weighty,) = fold(PROFILE, [dog], edits=[remembered(Action.REVISE, 1, dog.value, importance=0.9)]).memories
    assert (weighty.content, weighty.source, weighty.confidence, weighty.importance) == (
        dog.value,
        "extracted",
        0.9,
        0.9,
    )
    assert fold(PROFILE, [dog], edits=[revised, remembered(Action.CLEAR, 2, dog.value)]) == fold(PROFILE, [dog])


def test_a_rejected_sentence_takes_its_near_duplicates_along_until_it_is_written_or_unrejected() -> None:
    dogs = [said("Has two dogs.", 1), said("Has 2 dogs now.", 12), said("Has three dogs.", 12)]
    rejected = remembered(Action.REJECT, 1, "Has two dogs.", content="Has two dogs.")
    state = fold(PROFILE, dogs, edits=[rejected])
    assert [m.content for m in state.memories] == ["Has three dogs."]
    assert state.rejected == {dogs[0].id: "rejected_by_hand", dogs[1].id: "rejected_by_hand"}
    # Another extractor puts it into other words.
    assert fold(PROFILE, dogs[1:2], edits=[rejected]).memories == ()
    for action in (Action.UNREJECT, Action.SET):
        later = remembered(action, 2, "Has two dogs.", content="Has two dogs.")
        assert len(fold(PROFILE, dogs, edits=[later, rejected]).memories) == 2


def test_the_fingerprint_tells_what_makes_another_state() -> None:
    entry = {"key": "city", "valueType": "string", "synonyms": {"Lisbon": ["Lisboa"]}}
    others = [
        {"key": "town"}, {"valueType": "array"}, {"category": "x"}, {"synonyms": {"Lisbon": ["LX"]}},
        {"extraction": {"confidenceThreshold": 0.7}}, {"extraction": {"enabled": False}}, {"label": "City"},
        {"injection": {"priority": 3}},
    ]  # fmt: skip
    same = [{"description": "where"}, {"halfLifeDays": 9}, {"extraction": {"promptSnippet": "x"}}]

    def fingerprint(**changes: Json) -> str:
        return fold_fingerprint(parse_traits([entry | changes]), Rules())

    assert len({fingerprint(), *(fingerprint(**other) for other in others)}) == 1 + len(others)
    assert {fingerprint(**other) for other in same} == {fingerprint()}
    swapped = Rules(source_rank=(Role.NOTE, Role.FIELD, Role.SIGNATURE, Role.SUBJECT))
    rules = [Rules(), swapped, Rules(embedding_model="openai/x")]
    assert len({fold_fingerprint(SCHEMA, each) for each in rules}) == 3


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
decisions = st.lists(
    st.builds(
        edit,
        st.sampled_from([Action.SET, Action.CLEAR, Action.CONFIRM, Action.REJECT, Action.UNREJECT]),
        st.integers(1, 20),
        st.sampled_from(["Lisbon", "Porto", "formal"]),
        key=st.sampled_from(["city", "tone"]),
    )
    | st.builds(
        remembered,
        st.sampled_from([Action.SET, Action.CLEAR, Action.CONFIRM, Action.REJECT, Action.UNREJECT, Action.REVISE]),
        st.integers(21, 23),
        st.sampled_from(["Has a dog.", "Runs"]),
        content=st.sampled_from(["Has a dog.", "Has dogs.", "Runs"]),
    ),
    max_size=5,
    unique_by=lambda e: e.id,
)
days = st.sampled_from([d for d in map(at, (1, 2, 8, 9, 18)) if d])


@given(many, decisions, days, st.randoms(use_true_random=False))
def test_the_order_never_counts(observed: list[Observed], edits: list[Edit], as_of: datetime, chance: Random) -> None:
    state = fold(PROFILE, observed, edits=edits, as_of=as_of)
    chance.shuffle(observed)
    chance.shuffle(edits)
    assert fold(PROFILE, observed, edits=edits, as_of=as_of) == state


@given(many, decisions)
def test_what_is_kept_aside_proves_nothing_and_the_rest_alone_gives_the_same(
    observed: list[Observed], edits: list[Edit]
) -> None:
    """Add a document and take it away: as if it had never been there."""
    state = fold(PROFILE, observed, edits=edits)
    schema_refuses = {i for i, reason in state.rejected.items() if reason != "rejected_by_hand"}
    rest = [o for o in observed if o.id not in schema_refuses]
    again = fold(PROFILE, rest, edits=edits)
    assert (again.traits, again.history, again.memories) == (state.traits, state.history, state.memories)


@given(many, observations)
def test_another_sentence_only_joins_memories(observed: list[Observed], more: Observed) -> None:
    """What was one memory stays one, whatever is said besides; only a retraction takes something away."""
    sentences = [o for o in observed if o.kind is Kind.MEMORY and not o.retracted]
    before = fold(PROFILE, sentences).memories
    joined = [s for s in (*sentences, more) if s.kind is Kind.MEMORY and not s.retracted]
    after = [{o.id for o in m.evidence} for m in fold(PROFILE, joined).memories]
    for memory in before:
        assert sum({o.id for o in memory.evidence} <= group for group in after) == 1


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


@given(many, decisions)
def test_ids_are_unique_and_rows_are_sorted(observed: list[Observed], edits: list[Edit]) -> None:
    state = fold(PROFILE, observed, edits=edits)
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
