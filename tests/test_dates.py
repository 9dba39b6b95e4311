"""Date phrases and what they name."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.extraction import dates

SAID = datetime(2024, 5, 15, 10, 30, tzinfo=UTC)
"""A Wednesday."""


def _day(moment: datetime | None) -> str | None:
    return None if moment is None else moment.date().isoformat()


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("today", "2024-05-15"),
        ("this morning", "2024-05-15"),
        ("yesterday", "2024-05-14"),
        ("last night", "2024-05-14"),
        ("the day before yesterday", "2024-05-13"),
        ("tomorrow", "2024-05-16"),
        ("last week", "2024-05-06"),
        ("this week", "2024-05-13"),
        ("next week", "2024-05-20"),
        ("last weekend", "2024-05-11"),
        ("this weekend", "2024-05-18"),
        ("last month", "2024-04-01"),
        ("next month", "2024-06-01"),
        ("last quarter", "2024-01-01"),
        ("last year", "2023-01-01"),
        ("this year", "2024-01-01"),
        ("earlier this year", "2024-01-01"),
        ("next year", "2025-01-01"),
        ("two weeks ago", "2024-05-01"),
        ("about 10 days ago", "2024-05-05"),
        ("six months ago", "2023-11-15"),
        ("a year ago", "2023-05-15"),
        ("half a year ago", "2023-11-15"),
        ("a couple of months ago", "2024-03-15"),
        ("for the last 5 years", "2019-05-15"),
        ("over the past two years", "2022-05-15"),
        ("in two weeks", "2024-05-29"),
        ("in two weeks’ time", "2024-05-29"),
        ("within 3 months", "2024-08-15"),
        ("three days from now", "2024-05-18"),
        ("2024-05-03", "2024-05-03"),
        ("2024-05", "2024-05-01"),
        ("on 3 May 2024", "2024-05-03"),
        ("3rd of May, 2023", "2023-05-03"),
        ("May 3, 2023", "2023-05-03"),
        ("25/12/2023", "2023-12-25"),
        ("12/25/2023", "2023-12-25"),
        ("3.4.2024", "2024-04-03"),
        ("since 2019", "2019-01-01"),
        ("back in 2015", "2015-01-01"),
        ("in March 2021", "2021-03-01"),
        ("Sept. 2020", "2020-09-01"),
        ("in Q3 2023", "2023-07-01"),
        # Without a year: the latest that has begun …
        ("in March", "2024-03-01"),
        ("in May", "2024-05-01"),
        ("in June", "2023-06-01"),
        ("on 20 May", "2023-05-20"),
        ("on Monday", "2024-05-13"),
        ("on the 3rd", "2024-05-03"),
        ("since January", "2024-01-01"),
        ("in the fall", "2023-09-01"),
        # … "last": the latest that is over …
        ("last March", "2024-03-01"),
        ("last May", "2023-05-01"),
        ("last Wednesday", "2024-05-08"),
        ("last summer", "2023-06-01"),
        ("last spring", "2023-03-01"),
        ("last winter", "2023-12-01"),
        # … and after words that look ahead the first that is not over.
        ("starting Monday", "2024-05-20"),
        ("from June", "2024-06-01"),
        ("by May", "2024-05-01"),
        ("by 1 March", "2025-03-01"),
        ("until next Friday", "2024-05-17"),
        ("next Monday", "2024-05-20"),
        ("next May", "2025-05-01"),
        ("this summer", "2024-06-01"),
        ("as of 1 June", "2024-06-01"),
        ("as of 1 May", "2024-05-01"),
        ("effective January", "2024-01-01"),
        ("as of now", "2024-05-15"),
        ("from now on", "2024-05-15"),
        # Parts of a period.
        ("at the end of the month", "2024-05-31"),
        ("by the end of June", "2024-06-30"),
        ("end of 2023", "2023-12-31"),
        ("the beginning of last year", "2023-01-01"),
        ("mid-May", "2024-05-16"),
        ("early 2024", "2024-01-01"),
        ("late March", "2024-03-21"),
        # Unknown, vague or ambiguous.
        ("03/04/2024", None),
        ("3/4/24", None),
        ("99/99/2024", None),
        ("31 June", None),
        ("29 February 2023", None),
        ("recently", None),
        ("a few weeks ago", None),
        ("for two weeks", None),
        ("two weeks", None),
        ("when I was a child", None),
        ("", None),
    ],
)
def test_a_phrase_names_the_start_of_its_period(phrase: str, expected: str | None) -> None:
    """Said on Wednesday 15 May 2024; what is not certain resolves to nothing."""
    assert _day(dates.resolve(phrase, SAID)) == expected


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [("in June", "2024-06-01"), ("on 3 May", "2025-05-03"), ("on Friday", "2024-05-17"), ("on the 3rd", "2024-06-03")],
)
def test_a_sentence_that_looks_ahead_means_the_coming_one(phrase: str, expected: str) -> None:
    """ "We are moving in June", said in May."""
    assert _day(dates.resolve(phrase, SAID, ahead=True)) == expected


def test_days_begin_in_the_given_zone() -> None:
    """At 23:30 UTC it is already tomorrow in Berlin, and Berlin's day begins at 22:00 UTC."""
    said = datetime(2024, 5, 15, 23, 30, tzinfo=UTC)
    assert dates.resolve("today", said) == datetime(2024, 5, 15, tzinfo=UTC)
    assert dates.resolve("today", said, "Europe/Berlin") == datetime(2024, 5, 15, 22, tzinfo=UTC)


def test_the_moment_of_speaking_must_have_a_zone() -> None:
    """A guessed zone is a wrong date."""
    with pytest.raises(ValueError, match="naive"):
        dates.resolve("today", SAID.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("I moved to Lisbon last month.", ["last month"]),
        ("I moved in March 2021, and again two weeks ago.", ["in March 2021", "two weeks ago"]),
        ("Our renewal is on 1 May.", ["on 1 May"]),
        ("We want to finish by the end of June 2024!", ["by the end of June 2024"]),
        ("May I ask? I may march on.", []),
        ("I will fall back to version 2.2019 or call 555-2024", []),
        ("In 20 minutes", []),
        ("I have worked here since 2019", ["since 2019"]),
    ],
)
def test_phrases_are_found_in_a_sentence(text: str, phrases: list[str]) -> None:
    """The longest at each place; the month of May needs a lead, a day or a year."""
    found = dates.find(text)
    assert [span.phrase for span in found] == phrases
    assert all(text[span.start : span.end] == span.phrase for span in found)


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("I'm getting married in June", True),
        ("We will move in June", True),
        ("Our renewal is on 1 May", True),
        ("We want to launch by June", True),
        ("I moved in June", False),
        ("We renewed on 1 May", False),
    ],
)
def test_sentences_that_look_ahead(sentence: str, expected: bool) -> None:
    """Decides between the June that was and the June to come."""
    assert dates.looks_ahead(sentence) is expected


_LEADS = ("last", "next", "this", "in", "on", "since", "by", "end", "of", "the", "mid-", "as", "from", "now")
_NAMES = ("two", "3", "31", "weeks", "years", "ago", "month", "March", "may", "Monday", "2019", "Q3", "summer", "999")
_WORDS = st.sampled_from([*_LEADS, *_NAMES])


@given(
    st.one_of(st.text(max_size=60), st.lists(_WORDS, max_size=6).map(" ".join)),
    st.datetimes(timezones=st.just(UTC)),
    st.booleans(),
)
def test_any_phrase_at_any_time_gives_a_midnight_or_nothing(phrase: str, said: datetime, ahead: bool) -> None:
    """Nothing that a model or a person writes raises."""
    moment = dates.resolve(phrase, said, ahead=ahead)
    if moment is not None:
        assert (moment.hour, moment.minute, moment.tzinfo) == (0, 0, UTC)


@given(st.lists(_WORDS, max_size=40).map(" ".join))
def test_found_phrases_stand_where_they_say(text: str) -> None:
    """In order, without overlap."""
    end = 0
    for span in dates.find(text):
        assert span.start >= end
        assert text[span.start : span.end] == span.phrase
        end = span.end


@given(st.integers(-14, 14))
def test_the_zone_of_the_clock_that_said_it_does_not_matter(hours: int) -> None:
    """The same moment gives the same date."""
    said = SAID.astimezone(timezone(timedelta(hours=hours)))
    assert dates.resolve("yesterday", said) == dates.resolve("yesterday", SAID)
