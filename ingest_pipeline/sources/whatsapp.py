"""Reads WhatsApp chats: the exported text file, or the zip with the media that were exported with it.

Shape: see ``whatsapp_headers``; lines without a header go on with the message above. The file names no zone (the
setting does) and no ids: a person is a phone number, or else a name in this one file.
"""

import codecs
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO
from zoneinfo import ZoneInfo

from ingest_pipeline.documents import Identifier, Item, Person, Rejected, Role, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import HEAD_BYTES, Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import one_line, sanitized
from ingest_pipeline.sources.chat_files import Part, counted, guarded, looks_like, open_parts, part_head
from ingest_pipeline.sources.conversation import FUTURE_SLACK, Conversation, Turn, conversation_records
from ingest_pipeline.sources.phones import certain_phone
from ingest_pipeline.sources.whatsapp_headers import DateOrder, decide_order, header_pattern, read_time
from ingest_pipeline.sources.whatsapp_text import EXPORTER, own_words, split_name

CHUNK_CHARS = 1 << 18
MAX_MESSAGE_CHARS = 1_000_000
"""WhatsApp sends 65,536 at most."""

_LIKELY = re.compile(r"chat", re.IGNORECASE)
_NUMBER = re.compile(r"\+?[\d ().\-]{6,25}")
_MAX_TIMES = 100_000


class _Lines:
    """The messages of one file, with the number of the line where each begins."""

    def __init__(self, stream: BinaryIO, pattern: re.Pattern[str], charset: str) -> None:
        self._text = io.TextIOWrapper(stream, charset, "replace", newline=None)
        self._pattern = pattern

    def __iter__(self) -> Iterator[tuple[int, re.Match[str] | None, str]]:
        """``(line, header, what follows it)``; no header for text above the first one or too long to be a message."""
        buffer, line = "", 1
        while True:
            chunk = self._text.read(CHUNK_CHARS)
            buffer += chunk
            headers = list(self._pattern.finditer(buffer))
            start = headers[0].start() if headers else 0 if chunk else len(buffer)
            if start or not (headers or chunk):
                if buffer[:start].strip():
                    yield line, None, ""
                line += buffer.count("\n", 0, start)
            whole = headers if not chunk else headers[:-1]
            for header, after in zip(whole, [*headers[1:], None], strict=False):
                end = after.start() if after is not None else len(buffer)
                yield line, header, buffer[header.end() : end]
                line += buffer.count("\n", header.start(), end)
            if not chunk:
                return
            buffer = buffer[headers[-1].start() if headers else start :]
            if len(buffer) > MAX_MESSAGE_CHARS:
                yield line, None, ""
                line += buffer.count("\n")
                buffer = ""


class _Chat:
    """One chat while it is read: who its names are, and the turns that its messages make."""

    def __init__(self, part: Part, key: str, options: ReadOptions, skipped: Counter[str]) -> None:
        self._part = part
        self._key = key
        self._options = options
        self._skipped = skipped
        self._zone = ZoneInfo(options.timezone)
        self._speakers: dict[str, tuple[str, str, Role]] = {}
        self._people: dict[str, Person] = {}
        self._times: Counter[str] = Counter()

    def person(self, speaker: str) -> Person:
        return self._people[speaker]

    def turns(self, lines: _Lines, order: str) -> Iterator[Turn | Rejected]:
        for line, header, rest in lines:
            if header is None:
                yield self._rejected(line, "no date that begins a message, or a message that is too long")
                continue
            named = split_name(rest)
            text, reason = own_words(sanitized(named[1])) if named else ("", "system_line")
            if reason or named is None:
                self._skipped[reason] += 1
                continue
            try:
                moment = read_time(header, order, self._zone)
            except ValueError as error:
                yield self._rejected(line, str(error))
                continue
            speaker, name, role = self._speakers.get(named[0]) or self._new_speaker(named[0])
            yield Turn(speaker, name, text, self._native_id(moment), moment.astimezone(UTC), role, line)

    def _rejected(self, line: int, reason: str) -> Rejected:
        return Rejected(self._part.file.name, self._part.at(f"line {line}"), reason)

    def _native_id(self, moment: datetime) -> str:
        """The time as written, and which of that time's messages it is: nothing else tells them apart for good."""
        if len(self._times) > _MAX_TIMES:
            for old in list(self._times)[: _MAX_TIMES // 2]:
                del self._times[old]
        written = moment.isoformat()[:19]
        number = self._times[written] = self._times[written] + 1
        return written if number == 1 else f"{written}#{number}"

    def _new_speaker(self, written: str) -> tuple[str, str, Role]:
        """``~ Name`` is what somebody who is not in the exporter's address book calls themselves.

        Who exported the chat may have no name in it, only "You": the settings may say that this is one of the staff;
        they are nobody's person in any case, as everybody's "You" would be the same.
        """
        label = one_line(written)
        name = label.lstrip("~ ") or label or "?"
        composed = unicodedata.normalize("NFC", label)
        if composed in EXPORTER:
            self._speakers[written] = ("", name, Role.STAFF if self._options.is_staff(name) else Role.OTHER)
            return self._speakers[written]
        phone = certain_phone(name, self._options.phone_region) if _NUMBER.fullmatch(name) else None
        key = phone or Identifier("whatsapp", f"{self._key}/{composed}")
        speaker = str(key)
        self._people[speaker] = Person(key, "whatsapp") if phone else Person(key, f"whatsapp:{self._key}", name)
        staff = self._options.is_staff(name, key.value)
        self._speakers[written] = (speaker, name, Role.STAFF if staff else Role.OTHER)
        return self._speakers[written]


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    for file in export.files:
        skipped: Counter[str] = Counter()
        with open_parts(file, ".txt", options) as parts:
            chats = [part for part in parts if not part.member or _pattern(part_head(part))]
            if not chats:
                raise UnreadableFile(f"{file.name}: no text file in this zip begins with a WhatsApp date")
            for part in chats:
                # A chat is the same one with media (zip) and without (text).
                key = part.stem if len(chats) > 1 else re.sub(r"\.(zip|txt)\Z", "", file.name, flags=re.IGNORECASE)
                yield from guarded(part, _chat_items(part, key, options, skipped))
        yield from counted(file, skipped)


def _chat_items(part: Part, key: str, options: ReadOptions, skipped: Counter[str]) -> Iterator[Item]:
    pattern = _pattern(part_head(part))
    if pattern is None:
        raise UnreadableFile(f"{part.file.name}: the first line does not begin with a date as WhatsApp writes it")
    charset = _charset(part)
    with part.opener() as stream:
        lines = _Lines(stream, pattern, charset)  # named: dropped while the stream is open, it would warn
        headers = (header for _, header, _ in lines if header is not None)
        order = decide_order(((header["a"], header["b"], header["c"]) for header in headers), options.date_order)
    if order is None:
        raise UnreadableFile(
            f"{part.file.name}: its dates read as day/month and as month/day alike; say which it is: "
            "date_order: dmy (or mdy) in chat/_source.yaml of the inbox, or in a _source.yaml beside files elsewhere"
        )
    chat = _Chat(part, key, options, skipped)
    with part.opener() as stream:
        lines = _Lines(stream, pattern, charset)
        turns = chat.turns(lines, order.order)
        conversation = _conversation(part, key, options, order, charset)
        yield from conversation_records(conversation, turns, chat.person, skipped, datetime.now(UTC) + FUTURE_SLACK)


def _conversation(part: Part, key: str, options: ReadOptions, order: DateOrder, charset: str) -> Conversation:
    return Conversation(
        origin="whatsapp",
        id=key,
        file=part.file.name,
        zone=ZoneInfo(options.timezone),
        time_zone=f"{options.timezone} (setting)",
        where=part.at("line"),
        metadata={
            "chat": key.rpartition("/")[2],
            "date_order": order.order,
            "date_order_decided_by": order.decided_by,
            **({"charset": charset} if charset != "utf-8-sig" else {}),
        },
    )


def _pattern(head: str) -> re.Pattern[str] | None:
    return header_pattern(head.lstrip("\ufeff \t\r\n").partition("\n")[0])


def _charset(part: Part) -> str:
    with part.opener() as stream:
        head = stream.read(HEAD_BYTES)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252"  # saved anew by an editor
    return "utf-8-sig"


def _detect(file: SourceFile, head: bytes) -> bool:
    return looks_like(file, head, ".txt", _LIKELY, lambda text: _pattern(text) is not None)


READER = Reader(format="whatsapp", source=Source.CHAT, detect=_detect, read=_read)
