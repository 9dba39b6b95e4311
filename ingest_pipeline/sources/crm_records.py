"""Cells of CRM rows to text, identifiers and moments; pure, shared by the CRM readers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo

import phonenumbers

from ingest_pipeline.documents import Identifier, Role, Segment, utc
from ingest_pipeline.sources.columns import BLANKS, NEVER, NOISE, TRUE, UNCHECKED, Layout
from ingest_pipeline.sources.tabular import index_of

FUTURE_SLACK = timedelta(days=1)
"""Clocks and zones differ; a moment further ahead than this is wrong."""

_ADDRESS = re.compile(r"[^@\s;,<>\"]+@[^@\s;,<>\"]+\.[^@\s;,<>\".]{2,}")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LINK = re.compile(r"(?:https?://|www\.|/services/|/servlet/)\S*\Z|<(?:a|img)\b", re.IGNORECASE)
_BLOB = re.compile(r"\{.*\}\Z|\[[{\"].*\]\Z", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z", re.IGNORECASE)
_SALESFORCE_ID = re.compile(r"[A-Za-z0-9]{15}[A-Z0-5]{3}\Z")
_SSN = re.compile(r"\d{3}-\d{2}-\d{4}\Z")
_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}\Z")
_CARD = re.compile(r"\d(?:[ -]?\d){12,18}\Z")
_PHONE = re.compile(r"[+(]?\d[\d\s().\-/]{5,}(?:\s*(?:x|ext\.?)\s*\d+)?\Z", re.IGNORECASE)
_PHONE_LABEL = re.compile(r"\b(phone|mobile|cell|tel\w*|whatsapp)\b")
_ONE_DIGIT_HOUR = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d:)")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


@dataclass(slots=True)
class TextBuilder:
    """A record's text and whose words its parts are. Line breaks become ``\\n``; parts are separated as they are."""

    _parts: list[str] = field(default_factory=list)
    _segments: list[Segment] = field(default_factory=list)
    _length: int = 0

    def field(self, label: str, value: str, column: str) -> None:
        """One ``Label: value`` line. The value keeps its own line breaks."""
        self._add("\n", f"{label}: {_lines(value)}", Role.FIELD, None, column)

    def text(self, value: str, role: Role, column: str, speaker: str | None = None) -> None:
        """A paragraph after a blank line; nothing for an empty one."""
        if text := _lines(value):
            self._add("\n\n", text, role, speaker, column)

    def build(self) -> tuple[str, tuple[Segment, ...]]:
        return "".join(self._parts), tuple(self._segments)

    def _add(self, separator: str, text: str, role: Role, speaker: str | None, column: str) -> None:
        if self._parts:
            self._parts.append(separator)
            self._length += len(separator)
        start, self._length = self._length, self._length + len(text)
        self._parts.append(text)
        self._segments.append(Segment(start, self._length, role, speaker, column))


@dataclass(frozen=True, slots=True)
class Line:
    """A column that is rendered: its place in the row, its label, and whether it is a check box."""

    place: int
    column: str
    label: str
    when_true: bool = False
    custom: bool = False


def plan_lines(columns: Sequence[str], layout: Layout, custom: Mapping[str, str]) -> list[Line]:
    """Which columns of a table are rendered, in order: the layout's, its check boxes, then the company's own.

    columns: the header, and joined columns behind it; custom: lower-case column -> label of the company's own columns.
    """
    places = index_of(columns)
    lines = [Line(places[c], columns[places[c]], label) for c, label in layout.labels.items() if c in places]
    lines += [Line(places[c], columns[places[c]], label, True) for c, label in layout.when_true.items() if c in places]
    known = {*layout.labels, *layout.when_true, *layout.texts}
    if layout.custom:
        for column, label in custom.items():
            if column not in known and column in places and is_meaningful(label):
                lines.append(Line(places[column], columns[places[column]], label, custom=True))
    return lines


def filled(lines: Sequence[Line], cells: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(label, value, column) of the planned lines that say something in this row; each label once."""
    said: set[str] = set()
    for line in lines:
        value = cells[line.place].strip()
        if not value or line.label in said:
            continue
        if line.when_true:
            if value.lower() not in TRUE:
                continue
            value = "yes"
        elif line.custom and value.lower() in UNCHECKED:
            continue
        elif line.custom and value.lower() == "true":
            value = "yes"
        elif not says_something(value, line.label):
            continue
        said.add(line.label)
        yield line.label, value, line.column


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
    return bool(lowered) and not NEVER.search(lowered) and not NOISE.search(lowered)


def says_something(value: str, label: str = "") -> bool:
    """False for a value that is empty, an id, a link, a blob, an address or number that only identifies."""
    if value.lower() in BLANKS or _LINK.match(value) or _BLOB.match(value) or _UUID.match(value):
        return False
    if _SALESFORCE_ID.match(value) and any(char.isdigit() for char in value[:3]):
        return False
    if _SSN.match(value) or _IBAN.match(value.replace(" ", "")) or _is_card(value) or _ADDRESS.fullmatch(value):
        return False
    return not (_PHONE.match(value) and _PHONE_LABEL.search(label.lower()))


def email_addresses(*cells: str) -> tuple[Identifier, ...]:
    """The addresses in the cells, lower case, each once, in order."""
    found = (address.lower() for cell in cells if "@" in cell for address in _ADDRESS.findall(cell))
    return tuple(Identifier("email", address) for address in dict.fromkeys(found))


def certain_phone(cell: str, region: str) -> Identifier | None:
    """A personal number as E.164, or None unless it is certain: valid, its country known, and no extension.

    region: ISO country code, or "": then only numbers with a leading ``+`` are certain.
    """
    if not cell or not (cell.lstrip("( ").startswith("+") or region):
        return None
    try:
        number = phonenumbers.parse(cell, region or None)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return Identifier("phone", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def clean_name(*parts: str) -> str | None:
    """Parts joined by one space, without direction marks; None when nothing is left."""
    return " ".join(_BIDI.sub("", " ".join(parts)).split()) or None


def read_moment(cell: str, now: datetime, zone: tzinfo = UTC) -> tuple[datetime | None, str | None]:
    """(moment in UTC, None), or (None, why not); (None, None) for an empty cell.

    A day without a time is taken as noon UTC: the same calendar day in nearly every zone. ``zone`` is that of naive
    times. Digits alone are milliseconds since 1970. Refused: 1970 and before, which is an unset clock, and the future.
    """
    text = cell.strip()
    if not text:
        return None, None
    try:
        moment = _parsed(text, zone)
    except (ValueError, OverflowError, OSError):
        return None, "unreadable"
    if moment.year <= 1970:
        return None, "1970_or_before"
    if moment > now + FUTURE_SLACK:
        return None, "in_the_future"
    return moment, None


def _parsed(text: str, zone: tzinfo) -> datetime:
    if text.isascii() and text.isdigit():
        if len(text) < 12:
            raise ValueError("not milliseconds")
        return datetime.fromtimestamp(int(text) / 1000, UTC)
    moment = datetime.fromisoformat(_ONE_DIGIT_HOUR.sub(r"\1 0\2", text))
    if len(text) == 10:
        return moment.replace(hour=12, tzinfo=UTC)
    return utc(moment if moment.tzinfo else moment.replace(tzinfo=zone))


def _lines(value: str) -> str:
    return value.strip().replace("\r\n", "\n").replace("\r", "\n")


def _is_card(value: str) -> bool:
    """A card number: 13 to 19 digits with the Luhn check digit (ISO/IEC 7812)."""
    if not _CARD.match(value):
        return False
    digits = [int(char) for char in value if char.isdigit()][::-1]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0
