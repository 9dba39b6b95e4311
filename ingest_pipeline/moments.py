"""When a claim counts, compared with others about the same thing. Pure.

A claim without a date counts from when it was said. One with a stated date counts from that date on as far as history
is concerned, but "in March" names a whole month: a claim made on the 10th is not later than "moved in March". So, for
the order of claims, a stated date counts

- by its last moment (a date that is not a phrase is a day), since the change may have come that late,
- but never later than it was said: whoever says "today" in the morning does not speak of the evening;
- "since 2019" and "for the last three years" say that it held until then, so they count from when they were said;
- a day still to come when it was said counts from its first moment.

Two claims are about the same moment when these moments are equal.
"""

import re
from datetime import datetime, timedelta
from functools import lru_cache

from ingest_pipeline.states import Observed

_UNTIL_NOW = re.compile(r"^(?:ever )?since\b|\b(?:the )?(?:last|past) (?:\d|an?\b|couple|two|three|four|five|six|seven"
                        r"|eight|nine|ten|eleven|twelve|fifteen|twenty|thirty)")  # fmt: skip
_DAY = re.compile(
    r"\d{1,2}(?:st|nd|rd|th)\b|\d{4}-\d\d-\d\d|\d{1,2}[./-]\d{1,2}[./-]\d{4}|\b(?:day|today|yesterday|tomorrow|tonight"
    r"|morning|afternoon|evening|night|now|immediately|ago|back|end|close)\b|\w{3,6}day\b"
    r"|(?<!\d)\d{1,2}(?:,| (?:of )?[a-z])|[a-z]\.? \d{1,2}(?!\d)"
)
_PART = re.compile(r"\b(?:start|beginning|middle|early|mid|late)\b")
_UNITS = (
    ("week", re.compile(r"\bweek\b"), 7),
    ("weekend", re.compile(r"\bweekend\b"), 2),
    ("quarter", re.compile(r"\bquarter\b|\bq[1-4]\b|\b(?:spring|summer|autumn|fall|winter)\b"), 3),
    ("month", re.compile(r"\bmonth\b|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b|\d{4}-\d\d$"), 1),
    ("year", re.compile(r"\byear\b|\b(?:19|20)\d\d\b"), 12),
)
_TICK = timedelta(microseconds=1)
_MONTHLY = frozenset({"month", "quarter", "year"})


def counts_from(observed: Observed) -> datetime:
    """The moment by which the claim is put in order; ``Observed.since`` is what history shows."""
    start, said = observed.effective_at, observed.said_at
    if start is None or said is None or start > said:
        return observed.since
    phrase = " ".join((observed.stated or "").casefold().split())
    return said if _UNTIL_NOW.search(phrase) else min(said, start + _length(phrase, start) - _TICK)


@lru_cache(maxsize=4_096)
def _length(phrase: str, start: datetime) -> timedelta:
    """How long the period is that the phrase names; a day when it does not say."""
    if not phrase or _DAY.search(phrase):
        return timedelta(days=1)
    for name, pattern, size in _UNITS:
        if pattern.search(phrase):
            whole = _months(start, size) if name in _MONTHLY else timedelta(days=size)
            return whole / 3 if _PART.search(phrase) else whole
    return timedelta(days=1)


def _months(start: datetime, count: int) -> timedelta:
    """From a local midnight, given in UTC, to that of a later month: east of Greenwich it is the day before in UTC."""
    first = start if start.day == 1 else start + timedelta(days=1)
    years, month = divmod(first.month - 1 + count, 12)
    # A month counted from the middle, after "mid March", ends on a day that every month has.
    return first.replace(year=first.year + years, month=month + 1, day=min(first.day, 28)) - first
