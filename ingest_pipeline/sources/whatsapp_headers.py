"""The line that begins a WhatsApp message, in the forms that languages give it, and what its date means.

[20.06.19, 15:58:47] Ann: Hello         iPhone, German       1/23/23, 3:19 AM - Ann: Hello     Android, English (US)
2024/12/10, 14:30 - Ann: Hello          Android              13.6.2018 klo 21.25.15 - Ann: Moi Finnish
[2023/1/23 下午3:19:45] Ann: Hello       Chinese              15:19, 23/01/2023 - Ann: Hello    Vietnamese
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

_MARKS = "[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]"
_GAP = "[ \t\u00a0\u202f\u2009]"
_SEPARATOR = rf"{_MARKS}?{_GAP}?[./\-‐‑年년月월]{_GAP}?{_MARKS}?"
_DATE = rf"(?P<a>\d{{1,4}}){_SEPARATOR}(?P<b>\d{{1,2}}){_SEPARATOR}(?P<c>\d{{1,4}})"
_WORD = r"[^\W\d_]{1,8}\.?(?:[ \u00a0\u202f]?[^\W\d_]{1,6}\.?)?"
_CLOCK = r"(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.](?P<second>\d{2}))?"
_TIME = rf"(?:(?P<before>{_WORD}){_GAP}?)?{_CLOCK}(?:{_GAP}?(?P<after>{_WORD}))?"
# "23. 01. 2023. 15:19", "23.01.23 г., 15:19 ч."
_AFTER_DATE = rf"[日일.]?(?:{_GAP}?[гр]\.?)?{_MARKS}?[,،]?{_GAP}{{0,2}}"
_BEGIN = rf"^{_MARKS}{{0,3}}\[?{_MARKS}?"
_END = rf"{_MARKS}?(?:\]{_GAP}?|{_GAP}[-–—]{_GAP})"
PATTERNS = (
    re.compile(rf"{_BEGIN}{_DATE}{_AFTER_DATE}{_TIME}{_END}", re.MULTILINE),
    re.compile(rf"{_BEGIN}{_TIME},?{_GAP}{_DATE}{_END}", re.MULTILINE),
)

_AM = "am a.m. a.m vorm. π.μ. πμ 上午 凌晨 清晨 早上 午前 오전 ص ق.ظ de. öö fm f.m. dop. odp пр.об. sa"
_PM = "pm p.m. p.m nachm. μ.μ. μμ 下午 中午 傍晚 晚上 午後 오후 م ب.ظ du. ös em e.m. odp. сл.об. ch"
_HALVES = {word: "am" for word in _AM.replace(" odp ", " ").split()} | {word: "pm" for word in _PM.split()}
_HALVES |= {"a. m.": "am", "p. m.": "pm", "преди обяд": "am", "след обяд": "pm"}
# Words beside a time of 24 hours.
_NO_HALVES = frozenset(("klo", "kl", "kl.", "um", "at", "à", "alle", "h", "uhr", "ч", "ч.", "น."))
_BUDDHIST = 543
FIRST_YEAR = 2009
"""WhatsApp's first; an earlier one is another calendar's."""


@dataclass(frozen=True, slots=True)
class DateOrder:
    """``order`` is dmy, mdy or ymd; ``decided_by`` tells how it is known."""

    order: str
    decided_by: str


def header_pattern(line: str) -> re.Pattern[str] | None:
    """The pattern that finds the headers of a file with this line; None when it does not begin a message."""
    return next((pattern for pattern in PATTERNS if pattern.match(line)), None)


def decide_order(dates: Iterable[tuple[str, str, str]], setting: str) -> DateOrder | None:
    """The order of day, month and year in the dates of one file; None when they read either way.

    A year of four digits in front and a number over 12 decide, then that time goes forward, then ``setting``. Reads
    only as far as it has to.
    """
    if setting == "ymd":
        dates = list(_changes(dates))
        if all(len(a) == 2 and int(b) <= 12 and int(c) <= 31 for a, b, c in dates):
            return DateOrder("ymd", "setting")
    back = {"dmy": 0, "mdy": 0}
    last: dict[str, tuple[int, int, int]] = {}
    alike = True
    for a, b, c in _changes(dates):
        first, second, year = int(a), int(b), int(c)
        if len(a) == 4:
            return DateOrder("ymd", "year_first")
        if (first > 12) != (second > 12):
            return DateOrder("dmy" if first > 12 else "mdy", "number_over_12")
        alike = alike and first == second
        for order, moment in (("dmy", (year, second, first)), ("mdy", (year, first, second))):
            back[order] += moment < last.get(order, moment)
            last[order] = moment
    better, worse = sorted(back, key=lambda order: back[order])
    # A few messages stand out of order because they were delivered late.
    if back[better] * 10 < back[worse]:
        return DateOrder(better, "time_goes_forward")
    if alike:
        return DateOrder("dmy", "day_equals_month")
    return DateOrder(setting, "setting") if setting in back else None


def _changes(dates: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, str, str]]:
    """The dates that differ from the one before."""
    previous = None
    for date in dates:
        if date != previous:
            yield date
        previous = date


def read_time(header: re.Match[str], order: str, zone: tzinfo) -> datetime:
    """The header's time in the zone. Raises ValueError, without the text, when there is no such time."""
    a, b, c = int(header["a"]), int(header["b"]), int(header["c"])
    year, month, day = (a, b, c) if order == "ymd" else (c, b, a) if order == "dmy" else (c, a, b)
    year += 2000 if year < 100 else 0
    if year >= FIRST_YEAR + _BUDDHIST:
        year -= _BUDDHIST
    if year < FIRST_YEAR:
        raise ValueError("a year before WhatsApp, or of another calendar")
    hour = int(header["hour"])
    before, after = header["before"], header["after"]
    if before or after:
        hour = _of_24_hours(hour, before, after)
    try:
        return datetime(year, month, day, hour, int(header["minute"]), int(header["second"] or 0), tzinfo=zone)
    except ValueError:
        raise ValueError("no such date or time") from None


def _of_24_hours(hour: int, *words: str | None) -> int:
    for word in words:
        spelled = " ".join(word.casefold().split()) if word else ""
        half = _HALVES.get(spelled)
        if half is not None and hour <= 12:
            hour = hour % 12 + (12 if half == "pm" else 0)
        elif half is None and spelled and spelled not in _NO_HALVES:
            raise ValueError("a word beside the time that is not known to mean morning or afternoon")
    return hour
