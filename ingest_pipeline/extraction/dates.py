"""Date phrases: "last month", "since 2019", "starting Monday" → a moment. Pure; no library guesses for us.

A phrase names a period (a day, week, month, season, quarter, year) and resolves to the period's first moment, in the
given zone, as UTC. The rules:

- Weeks start on Monday (ISO 8601). Seasons are the northern meteorological ones (summer starts on 1 June).
- "last X" is the latest X that is over, "this X" the one of the current year, "next X" the first that starts after
  the day of speaking; "next Monday" is thus the coming one.
- A month, day, weekday, season or quarter without a year is the latest that has begun, because people mostly tell
  what happened; after "starting", "from", "by", "until" (or when ``ahead``) the first that is not over; after "as of"
  and "effective" the nearest.
- "N days ago" and "in N weeks" count calendar units from the day of speaking and name that day.
- "end of X" is its last day, "middle of X" its middle day, "early X" its first, "late X" the start of its last third.
- 03/04/2024 is ambiguous: None. 25/12/2024 has one reading; dots are day first (3.4.2024). Two-digit years: None.
- Vague phrases ("recently", "a few weeks ago", "for two weeks") and everything else: None.
"""

import calendar
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

from ingest_pipeline.documents import utc

Direction: TypeAlias = Literal["past", "ahead", "nearest", "last", "this", "next"]

_MAX_PHRASE = 80
_ANY_DAY = datetime(2000, 6, 15, tzinfo=UTC)
_MONTHS = {name.casefold(): n for n, name in enumerate(calendar.month_name) if n}
_MONTHS |= {name[:3]: n for name, n in _MONTHS.items()} | {"sept": 9}
_WEEKDAYS = {name.casefold(): n for n, name in enumerate(calendar.day_name)}
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBERS = {word: n for n, word in enumerate(_WORDS, 1)} | {
    "a": 1, "an": 1, "a couple of": 2, "couple of": 2, "fifteen": 15, "twenty": 20, "thirty": 30, "half a": 0,
}  # fmt: skip
_LEADS: dict[str, Direction | None] = {
    "since": "past", "back in": "past", "ever since": "past",
    "from": "ahead", "starting": "ahead", "starting in": "ahead", "starting on": "ahead", "starting from": "ahead",
    "starts": "ahead", "starts on": "ahead", "starts in": "ahead", "beginning": "ahead", "beginning in": "ahead",
    "by": "ahead", "until": "ahead", "till": "ahead", "due": "ahead", "due on": "ahead", "before": "ahead",
    "as of": "nearest", "effective": "nearest", "effective from": "nearest", "effective as of": "nearest",
    "in": None, "on": None, "at": None, "during": None, "around": None, "after": None, "within": None, "over": None,
    "for": None,
}  # fmt: skip
_QUALIFIERS: dict[str, Direction] = {
    "last": "last", "past": "last", "previous": "last", "this past": "last", "this": "this", "current": "this",
    "next": "next", "coming": "next", "this coming": "next", "the coming": "next",
    "the following": "next", "upcoming": "next", "the upcoming": "next",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PhraseSpan:
    """A date phrase in a text: ``phrase == text[start:end]``, code points."""

    start: int
    end: int
    phrase: str


@dataclass(frozen=True, slots=True)
class _Context:
    today: date
    lead: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class _Period:
    first: date
    last: date


def resolve(phrase: str, said_at: datetime, timezone: str = "UTC", *, ahead: bool = False) -> datetime | None:
    """The first moment of the period that ``phrase`` names, in UTC; None when unknown or ambiguous.

    ``said_at`` is aware (ValueError otherwise); ``timezone`` is the IANA zone in which days begin. ``ahead`` says
    that the sentence looks forward, so that "in June" is the coming June.
    """
    zone = ZoneInfo(timezone)
    today = utc(said_at).astimezone(zone).date()
    text = " ".join(phrase.casefold().replace("’", "'").split()).strip(" .,;:!?()'\"")
    if len(text) > _MAX_PHRASE:
        return None
    try:
        day = _day(text, today, ahead)
        moment = None if day is None else datetime.combine(day, time(), zone).astimezone(UTC)
    except (ValueError, OverflowError):  # 31 June, or a year the calendar does not have
        return None
    return moment


def find(text: str) -> list[PhraseSpan]:
    """The date phrases in a text, in order, each the longest at its place; durations and impossible dates are none."""
    return [PhraseSpan(m.start(), m.end(), m.group()) for m in _FIND.finditer(text) if resolve(m.group(), _ANY_DAY)]


def looks_ahead(sentence: str) -> bool:
    """Whether the sentence is about what is still to come ("we're moving", "the renewal is on …")."""
    return _AHEAD.search(sentence) is not None


def _day(text: str, today: date, ahead: bool) -> date | None:
    text = _HEDGE.sub("", text)
    match = _LEAD.match(text)
    lead = match.group(1) if match else ""
    core = text[match.end() :] if match else text
    context = _Context(today, lead, _LEADS.get(lead) or ("ahead" if ahead else "past"))
    for rule in _RULES:
        found = rule.pattern.fullmatch(core)
        if found:
            return rule.handle(found, context)
    return None


def _period(text: str, context: _Context, direction: Direction) -> _Period | None:
    """The period that a unit or a name ("month", "March", "2019", "Q3 2024", "monday") stands for."""
    if text in _UNIT_LENGTHS:
        return _unit(text, context.today, direction)
    if text in _WEEKDAYS:
        return _weekday(_WEEKDAYS[text], context.today, direction)
    match = _NAMED.fullmatch(text)
    if match is None:
        return None
    name, year = match.group("name"), match.group("year")
    if name is None:
        return _Period(date(int(year), 1, 1), date(int(year), 12, 31))
    name = name.rstrip(".")
    if name.startswith("q"):
        month, months = int(name[1]) * 3 - 2, 3
    else:
        month, months = (_SEASONS[name], 3) if name in _SEASONS else (_MONTHS[name], 1)
    if year:
        return _months(int(year), month, months)
    return _choose([_months(context.today.year + n, month, months) for n in (-2, -1, 0, 1)], context.today, direction)


def _choose(periods: list[_Period], today: date, direction: Direction) -> _Period | None:
    """One of the yearly or monthly recurrences, which are in order. See the module's rules."""
    if direction == "past":
        return next((p for p in reversed(periods) if p.first <= today), None)
    if direction == "last":
        return next((p for p in reversed(periods) if p.last < today), None)
    if direction == "ahead":
        return next((p for p in periods if p.last >= today), None)
    if direction == "next":
        return next((p for p in periods if p.first > today), None)
    if direction == "this":
        return next((p for p in periods if p.first.year == today.year), None)
    return min(periods, key=lambda p: abs((p.first - today).days))


def _months(year: int, month: int, count: int) -> _Period:
    return _Period(date(year, month, 1), _add_months(date(year, month, 1), count) - timedelta(days=1))


def _add_months(day: date, count: int) -> date:
    """The same day of another month, or that month's last day."""
    year, month = divmod(day.year * 12 + day.month - 1 + count, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


_UNIT_LENGTHS = {"week": 0, "month": 1, "quarter": 3, "year": 12, "weekend": 0}


def _unit(unit: str, today: date, direction: Direction) -> _Period:
    step = {"last": -1, "next": 1}.get(direction, 0)
    if unit in ("week", "weekend"):
        monday = today + timedelta(days=7 * step - today.weekday())
        sunday = monday + timedelta(days=6)
        return _Period(monday, sunday) if unit == "week" else _Period(sunday - timedelta(days=1), sunday)
    length = _UNIT_LENGTHS[unit]
    first = (today.month - 1) // length * length + 1
    start = _add_months(date(today.year, first, 1), length * step)
    return _months(start.year, start.month, length)


def _weekday(weekday: int, today: date, direction: Direction) -> _Period:
    back = (today.weekday() - weekday) % 7
    if direction == "this":
        day = today + timedelta(days=weekday - today.weekday())
    elif direction in ("ahead", "next", "nearest"):
        day = today + timedelta(days=7 - back)
    else:
        day = today - timedelta(days=back or (7 if direction == "last" else 0))
    return _Period(day, day)


def _part(period: _Period, part: str) -> date:
    """A day inside a period by the word for it."""
    length = (period.last - period.first).days + 1
    if part in ("end", "close"):
        return period.last
    if part in ("middle", "mid"):
        return period.first + timedelta(days=(length - 1) // 2)
    if part == "late":
        return period.first + timedelta(days=length * 2 // 3)
    return period.first


def _named(match: re.Match[str], context: _Context) -> date | None:
    groups = match.groupdict()
    name, qualifier = groups["name"], groups.get("qualifier")
    direction: Direction = "this" if name in _UNIT_LENGTHS else context.direction
    if qualifier:
        direction = _QUALIFIERS[qualifier]
    period = _period(name, context, direction)
    return None if period is None else _part(period, groups.get("part") or "start")


def _iso(match: re.Match[str], context: _Context) -> date:
    return date(int(match.group("y")), int(match.group("m")), int(match.group("d") or 1))


def _numeric(match: re.Match[str], context: _Context) -> date | None:
    first, second, year = int(match.group("a")), int(match.group("b")), int(match.group("y"))
    if match.group("sep") == "." or first > 12 or first == second:
        return date(year, second, first)
    return date(year, first, second) if second > 12 else None


def _month_day(match: re.Match[str], context: _Context) -> date | None:
    month, day = _MONTHS[match.group("month").rstrip(".")], int(match.group("day"))
    if match.group("y"):
        return date(int(match.group("y")), month, day)
    years = (context.today.year + n for n in (-1, 0, 1))
    days = [date(y, month, day) for y in years if day <= calendar.monthrange(y, month)[1]]
    period = _choose([_Period(d, d) for d in days], context.today, context.direction)
    return period.first if period else None


def _ordinal(match: re.Match[str], context: _Context) -> date | None:
    day = int(match.group("day"))
    starts = [_add_months(context.today.replace(day=1), n) for n in (-2, -1, 0, 1, 2)]
    days = [s.replace(day=day) for s in starts if day <= calendar.monthrange(s.year, s.month)[1]]
    period = _choose([_Period(d, d) for d in days], context.today, context.direction)
    return period.first if period else None


def _count(match: re.Match[str], context: _Context) -> date | None:
    word, unit, tail, since = match.group("n"), match.group("unit"), match.group("tail"), match.group("since")
    count = int(word) if word.isdigit() else _NUMBERS[word]
    if since or tail in ("ago", "back"):
        sign = -1
    elif tail or context.lead in ("in", "within"):
        sign = 1
    else:
        return None
    if word == "half a":
        return _add_months(context.today, sign * 6) if unit == "year" else None
    if unit in ("day", "week"):
        return context.today + timedelta(days=sign * count * (7 if unit == "week" else 1))
    return _add_months(context.today, sign * count * _UNIT_LENGTHS[unit])


_DAYS = {
    "the day before yesterday": -2, "yesterday": -1, "last night": -1, "yesterday morning": -1,
    "yesterday afternoon": -1, "yesterday evening": -1, "today": 0, "this morning": 0, "this afternoon": 0,
    "this evening": 0, "tonight": 0, "effective immediately": 0, "tomorrow": 1, "tomorrow morning": 1,
    "the day after tomorrow": 2,
}  # fmt: skip


def _near(match: re.Match[str], context: _Context) -> date:
    return context.today + timedelta(days=_DAYS.get(match.group(), 0))


def _now(match: re.Match[str], context: _Context) -> date | None:
    return context.today if context.lead in ("from", "as of", "starting", "effective") else None


@dataclass(frozen=True, slots=True)
class _Rule:
    """``alone``: also found without a lead such as "in"; "May" and "2019" by themselves need not be dates."""

    pattern: re.Pattern[str]
    handle: Callable[[re.Match[str], _Context], date | None]
    alone: bool = True


def _any(words: Iterable[str]) -> str:
    """An alternation of phrases, longest first, with any white space between their words."""
    return "|".join(r"\s+".join(map(re.escape, word.split())) for word in sorted(words, key=len, reverse=True))


_SHORT = {name for name in _MONTHS if name == "sept" or (len(name) == 3 and name != "may")}
_MONTH = rf"(?:(?:{_any(_MONTHS.keys() - _SHORT)})\b|(?:{_any(_SHORT)})\b\.?)"
_YEAR = r"(?:19|20)\d\d\b"
_NAME = rf"(?:(?:{_any(_SEASONS)})\b|{_MONTH}|q[1-4]\b)"
_NAME_YEAR = rf"{_NAME}\s+(?:of\s+)?{_YEAR}"
_WEEKDAY = rf"(?:{_any(_WEEKDAYS)})\b"
_UNIT = rf"(?:{_any(_UNIT_LENGTHS)})\b"
_PART = r"(?:the\s+)?\b(?P<part>end|close|start|beginning|middle|early|mid|late)(?:\s+of|\s+in)?[\s-]+"
_DAY_NUMBER = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?\b"
_NAMED = re.compile(rf"(?P<name>{_NAME})?(?:(?:^|\s+|\s+of\s+)(?P<year>{_YEAR}))?")
_RULES = (
    _Rule(re.compile(r"(?P<y>\d{4})[-/](?P<m>\d{2})(?:[-/](?P<d>\d{2}))?\b"), _iso),
    _Rule(re.compile(r"(?P<a>\d{1,2})(?P<sep>[./-])(?P<b>\d{1,2})(?P=sep)(?P<y>(?:19|20)\d\d)\b"), _numeric),
    _Rule(re.compile(rf"(?:the\s+)?{_DAY_NUMBER}\s+(?:of\s+)?(?P<month>{_MONTH})(?:,?\s+(?P<y>{_YEAR}))?"), _month_day),
    _Rule(re.compile(rf"(?P<month>{_MONTH})\s+(?:the\s+)?{_DAY_NUMBER}(?:,?\s+(?P<y>{_YEAR}))?"), _month_day),
    _Rule(
        re.compile(
            rf"(?P<since>the\s+(?:last|past)\s+)?\b(?P<n>\d{{1,3}}|{_any(_NUMBERS)})\s+(?P<unit>day|week|month|quarter|year)s?'?"
            r"(?:\s+(?P<tail>ago|back|from\s+now|from\s+today|time))?\b"
        ),
        _count,
    ),
    _Rule(re.compile(_any(_DAYS) + r"\b"), _near),
    _Rule(re.compile(r"(?:now|today)(?:\s+on)?\b"), _now, alone=False),
    _Rule(
        re.compile(
            rf"(?:{_PART})?(?P<qualifier>{_any(_QUALIFIERS)})\s+(?P<name>{_UNIT}|{_WEEKDAY}|{_NAME_YEAR}|{_NAME})"
        ),
        _named,
    ),
    _Rule(re.compile(rf"{_PART}(?:the\s+)?(?P<name>{_UNIT}|{_WEEKDAY}|{_NAME_YEAR}|{_NAME}|{_YEAR})"), _named),
    _Rule(re.compile(rf"(?P<name>{_WEEKDAY}|{_NAME_YEAR})"), _named),
    _Rule(re.compile(rf"(?:the\s+)?(?P<name>{_NAME}|{_YEAR})"), _named, alone=False),
    _Rule(re.compile(r"the\s+(?P<day>\d{1,2})(?:st|nd|rd|th)\b"), _ordinal, alone=False),
)
_LEAD = re.compile(rf"({_any(_LEADS)})\s+")
_HEDGE = re.compile(r"(?:earlier|sometime|just|only|about|roughly|exactly)\s+")


def _find_pattern() -> re.Pattern[str]:
    """All rules in one alternation; a rule's own named groups become plain ones, as names may not repeat."""

    def cores(alone: bool) -> str:
        found = "|".join(rule.pattern.pattern for rule in _RULES if rule.alone or not alone)
        return re.sub(r"\?P<\w+>", "?:", found.replace("(?P=sep)", "[./-]"))

    lead = rf"(?:{_any(_LEADS)})\s+"
    return re.compile(rf"(?<![\w./-])(?:{lead}(?:{cores(False)})|(?:{cores(True)}))(?![\w/-]*\w)", re.IGNORECASE)


_FIND = _find_pattern()
_AHEAD = re.compile(
    r"^(?:getting|moving|relocating|retiring|leaving|joining|starting|expecting|launching|going)\b"
    r"|\b(?:will|shall|won['’]t|going to|gonna|plan(?:s|ned|ning)? to|about to|upcoming|next|coming|starting|by|until"
    r"|due|scheduled|expires?|(?:renewal|deadline|contract|wedding|launch|go-live|start date)\b[^.]{0,20}\bis"
    r"|(?:am|is|are)\s+\w{2,20}ing)\b|['’]ll\b|['’](?:m|re|s)\s+\w{2,20}ing\b",
    re.IGNORECASE,
)
