"""Conversations become one record per person and day; what stands out of order is never lost."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Identifier, Person, Record, Role
from ingest_pipeline.sources import conversation
from ingest_pipeline.sources.base import ReadOptions, staff_key
from ingest_pipeline.sources.conversation import (
    Conversation,
    Excerpts,
    Turn,
    conversation_records,
    from_iso,
    from_unix,
)

NOON = datetime(2024, 1, 10, 12, tzinfo=UTC)
LATEST = datetime(2025, 1, 1, tzinfo=UTC)


def turn(number: int, speaker: str = "a", at: datetime | None = NOON, role: Role = Role.OTHER, text: str = "") -> Turn:
    return Turn(speaker, speaker.upper(), text or f"text {number}", str(number), at, role, number)


def read(turns: list[Turn], zone: str = "UTC") -> tuple[list[Record], Counter[str]]:
    skipped: Counter[str] = Counter()
    whole = Conversation("test", "c", "chat/f", ZoneInfo(zone), "as in the file")
    found = conversation_records(whole, turns, lambda s: Person(Identifier("test", s), "test", s), skipped, LATEST)
    return [item for item in found if isinstance(item, Record)], skipped


def test_a_day_of_a_person() -> None:
    found, _ = read([turn(1), turn(2, "b"), turn(3), turn(4, at=NOON + timedelta(days=1))])
    assert [(r.native_id, r.units, r.position, r.text) for r in found] == [
        ("c/2024-01-10/1", 2, "message 1", "A: text 1\nB: text 2\nA: text 3"),
        ("c/2024-01-10/2", 1, "message 2", "A: text 1\nB: text 2\nA: text 3"),
        ("c/2024-01-11/4", 1, "message 4", "A: text 4"),
    ]
    assert found[0].metadata == {"day": "2024-01-10", "time_zone": "as in the file", "message_ids": ["1", "3"]}


def test_the_zone_says_where_a_day_ends() -> None:
    """Also on days of 23 and 25 hours."""
    late = datetime(2024, 3, 30, 22, 59, tzinfo=UTC)
    found, _ = read([turn(n, at=late + timedelta(hours=12 * n)) for n in range(4)], "Europe/Berlin")
    assert [record.metadata["day"] for record in found] == ["2024-03-30", "2024-03-31", "2024-04-01"]
    assert [record.units for record in found] == [1, 1, 2]


def test_newest_first_is_turned_round() -> None:
    """Those of one moment, too."""
    found, _ = read([turn(3, at=NOON + timedelta(minutes=1)), turn(2), turn(1)])
    assert found[0].text == "A: text 1\nA: text 2\nA: text 3"


def test_who_makes_no_record_is_counted_and_context() -> None:
    found, skipped = read([turn(1, "s", role=Role.STAFF), turn(2), turn(3, "x", role=Role.ASSISTANT)])
    assert [[s.role for s in record.segments] for record in found] == [[Role.STAFF, Role.SUBJECT, Role.ASSISTANT]]
    assert skipped == {"internal_sender": 1, "assistant": 1}


def test_implausible_times_are_dropped_and_the_message_kept() -> None:
    found, _ = read([turn(1, at=None), turn(2, at=datetime(1970, 1, 1, tzinfo=UTC)), turn(3, at=LATEST + timedelta(9))])
    assert [(r.metadata["day"], r.units, r.occurred_at, r.modified_at) for r in found] == [("undated", 3, None, None)]


def test_a_day_that_comes_back_makes_a_further_record() -> None:
    days = [turn(n, at=NOON + timedelta(days=n)) for n in range(9)]
    found, _ = read([*days, turn(99)])
    assert [r.native_id for r in found if r.metadata["day"] == "2024-01-10"] == ["c/2024-01-10/0", "c/2024-01-10/99"]


def test_late_messages_still_join_their_day() -> None:
    found, _ = read([turn(1), turn(2, at=NOON + timedelta(days=1)), turn(3)])
    assert [record.units for record in found] == [2, 1]


def test_an_endless_day_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_DAY_TURNS", 3)
    found, _ = read([turn(n) for n in range(7)])
    assert [record.units for record in found] == [3, 3, 1]
    assert len({record.native_id for record in found}) == 3


@given(st.lists(st.tuples(st.sampled_from("abs"), st.integers(0, 9), st.booleans()), max_size=40))
def test_every_message_is_in_one_record_or_counted(messages: list[tuple[str, int, bool]]) -> None:
    """In whatever order they stand, and ids that repeat count once a day."""
    turns = [
        turn(n % 20, who, NOON + timedelta(days=day) if dated else None, Role.STAFF if who == "s" else Role.OTHER)
        for n, (who, day, dated) in enumerate(messages)
    ]
    found, skipped = read(turns)
    assert sum(record.units for record in found) + skipped.total() == len(turns)
    for record in found:
        spans = [record.text[s.start : s.end] for s in record.segments if s.role is Role.SUBJECT]
        assert len(spans) == record.units
        assert all(span.startswith("text ") for span in spans)


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.sampled_from(["x", "> q\nx", "> q", "x\n\n> q\ny"])
)
def test_segments_hold_the_speakers_own_lines(speakers: list[str], text: str) -> None:
    turns = [turn(n, who, text=text) for n, who in enumerate(speakers)]
    own = [n for n, who in enumerate(speakers) if who == speakers[0]]
    whole, segments = Excerpts(turns).about(own)
    assert all(not line.startswith(">") for s in segments for line in whole[s.start : s.end].split("\n"))
    assert all(a.end < b.start for a, b in pairwise(segments))
    assert {s.speaker for s in segments if s.role is Role.SUBJECT} <= {speakers[0].upper()}


def test_times() -> None:
    """Unix and ISO times in the forms that exports have; anything else is none."""
    assert from_unix("1544006350") == from_unix(1544006350.0) == datetime(2018, 12, 5, 10, 39, 10, tzinfo=UTC)
    assert from_unix(1544006350123, per_second=1_000) == datetime(2018, 12, 5, 10, 39, 10, 123000, tzinfo=UTC)
    assert [from_unix(bad) for bad in (None, True, "x", float("nan"), 1e300, 10**400, [])] == [None] * 7
    berlin = ZoneInfo("Europe/Berlin")
    assert from_iso("2024-01-10T13:00:00", berlin) == from_iso("2024-01-10T12:00:00Z", berlin) == NOON
    assert [from_iso(bad, berlin) for bad in (None, 5, "10.1.2024", "0001-01-01T00:00:00+23:59")] == [None] * 4


def test_staff_are_compared_without_case_and_spaces() -> None:
    options = ReadOptions(staff=frozenset({staff_key("Sam  Rée")}))
    assert options.is_staff("x", "sam re\u0301e")
    assert not options.is_staff("Sam")
    assert not ReadOptions().is_staff("")
