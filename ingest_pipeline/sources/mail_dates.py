"""When a mail was sent: Date → Received → mbox From-line or IMAP date → unknown. Wrong dates are dropped.

Own parsing, because ``email.utils`` reads a zone it does not know ("CEST") and a missing zone as UTC without a word.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from ingest_pipeline.sources.mime import Headers

FUTURE_TOLERANCE = timedelta(days=2)
MAX_DATE_CHARS = 200
FIRST_YEAR = 1980
"""Earlier dates are clocks that were never set; 1970 is the common one."""

_MONTH_NAMES = "jan feb mar apr may jun jul aug sep oct nov dec"
_MONTHS = {name: n for n, name in enumerate(_MONTH_NAMES.split(), start=1)}
_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?(?:\.\d+)?(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?"
_ZONE = r"(?P<zone>[+-]\d{1,2}:?\d{2}|[A-Za-z]{1,5})"
_RFC5322 = re.compile(
    rf"(?:[A-Za-z]{{2,9}}\.?,?\s*)?(?P<day>\d{{1,2}})[\s-]+(?P<month>[A-Za-z]{{3}})[a-z]*\.?,?[\s-]+(?P<year>\d{{2,4}}),?"
    rf"\s+{_TIME}\s*{_ZONE}?(?:\W|$)"
)
_ASCTIME = re.compile(
    rf"(?:[A-Za-z]{{3,9}},?\s+)?(?P<month>[A-Za-z]{{3}})[a-z]*\s+(?P<day>\d{{1,2}}),?\s+{_TIME}"
    rf"(?:\s+{_ZONE})?\s+(?P<year>\d{{4}})(?:\s+(?P<zone2>[+-]\d{{4}}))?"
)
_ISO = re.compile(rf"(?P<year>\d{{4}})-(?P<month>\d{{2}})-(?P<day>\d{{2}})[T ]{_TIME}\s*(?:{_ZONE})?")
_WEEKDAY = re.compile(r"\s(?=(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)\b)")
# Minutes east of UTC. IST and the like mean several zones and are left out.
_ZONES = {"ut": 0, "utc": 0, "gmt": 0, "z": 0, "wet": 0, "west": 60, "bst": 60, "cet": 60, "met": 60, "cest": 120}
_ZONES |= {"mest": 120, "eet": 120, "eest": 180, "msk": 180, "jst": 540, "kst": 540, "aest": 600, "aedt": 660}
_ZONES |= {"est": -300, "edt": -240, "cst": -360, "cdt": -300, "mst": -420, "mdt": -360, "pst": -480, "pdt": -420}


@dataclass(frozen=True, slots=True)
class SentAt:
    """``moment`` in UTC or None; ``source`` is ``date``, ``received``, ``from_line``, ``internal_date`` or ``none``."""

    moment: datetime | None
    source: str
    warnings: tuple[str, ...] = ()


def sent_at(headers: Headers, envelope: bytes, zone: str, now: datetime, envelope_name: str = "from_line") -> SentAt:
    """The first usable date of the mail. ``zone`` (IANA) is for times without one, which are flagged."""
    warnings: list[str] = []
    for source, raw in _candidates(headers, envelope, envelope_name):
        moment, problems = parse_date(raw, zone)
        if moment is not None and moment.year < FIRST_YEAR:
            moment, problems = None, ["date_before_1980"]
        elif moment is not None and moment > now + FUTURE_TOLERANCE:
            moment, problems = None, ["date_in_future"]
        warnings += problems
        if moment is not None:
            return SentAt(moment, source, tuple(warnings))
    return SentAt(None, "none", tuple(warnings))


def parse_date(raw: str, zone: str) -> tuple[datetime | None, list[str]]:
    """``(moment in UTC, warnings)`` of an RFC 5322, asctime or ISO date; the moment is None when it is none of them."""
    raw = raw[:MAX_DATE_CHARS]
    match = _RFC5322.search(raw) or _ASCTIME.search(raw) or _ISO.search(raw)
    if match is None:
        return None, ["unreadable_date"]
    month = match["month"]
    number = int(month) if month.isdigit() else _MONTHS.get(month.lower(), 0)
    year, warnings = _full_year(match["year"])
    written = match["zone"] or match.groupdict().get("zone2") or ""
    offset, zone_warnings = _offset(written, zone)
    try:
        local = datetime(
            year,
            number,
            int(match["day"]),
            _hour(int(match["hour"]), match["half"]),
            int(match["minute"]),
            min(int(match["second"] or 0), 59),
            tzinfo=offset,
        )
        return local.astimezone(UTC), [*warnings, *zone_warnings]
    except (ValueError, OverflowError):
        return None, ["unreadable_date"]


def _candidates(headers: Headers, envelope: bytes, envelope_name: str) -> Iterator[tuple[str, str]]:
    if raw := headers.get("date"):
        yield "date", raw
    # The last field is the first hop, nearest to the sending.
    for value in headers.get_all("received")[-1:]:
        if raw := value.rpartition(";")[2].strip():
            yield "received", raw
    if line := envelope.decode("latin-1").strip():
        yield envelope_name, _WEEKDAY.split(line)[-1]


def _full_year(digits: str) -> tuple[int, list[str]]:
    year = int(digits)
    if len(digits) == 4:
        return year, []
    # RFC 5322, 4.3
    return (year + 2000 if len(digits) == 2 and year < 50 else year + 1900), ["two_digit_year"]


def _hour(hour: int, half: str | None) -> int:
    if half is None:
        return hour
    return hour % 12 + (12 if half in "pP" else 0)


@lru_cache(maxsize=256)
def _offset(written: str, zone: str) -> tuple[tzinfo, tuple[str, ...]]:
    if written[:1] in {"+", "-"}:
        digits = written[1:].replace(":", "").zfill(4)
        minutes = int(digits[:2]) * 60 + int(digits[2:])
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=-minutes if written[0] == "-" else minutes)), ()
        return _named(zone), ("unknown_zone",)
    if written.lower() in _ZONES:
        return timezone(timedelta(minutes=_ZONES[written.lower()])), ()
    return _named(zone), ("unknown_zone" if written else "no_zone",)


@lru_cache(maxsize=8)
def _named(zone: str) -> tzinfo:
    return ZoneInfo(zone)
