"""From when a claim counts, compared with others: said, stated, since, until the end of the period that was named."""

from datetime import UTC, datetime

import pytest

from ingest_pipeline.documents import Role
from ingest_pipeline.extraction import dates
from ingest_pipeline.extraction.base import Kind
from ingest_pipeline.moments import counts_from
from ingest_pipeline.states import BEGINNING, Observed

SAID = datetime(2024, 5, 15, 9, tzinfo=UTC)


def claim(said: datetime | None, effective: datetime | None, stated: str | None = None) -> Observed:
    return Observed(
        "o", "d", Kind.TRAIT, "location", "x", 0.9, None, Role.SUBJECT, said, effective, False, "x", 0, 1, stated
    )


@pytest.mark.parametrize(
    ("phrase", "zone", "counts"),
    [
        ("yesterday", "UTC", "2024-05-14T23:59"), ("today", "UTC", "2024-05-15T09:00"),
        ("last month", "UTC", "2024-04-30T23:59"), ("last month", "Asia/Tokyo", "2024-04-30T14:59"),
        ("last month", "America/New_York", "2024-05-01T03:59"), ("in March", "UTC", "2024-03-31T23:59"),
        ("in March 2023", "UTC", "2023-03-31T23:59"), ("in May", "UTC", "2024-05-15T09:00"),
        ("on 3 May", "UTC", "2024-05-03T23:59"), ("last week", "UTC", "2024-05-12T23:59"),
        ("last weekend", "UTC", "2024-05-12T23:59"), ("last quarter", "UTC", "2024-03-31T23:59"),
        ("last summer", "UTC", "2023-08-31T23:59"), ("in 2019", "UTC", "2019-12-31T23:59"),
        ("in 2019", "Asia/Tokyo", "2019-12-31T14:59"), ("this year", "UTC", "2024-05-15T09:00"),
        ("since 2019", "UTC", "2024-05-15T09:00"), ("the last 3 years", "UTC", "2024-05-15T09:00"),
        ("3 weeks ago", "UTC", "2024-04-24T23:59"), ("end of March", "UTC", "2024-03-31T23:59"),
        ("2024-03", "UTC", "2024-03-31T23:59"), ("2024-03-07", "UTC", "2024-03-07T23:59"),
        ("next month", "UTC", "2024-06-01T00:00"), ("as of 1 June", "UTC", "2023-06-01T23:59"),
    ],
)  # fmt: skip
def test_a_stated_date_counts_by_the_end_of_what_it_names(phrase: str, zone: str, counts: str) -> None:
    """But not later than it was said; "since" until it was said; what is to come, from its first moment."""
    effective = dates.resolve(phrase, SAID, zone)
    assert effective
    if phrase == "as of 1 June":  # the nearest is ahead; a year earlier it is past
        effective = effective.replace(year=2023)
    moment = counts_from(claim(SAID, effective, phrase))
    assert moment.replace(second=0, microsecond=0).isoformat() == f"{counts}:00+00:00"


def test_without_a_phrase_a_date_is_a_day_and_without_a_date_it_is_when_it_was_said() -> None:
    early = datetime(2024, 5, 1, tzinfo=UTC)
    assert counts_from(claim(SAID, early)).date() == early.date()
    assert counts_from(claim(SAID, None)) == SAID
    assert counts_from(claim(None, early)) == early
    assert counts_from(claim(None, None)) == BEGINNING
