"""What is left of a memory's importance when it is read."""

from datetime import UTC, datetime, timedelta

import pytest

from ingest_pipeline.decay import HALF_LIFE_DAYS, decay, faded
from ingest_pipeline.extraction.base import MemoryType

SAID = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("kind", list(MemoryType))
def test_half_is_left_after_the_half_life_of_its_type(kind: MemoryType) -> None:
    half_life = timedelta(days=HALF_LIFE_DAYS[kind])
    assert [decay(kind, SAID, None, SAID + n * half_life) for n in (0, 1, 2)] == [1.0, 0.5, 0.25]


def test_facts_outlive_preferences_events_and_context() -> None:
    a_year_on = SAID + timedelta(days=365)
    left = [decay(kind, SAID, None, a_year_on) for kind in ("fact", "preference", "event", "context")]
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == 4


def test_an_event_to_come_does_not_decay_before_its_day() -> None:
    day = SAID + timedelta(days=100)
    assert decay("event", SAID, day, day) == 1.0
    assert decay("event", SAID, day, day + timedelta(days=90)) == 0.5
    assert decay("event", SAID, SAID - timedelta(days=900), SAID) == 1.0


def test_what_has_no_date_has_no_age_and_nothing_is_younger_than_now() -> None:
    assert decay("fact", None, None, SAID) == 1.0
    assert decay("context", SAID + timedelta(days=9), None, SAID) == 1.0


@pytest.mark.parametrize(
    ("half_life", "age", "left"),
    [(10.0, 10.0, 0.4), (20.0, 10.0, 0.8 * 0.5**0.5), (None, 10.0, 0.8), (10.0, 0.0, 0.8)],
    ids=["half after one", "in between", "no half-life", "said today"],
)
def test_a_traits_confidence_fades_by_its_half_life(half_life: float | None, age: float, left: float) -> None:
    assert faded(0.8, age, half_life) == pytest.approx(left)
