"""Reads the messages of Facebook and Instagram exports (JSON): ``message_1.json`` of each thread, loose or in the zip.

The texts are UTF-8 that was read as Latin-1 and written again; messages stand newest first. There are no ids of people:
a person is a name within one thread. Chats from Messenger's secure storage have other keys and whole texts.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from ingest_pipeline.documents import Identifier, Item, Json, Person, Rejected, Role, Source
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import one_line, sanitized
from ingest_pipeline.sources.chat_files import Part, looks_like, problem_of, read_json_parts, turns_of
from ingest_pipeline.sources.conversation import FUTURE_SLACK, Conversation, Turn, conversation_records, from_unix
from ingest_pipeline.sources.json_stream import Broken, JsonCursor, NotJson, parse_json

_LIKELY = re.compile(r"message_\d+\.json$")
_FORMAT = re.compile(
    r'"sender_name"\s*:[\s\S]*"timestamp_ms"\s*:|"timestamp_ms"\s*:[\s\S]*"sender_name"\s*:'
    r'|"threadName"\s*:[\s\S]*"senderName"\s*:'
)
_THREAD = re.compile(rb'(?<!\\)"(?:thread_path|threadName)"\s*:\s*"((?:[^"\\]|\\.){1,300})"')
_THREAD_KEYS = (b'"thread_path"', b'"threadName"')
_BLOCK = 1 << 20
_CALLS_AND_JOINS = frozenset(("Call", "Subscribe", "Unsubscribe"))
_REACTION = re.compile(
    r"Reacted .{1,20} to your message ?|Liked a message|(?:You|.{1,80}) liked a message", re.IGNORECASE
)
# What Messenger writes itself, after "You" or the sender's name.
_EVENT = re.compile(
    r"(?:sent|shared) (?:an? |\d+ )?(?:attachments?|photos?|videos?|GIFs?|stickers?|voice messages?|links?|locations?|"
    r"live location|story|post|reel)|missed (?:a|your) (?:video |audio )?(?:call|chat)(?: from .{1,80})?|"
    r"called .{1,80}|(?:started|joined|ended) (?:a|an|the) (?:video |audio )?(?:call|chat)|left the group|"
    r"(?:named|created|renamed) the group.{0,200}|(?:set|changed|cleared|removed|turned) .{0,200}"
    r"(?:nickname|emoji|theme|photo|quick reaction|disappearing messages).{0,200}|"
    r"(?:added|removed) .{1,200} (?:to|from) the group|unsent a message|waved at .{1,80}|is now .{1,80} an? admin"
)


class _Reaction(Struct, gc=False):
    """Only that there is one."""


class _Message(Struct, gc=False):
    SPARE: ClassVar = ("reactions",)

    sender_name: str | None = None
    timestamp_ms: int | float | None = None
    content: str | None = None
    type: str | None = None
    is_unsent: bool | None = None
    reactions: list[_Reaction] | None = None
    # Secure storage
    e2e_sender: str | None = msgspec.field(default=None, name="senderName")
    e2e_time: int | float | None = msgspec.field(default=None, name="timestamp")
    e2e_text: str | None = msgspec.field(default=None, name="text")
    e2e_unsent: bool | None = msgspec.field(default=None, name="isUnsent")


@dataclass(slots=True)
class _Thread:
    """One thread while it is read, and the people seen in it."""

    part: Part
    origin: str
    id: str
    options: ReadOptions
    skipped: Counter[str]
    speakers: dict[str, tuple[str, str, Role]] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    last: tuple[float | None, int] = (None, 0)

    def turns(self, messages: Iterator[_Message | Broken]) -> Iterator[Turn | Rejected]:
        return turns_of(self.part, self.part.at("message"), messages, self._turn, self.skipped)

    def _turn(self, message: _Message, number: int) -> Turn | str:
        if message.is_unsent or message.e2e_unsent:
            return "deleted"
        if message.type in _CALLS_AND_JOINS:
            return "system_message"
        if message.sender_name is not None:
            written, time = message.sender_name, message.timestamp_ms
            text = message.content or ""
            # Most texts are plain, and these two look at every one of them for what is not.
            text = (text if text.isascii() and "\x00" not in text and "\r" not in text else _repaired(text)).strip()
        else:
            written, time = message.e2e_sender or "", message.e2e_time
            text = sanitized(message.e2e_text or "").strip()
        if not text:
            return "media"
        if not written:
            return "no_author"
        speaker = self.speakers.get(written) or self._new_speaker(written, whole=message.sender_name is None)
        if len(text) < 300 and (reason := _app_text(text, speaker[1])):
            return reason
        if message.reactions:
            self.skipped["reaction"] += len(message.reactions)
        moment = from_unix(time, per_second=1_000)
        return Turn(speaker[0], speaker[1], text, self._native_id(time), moment, speaker[2], number)

    def _native_id(self, time: float | None) -> str:
        count = self.last[1] + 1 if self.last[0] == time else 1
        self.last = (time, count)
        return f"{time}" if count == 1 else f"{time}#{count}"

    def _new_speaker(self, written: str, *, whole: bool) -> tuple[str, str, Role]:
        name = one_line(sanitized(written if whole else repaired(written)))
        key = Identifier(self.origin, f"{self.id}/{name}")
        self.people[key.value] = Person(key, f"{self.origin}:{self.id}", name)
        self.speakers[written] = (key.value, name, Role.STAFF if self.options.is_staff(name) else Role.OTHER)
        return self.speakers[written]


def repaired(text: str) -> str:
    """The text whose UTF-8 was taken for Latin-1; any other text as it is."""
    if text.isascii():
        return text
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _repaired(text: str) -> str:
    return sanitized(repaired(text))


def _app_text(text: str, sender: str) -> str:
    if text[-1] in "eE" and text[-7:].lower() == "message" and _REACTION.fullmatch(text):
        return "reaction"
    if text.startswith(("You ", sender)):
        for author in ("You ", f"{sender} "):
            if text.startswith(author) and _EVENT.fullmatch(text[len(author) :].rstrip(". ")):
                return "system_message"
    return ""


def _thread_id(part: Part) -> str:
    """The thread's own name, which stands below the messages; the file's when there is none."""
    rest = b""
    with part.opener() as stream:
        while block := stream.read(_BLOCK):
            block = rest + block
            for key in _THREAD_KEYS:
                match = _THREAD.search(block, max(0, block.rfind(key) - 1)) if key in block else None
                if match is not None:
                    return _thread_name(match[1]) or part.stem
            rest = block[-400:]
    return part.stem


def _thread_name(written: bytes) -> str:
    try:
        name = parse_json(b'"' + written + b'"')
    except NotJson:
        return ""
    return one_line(sanitized(repaired(name))).rpartition("/")[2]


def _part_items(part: Part, options: ReadOptions, skipped: Counter[str]) -> Iterator[Item]:
    origin = "instagram" if "instagram" in f"{part.file.name}/{part.member}".lower() else "facebook"
    thread = _Thread(part, origin, _thread_id(part), options, skipped)
    metadata: dict[str, Json] = {"thread": thread.id}
    conversation = Conversation(
        origin=origin,
        id=thread.id,
        file=part.file.name,
        zone=ZoneInfo(options.timezone),
        time_zone="UTC (Unix time)",
        where=part.at("message"),
        metadata=metadata,
    )
    with part.opener() as stream:
        cursor = JsonCursor(stream)
        for key in cursor.members():
            if key == "messages":
                turns, people = thread.turns(cursor.elements(_Message)), thread.people.__getitem__
                yield from conversation_records(conversation, turns, people, skipped, datetime.now(UTC) + FUTURE_SLACK)
        yield from problem_of(cursor, part)


def _is_facebook(head: str) -> bool:
    return '"messages"' in head and bool(_FORMAT.search(head))


def _detect(file: SourceFile, head: bytes) -> bool:
    return looks_like(file, head, ".json", _LIKELY, _is_facebook)


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    return read_json_parts(export, options, _is_facebook, _part_items)


READER = Reader(format="facebook", source=Source.CHAT, detect=_detect, read=_read)
