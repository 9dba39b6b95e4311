"""What cells of CRM rows say: labels, values worth a line, identifiers, moments; pure, shared by the CRM readers."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from ingest_pipeline.documents import Identifier, Json, Person
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.columns import BLANKS, FREE_MAIL, NOISE
from ingest_pipeline.sources.crm_withheld import holds_numbers, is_withheld

FUTURE_SLACK = timedelta(days=1)
"""Clocks and zones differ; a moment further ahead than this is wrong."""

REMEMBERED_MOMENTS = 16_384
_DAY = len("2024-01-23")
_TO_MINUTES = len("2024-01-23 17:50")
_TO_SECONDS = len("2024-01-23 17:50:51")

_ADDRESS = re.compile(r"[^@\s;,<>\"]+@[^@\s;,<>\"]+\.[^@\s;,<>\".]{2,}")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LINK = re.compile(r"(?:https?://|www\.|/services/|/servlet/)\S*\Z|<(?:a|img)\b", re.IGNORECASE)
_BLOB = re.compile(r"\{.*\}\Z|\[[{\"].*\]\Z", re.DOTALL)
_WORDS = re.compile(r"[^\W\d_]+(?:[ ,&'-]+[^\W\d_]+)*\Z")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z", re.IGNORECASE)
_SALESFORCE_ID = re.compile(r"[A-Za-z0-9]{15}[A-Z0-5]{3}\Z")
_PHONE = re.compile(r"[+(]?\d[\d\s().\-/]{5,}(?:\s*(?:x|ext\.?)\s*\d+)?\Z", re.IGNORECASE)
_PHONE_LABEL = re.compile(r"\b(phone|mobile|cell|tel\w*|whatsapp)\b")
_ONE_DIGIT_HOUR = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d:)")
_NUMERIC_DATE = re.compile(
    r"(?P<a>\d{1,4})(?P<mark>[./])(?P<b>\d{1,2})(?P=mark)(?P<c>\d{2,4})"
    r"(?:,? +(?P<time>(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?"
    r"(?:[ \u202f]?(?P<half>[ap])\.?m\.?)?))?\Z",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def readable_label(column: str) -> str:
    """``Current_Employer__c`` -> ``Current employer``; ``ns__SLAViolation__c`` -> ``SLA violation``."""
    stem = re.sub(r"__(c|pc|s)\Z", "", column, flags=re.IGNORECASE).rpartition("__")[2] or column
    shouted = stem.isupper()
    words = [word for part in re.split(r"[_\s]+", stem) for word in _CAMEL.split(part) if word]
    lowered = [word if word.isupper() and not shouted and len(word) > 1 else word.lower() for word in words]
    label = " ".join(lowered).replace(":", "")
    return label[:1].upper() + label[1:]


def is_meaningful(label: str) -> bool:
    """False for columns that hold identity-paper, card or bank numbers, or nothing about the person."""
    lowered = label.lower()
    return bool(lowered) and not holds_numbers(lowered) and not NOISE.search(lowered)


@lru_cache(maxsize=16_384)
def says_something(value: str, label: str = "") -> bool:
    """False for a value that is empty, an id, a link, a blob, an address or number that only identifies."""
    if value.lower() in BLANKS:
        return False
    if _WORDS.match(value):
        return True
    if _LINK.match(value) or _BLOB.match(value) or _UUID.match(value) or is_withheld(value):
        return False
    if _SALESFORCE_ID.match(value) and any(char.isdigit() for char in value[:3]):
        return False
    if "@" in value and _ADDRESS.fullmatch(value):
        return False
    return not (_PHONE.match(value) and _PHONE_LABEL.search(label.lower()))


def email_addresses(*cells: str) -> tuple[Identifier, ...]:
    """The addresses in the cells, lower case, each once, in order."""
    found = (address.lower() for cell in cells if "@" in cell for address in _ADDRESS.findall(cell))
    return tuple(Identifier("email", address) for address in dict.fromkeys(found))


def clean_name(*parts: str) -> str | None:
    """Parts joined by one space, without direction marks; None when nothing is left."""
    return " ".join(_BIDI.sub("", " ".join(parts)).split()) or None


NOBODY = "the row is empty: it holds no name, address, phone number or text"


def is_nobody(person: Person, text: str, naming: Sequence[Json]) -> bool:
    """Whether a person's own row says nothing of them. It would make a profile without a name, about nobody.

    ``naming``: what stands in its columns for names, addresses and numbers. A table without any of these may be meant
    so, with people known by their ids only.
    """
    known = text or person.name or person.identifiers or person.same_as or not person.claims
    return bool(naming) and not known and not any(map(_is_filled, naming))


def _is_filled(value: Json) -> bool:
    """Also of lists of ``{"label": "work", "value": "…"}``."""
    if isinstance(value, list):
        return any(map(_is_filled, value))
    return bool(value.get("value") if isinstance(value, dict) else value)


@dataclass(frozen=True, slots=True)
class Staff:
    """The company's own people: they are authors, never profiles. ``addresses`` are lower case."""

    options: ReadOptions
    addresses: frozenset[str] = frozenset()

    def includes(self, address: str) -> bool:
        return address in self.addresses or self.options.is_internal(address)


def staff_of(addresses: Iterable[str], options: ReadOptions) -> Staff:
    """Users of the CRM are staff, and so is everybody at their domains, unless these are open to anybody."""
    known = frozenset(found.value for cell in addresses for found in email_addresses(cell))
    domains = {address.rpartition("@")[2] for address in known} - FREE_MAIL
    return Staff(replace(options, internal_domains=options.internal_domains | domains), known)


def read_moment(
    cell: str, now: datetime, zone: tzinfo = UTC, date_order: str = ""
) -> tuple[datetime | None, str | None]:
    """(moment in UTC, None), or (None, why not); (None, None) for an empty cell.

    A day without a time is taken as noon UTC: the same calendar day in nearly every zone. ``zone`` is that of naive
    times. Digits alone are milliseconds since 1970. ``date_order`` (dmy, mdy, ymd) decides ``03/04/2024``, which
    without it is unreadable. Refused: 1970 and before, which is an unset clock, and the future.
    """
    text = cell.strip()
    if not text:
        return None, None
    try:
        moment = _parsed(text, zone, date_order)
    except (ValueError, OverflowError, OSError):
        return None, "unreadable"
    if moment.year <= 1970:
        return None, "1970_or_before"
    if moment > now and moment > now + FUTURE_SLACK:
        return None, "in_the_future"
    return moment, None


class Moments(dict[str, tuple[datetime | None, str | None]]):
    """``read_moment`` of the cells of one table, each spelling worked out once."""

    def __init__(self, now: datetime, zone: tzinfo = UTC, date_order: str = "") -> None:
        super().__init__()
        self._settings = (now, zone, date_order)

    def __missing__(self, cell: str) -> tuple[datetime | None, str | None]:
        if len(self) >= REMEMBERED_MOMENTS:
            self.clear()
        found = self[cell] = read_moment(cell, *self._settings)
        return found


def _parsed(text: str, zone: tzinfo, date_order: str) -> datetime:
    length = len(text)
    # What nearly all cells are goes the short way; a zone that is in the text is much faster than one set afterwards.
    if length > _DAY + 3 and text[4] == "-" and text[13] == ":":
        if zone is UTC and (length == _TO_MINUTES or (length == _TO_SECONDS and text[16] == ":")):
            return datetime.fromisoformat(f"{text}+00:00")
        bare = text.removesuffix(" UTC")
        return _in_utc(datetime.fromisoformat(bare), zone if bare is text else UTC)
    if zone is UTC and length == _DAY and text[4] == "-":
        return datetime.fromisoformat(f"{text}T12:00+00:00")
    if text.isascii() and text.isdigit():
        if len(text) < 12:
            raise ValueError("not milliseconds")
        return datetime.fromtimestamp(int(text) / 1000, UTC)
    if match := _NUMERIC_DATE.match(text):
        moment = _numeric(match, date_order)
        day_only = match["time"] is None
    else:
        moment = datetime.fromisoformat(_ONE_DIGIT_HOUR.sub(r"\1 0\2", text.removesuffix(" UTC")))
        day_only = len(text) == 10
    if day_only:
        return moment.replace(hour=12, tzinfo=UTC)
    return _in_utc(moment, UTC if text.endswith(" UTC") else zone)


def _in_utc(moment: datetime, zone: tzinfo) -> datetime:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def _numeric(match: re.Match[str], date_order: str) -> datetime:
    """A date in numbers whose order is certain: the year has four digits, a day over 12 or the setting decides."""
    first, second, third = (int(match[part]) for part in ("a", "b", "c"))
    if len(match["a"]) == 4:
        year, month, day = first, second, third
    elif len(match["c"]) == 4:
        year = third
        order = "dmy" if first > 12 else "mdy" if second > 12 else "dmy" if first == second else date_order
        if order not in ("dmy", "mdy"):
            raise ValueError("day and month may be swapped")
        day, month = (first, second) if order == "dmy" else (second, first)
    else:
        raise ValueError("a year of two digits")
    hour, minute, second_of_minute = int(match["hour"] or 0), int(match["minute"] or 0), int(match["second"] or 0)
    if half := (match["half"] or "").lower():
        if not 1 <= hour <= 12:
            raise ValueError("no hour of a half day")
        hour = hour % 12 + (12 if half == "p" else 0)
    return datetime(year, month, day, hour, minute, second_of_minute)  # noqa: DTZ001 - the caller sets the zone
