"""Reads JSON Lines, for everything that has no reader of its own; in any folder of the inbox.

One object per line: ``{"profile": …, "text": …, "occurred_at"?: …, "source"?: …, "metadata"?: {…}}``. ``profile`` is an
e-mail address, a phone number, an identifier as other readers write them (``slack:T1/U1``), or any other key: the
profile's external or internal id, else a key of its own. ``source`` and ``metadata`` are kept as they are.
"""

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, Any, BinaryIO
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ingest_pipeline.documents import Identifier, Item, Json, Person, Record, Rejected, Role, Segment, Source, stable_id
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import sanitized
from ingest_pipeline.sources.chat_files import counted, head_text, id_text
from ingest_pipeline.sources.conversation import FUTURE_SLACK, from_iso, from_unix, plausible
from ingest_pipeline.sources.json_stream import Broken, NotJson, converted, parse_json
from ingest_pipeline.sources.phones import certain_phone

MAX_METADATA_DEPTH = 20
MAX_PROFILE_CHARS = 255
LINES_LOOKED_AT = 20

_EMAIL = re.compile(r"[^@\s:;,<>\"]+@[^@\s;,<>\"]+\.[^@\s;,<>\".]{2,}")
_NUMBER = re.compile(r"\+?[\d ().\-]{6,25}")
_NATIVE = re.compile(
    r"(salesforce|hubspot|zendesk|intercom|pipedrive|slack|whatsapp|telegram|discord|msteams|facebook|instagram|"
    r"chatgpt|claude|external):(\S.*)"
)
_LONG_LINE = re.compile(r'\s*\{\s*"(?:profile|text|occurred_at|source|metadata)"\s*:.*"(?:profile|text)"\s*:')
_NO_ZONE = re.compile(r"[^Zz+-]*")
_MAX_PEOPLE = 100_000
_AS_THEY_ARE = frozenset((int, bool, type(None)))
_MILLISECONDS_FROM = 100_000_000_000


class _Line(Struct, gc=False):
    profile: str | int
    text: str | UnsetType | None = UNSET
    occurred_at: Json = None
    source: str | None = None
    metadata: dict[str, Json] | None = None


_LINE_DECODER = msgspec.json.Decoder(_Line)


class _People:
    """Who the ``profile`` of a line is, and whether they are staff."""

    def __init__(self, options: ReadOptions) -> None:
        self._options = options
        self._known: dict[str | int, tuple[Person | None, bool]] = {}

    def of(self, profile: str | int) -> tuple[Person | None, bool]:
        """None when nobody can be meant."""
        known = self._known.get(profile)
        if known is None:
            if len(self._known) >= _MAX_PEOPLE:
                self._known.clear()
            known = self._known[profile] = self._described(sanitized(id_text(profile)))
        return known

    def _described(self, profile: str) -> tuple[Person | None, bool]:
        if not 0 < len(profile) <= MAX_PROFILE_CHARS:
            return None, False
        person = described(profile, self._options.phone_region)
        key = person.key
        if key.kind == "email":
            return person, self._options.is_internal(key.value)
        return person, self._options.is_staff(key.value, profile)


def described(profile: str, region: str) -> Person:
    """Who is meant. Native ids of other systems only refer: they find the profile that those systems' files create."""
    if _EMAIL.fullmatch(profile):
        return Person(Identifier("email", profile.lower()), "email")
    phone = certain_phone(profile, region) if _NUMBER.fullmatch(profile) else None
    if phone is not None:
        return Person(phone, "phone")
    native = _NATIVE.fullmatch(profile)
    if native is not None and native[1] != "external":
        return Person(Identifier(native[1], native[2]), native[1], claims=False)
    return Person(Identifier("external", native[2] if native is not None else profile), "external")


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    zone, latest = ZoneInfo(options.timezone), datetime.now(UTC) + FUTURE_SLACK
    # What a CRM holds is said about the person, a mail or chat by them.
    role = Role.NOTE if export.source is Source.CRM else Role.SUBJECT
    people = _People(options)
    for file in export.files:
        skipped: Counter[str] = Counter()
        with file.opener() as stream:
            for number, raw in enumerate(_lines(stream, options.max_message_bytes), start=1):
                if raw is None:
                    yield Rejected(file.name, f"line {number}", f"longer than {options.max_message_bytes} bytes")
                    continue
                line = _decoded(raw)
                if line is None:
                    continue
                found = line if isinstance(line, Broken) else _record(line, number, file, people, zone, latest, role)
                if isinstance(found, Record):
                    yield found
                elif isinstance(found, Broken):
                    yield Rejected(file.name, f"line {number}", found.reason)
                else:
                    skipped[found] += 1
        yield from counted(file, skipped)


def _lines(stream: BinaryIO, limit: int) -> Iterator[bytes | str | None]:
    """The lines; None for one that is longer than the limit."""
    encoding = json.detect_encoding(stream.read(4))
    stream.seek(0)
    text: IO[Any] = stream
    if encoding.startswith(("utf-16", "utf-32")):
        text = io.TextIOWrapper(stream, encoding, "replace", newline="\n")
    while line := text.readline(limit + 1):
        if len(line) <= limit:
            yield line
            continue
        while len(line) > limit and line[-1:] not in (b"\n", "\n"):
            line = text.readline(limit + 1)
        yield None


def _decoded(raw: bytes | str) -> "_Line | Broken | None":
    """The line's content; None for an empty one."""
    try:
        return _LINE_DECODER.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        pass
    if not raw.strip():
        return None
    try:
        return converted(parse_json(raw), _Line)
    except NotJson as error:
        return Broken(str(error))


def _record(
    line: _Line, number: int, file: SourceFile, people: _People, zone: ZoneInfo, latest: datetime, role: Role
) -> Record | Broken | str:
    """The record, what is wrong with the line, or why it is left out."""
    person, is_staff = people.of(line.profile)
    if person is None:
        return Broken(f"profile must have 1 to {MAX_PROFILE_CHARS} characters")
    if line.text is UNSET:
        return Broken("no text")
    text = sanitized(line.text or "").strip()
    if not text:
        return "empty"
    if is_staff:
        return "internal_sender"
    metadata: dict[str, Json] = {}
    if line.source:
        metadata["source"] = sanitized(line.source)
    if line.metadata:
        try:
            metadata["metadata"] = _storable(line.metadata, MAX_METADATA_DEPTH)
        except RecursionError:
            return Broken(f"metadata is nested more than {MAX_METADATA_DEPTH} deep")
    written = line.occurred_at
    read = None if written is None else _moment(written, zone)
    moment = plausible(read, latest)
    if moment is None and written is not None:
        metadata["date_problem"] = "unreadable" if read is None else "implausible"
    elif isinstance(written, str):
        metadata["time_zone"] = _zone_of(written, zone)
    return Record(
        origin="jsonl",
        kind="text",
        native_id=stable_id("jsonl", str(person.key), text, moment.isoformat() if moment else ""),
        subjects=(person,),
        text=text,
        file=file.name,
        position=f"line {number}",
        segments=(Segment(0, len(text), role, None, None, moment),),
        occurred_at=moment,
        metadata=metadata,
    )


def _moment(value: Json, zone: ZoneInfo) -> datetime | None:
    """ISO 8601, or seconds or milliseconds since 1970."""
    if isinstance(value, str):
        return from_iso(value.strip(), zone)
    milliseconds = isinstance(value, int | float) and value > _MILLISECONDS_FROM
    return from_unix(value, per_second=1_000 if milliseconds else 1)


def _zone_of(written: str, zone: ZoneInfo) -> str:
    has_zone = written.endswith(("Z", "+00:00")) or not _NO_ZONE.fullmatch(written.strip(), 10)
    return "as in the file" if has_zone else f"{zone.key} (setting)"


def _storable(value: Json, depth: int) -> Json:
    """The value as every database takes it: no NUL, half surrogate pair, NaN or endless number.

    Raises RecursionError when it is nested more than ``depth`` deep.
    """
    if isinstance(value, str):
        return sanitized(value)
    if isinstance(value, float):
        return value if -1e308 < value < 1e308 else None
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        raise RecursionError
    if isinstance(value, list):
        return [inner if type(inner) in _AS_THEY_ARE else _storable(inner, depth - 1) for inner in value]
    return {
        sanitized(key): inner if type(inner) in _AS_THEY_ARE else _storable(inner, depth - 1)
        for key, inner in value.items()
    }


def _detect(file: SourceFile, head: bytes) -> bool:
    lines = [line for line in head_text(head).lstrip("\ufeff").split("\n") if line.strip()]
    if len(lines) == 1 and file.size > len(head):
        return _LONG_LINE.match(lines[0]) is not None
    return any(_is_line(line) for line in lines[:LINES_LOOKED_AT])


def _is_line(line: str) -> bool:
    try:
        value = parse_json(line) if '"profile"' in line and '"text"' in line else None
    except NotJson:
        return False
    return isinstance(value, dict) and "profile" in value and "text" in value


READERS = tuple(
    Reader(format="jsonl", source=source, detect=_detect, read=_read)
    for source in (Source.CRM, Source.EMAIL, Source.CHAT)
)
