"""The summary: who it is, what they prefer, what is going on; the same facts always give the same one."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from ingest_pipeline.documents import Json
from ingest_pipeline.extraction.traits import load_traits, parse_traits
from ingest_pipeline.summary import MAX_MEMORIES, Remembered, choose_inputs, template_summary

SCHEMA = load_traits(None)
NEWEST = datetime(2024, 6, 1, tzinfo=UTC)


def remembered(content: str, importance: float = 0.5, days_ago: float | None = 0) -> Remembered:
    at = None if days_ago is None else NEWEST - timedelta(days_ago)
    return Remembered(content, content, importance, at)


CASES: dict[str, tuple[str | None, dict[str, Json], list[Remembered], str | None]] = {
    "nothing is known": (None, {}, [], None),
    "a name": ("Ana Ferreira", {}, [], "Ana Ferreira."),
    "the trait's name goes first": ("ferreira, a.", {"name": "Ana Ferreira"}, [], "Ana Ferreira."),
    "who": (
        "Ana", {"job_title": "Head of Logistics", "company": "Vela", "location": "Lisbon"}, [],
        "Ana, Head of Logistics at Vela, Lisbon.",
    ),
    "only a company": (None, {"company": "Vela Inc."}, [], "Vela Inc."),
    "no title": ("Ana", {"company": "Vela"}, [], "Ana, Vela."),
    "preferences by priority": (
        "Ana", {"interests": ["chess", "jazz"], "preferred_language": "German"}, [],
        "Ana. Preferred language: German. Interests: chess, jazz.",
    ),
    "a memory": ("Ana", {}, [remembered("Is evaluating Forecast.")], "Ana. Is evaluating Forecast."),
    "only memories": (None, {}, [remembered("Is evaluating Forecast")], "Is evaluating Forecast."),
    "the weightier first": (None, {}, [remembered("A.", 0.4), remembered("B.", 0.8)], "B. A."),
    "half a year halves": (None, {}, [remembered("A.", 0.5), remembered("B.", 0.9, 180)], "A. B."),
    "an undated one counts half": (None, {}, [remembered("A.", 0.5), remembered("B.", 0.9, None)], "A. B."),
    "of equals the stable key": (None, {}, [remembered("B."), remembered("A.")], "A. B."),
}  # fmt: skip


@pytest.mark.parametrize(("name", "traits", "memories", "summary"), CASES.values(), ids=CASES)
def test_summaries(name: str | None, traits: dict[str, Json], memories: list[Remembered], summary: str | None) -> None:
    for order in permutations(memories):
        assert template_summary(choose_inputs(traits, order, SCHEMA).named(name)) == summary


def test_only_the_weightiest_memories_are_in_it() -> None:
    memories = [remembered(f"Fact {n}.", n / 100) for n in range(20)]
    summary = template_summary(choose_inputs({}, memories, SCHEMA))
    assert summary == "Fact 19. Fact 18. Fact 17. Fact 16."
    assert summary.count(".") == MAX_MEMORIES


def test_traits_of_an_own_schema_are_told_by_label_or_key_unless_they_are_never_injected() -> None:
    schema = parse_traits(
        [
            {"key": "seats", "label": "Seats booked", "valueType": "number"},
            {"key": "is_admin", "valueType": "boolean", "injection": {"priority": 9}},
            {"key": "secret", "valueType": "string", "injection": {"enabled": False}},
        ]
    )
    inputs = choose_inputs({"seats": 12, "is_admin": True, "secret": "x", "unknown": "y"}, [], schema)
    assert template_summary(inputs) == "Is admin: yes. Seats booked: 12."


def test_the_digest_tells_inputs_apart_and_nothing_else() -> None:
    """The order in which facts come does not count, the way the summary is made does."""
    a, b = remembered("A.", 0.5), remembered("B.", 0.4)
    first = choose_inputs({"company": "Vela", "location": "Rome"}, [a, b], SCHEMA).named("Ana")
    again = choose_inputs({"location": "Rome", "company": "Vela"}, [b, a], SCHEMA).named("Ana")
    other = choose_inputs({"company": "Vela"}, [a, b], SCHEMA).named("Ana")
    assert first.digest("template:1") == again.digest("template:1")
    assert len({first.digest("template:1"), first.digest("llm:2"), other.digest("template:1")}) == 3


def test_time_alone_changes_nothing() -> None:
    """All memories a year older: the same inputs."""
    memories = [remembered("A.", 0.9, 300), remembered("B.", 0.4)]
    older = [
        Remembered(m.id, m.content, m.importance, m.occurred_at - timedelta(365)) for m in memories if m.occurred_at
    ]
    assert choose_inputs({}, memories, SCHEMA) == choose_inputs({}, older, SCHEMA)
