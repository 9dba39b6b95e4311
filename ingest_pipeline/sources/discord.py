"""Reads DiscordChatExporter's JSON: ``guild``, ``channel`` and ``messages`` of one channel; also several in a zip.

A person is ``author.id``. ``messageCount`` is not looked at: it can be wrong.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from ingest_pipeline.documents import Identifier, Item, Person, Rejected, Role, Source
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import one_line, sanitized
from ingest_pipeline.sources.chat_files import Part, looks_like, problem_of, read_json_parts, turns_of
from ingest_pipeline.sources.conversation import FUTURE_SLACK, Conversation, Turn, conversation_records, from_iso
from ingest_pipeline.sources.json_stream import Broken, JsonCursor

_LIKELY = re.compile(r"\[\d+\]|\.json$")
_FORMAT = re.compile(r'\A\s*\{\s*"guild"\s*:\s*\{[\s\S]*"channel"\s*:\s*\{')
_HUMAN = frozenset(("Default", "Reply"))
_USER = re.compile(r"<@!?(\d{5,25})>")
_EMOJI = re.compile(r"<a?(:\w{1,40}:)\d{5,25}>")


class _Named(Struct, gc=False):
    id: str = ""
    name: str | None = None
    type: str | None = None


class _User(Struct, gc=False):
    id: str = ""
    name: str | None = None
    nickname: str | None = None
    is_bot: bool = msgspec.field(default=False, name="isBot")


class _Reaction(Struct, gc=False):
    count: int = 1


class _Reference(Struct, gc=False):
    message_id: str | None = msgspec.field(default=None, name="messageId")


class _Attachment(Struct, gc=False):
    """Only that there is one."""


class _Message(Struct, gc=False):
    SPARE: ClassVar = ("attachments", "mentions", "reactions", "reference")

    id: str
    author: _User
    type: str = "Default"
    timestamp: str | None = None
    content: str | None = None
    mentions: list[_User] = []
    attachments: list[_Attachment] = []
    reactions: list[_Reaction] = []
    reference: _Reference | None = None


@dataclass(slots=True)
class _Channel:
    """The channel while it is read, and the people seen in it."""

    part: Part
    options: ReadOptions
    skipped: Counter[str]
    guild: _Named = field(default_factory=_Named)
    channel: _Named = field(default_factory=_Named)
    speakers: dict[str, tuple[str, Role]] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)

    def conversation(self, zone: ZoneInfo) -> Conversation:
        described = {
            "guild": self.guild.name,
            "guild_id": self.guild.id,
            "channel": self.channel.name,
            "channel_id": self.channel.id,
            "channel_kind": self.channel.type,
        }
        return Conversation(
            origin="discord",
            id=sanitized(self.channel.id) or self.part.stem,
            file=self.part.file.name,
            zone=zone,
            time_zone="as in the file",
            where=self.part.at("message"),
            metadata={key: one_line(sanitized(value)) for key, value in described.items() if value},
        )

    def turns(self, messages: Iterator[_Message | Broken], zone: ZoneInfo) -> Iterator[Turn | Rejected]:
        where = self.part.at("message")
        return turns_of(self.part, where, messages, partial(self._turn, zone), self.skipped)

    def _turn(self, zone: ZoneInfo, message: _Message, number: int) -> Turn | str:
        if message.type not in _HUMAN:
            return "system_message"
        author = message.author
        if author.is_bot:
            return "bot_message"
        author_id, native_id = sanitized(author.id), sanitized(message.id)
        if not author_id:
            return "no_author"
        text = _text(message)
        if not text:
            return "media" if message.attachments else "empty"
        for reaction in message.reactions:
            self.skipped["reaction"] += reaction.count
        name, role = self.speakers.get(author_id) or self._new_speaker(author_id, author)
        thread = sanitized(message.reference.message_id or "") if message.reference else ""
        moment = from_iso(message.timestamp, zone)
        return Turn(author_id, name, text, native_id, moment, role, number, thread)

    def _new_speaker(self, author_id: str, author: _User) -> tuple[str, Role]:
        name = one_line(sanitized(author.nickname or author.name or ""))
        staff = self.options.is_staff(author_id, name, author.name or "")
        self.people[author_id] = Person(Identifier("discord", author_id), "discord", name or None)
        self.speakers[author_id] = (name or author_id, Role.STAFF if staff else Role.OTHER)
        return self.speakers[author_id]


def _text(message: _Message) -> str:
    text = sanitized(message.content or "").strip()
    if "<" in text:
        names = {user.id: user.nickname or user.name or user.id for user in message.mentions}
        text = _USER.sub(lambda match: "@" + one_line(sanitized(names.get(match[1], match[1]))), text)
        text = _EMOJI.sub(r"\1", text)
    return text


def _part_items(part: Part, options: ReadOptions, skipped: Counter[str]) -> Iterator[Item]:
    zone = ZoneInfo(options.timezone)
    with part.opener() as stream:
        cursor = JsonCursor(stream)
        channel = _Channel(part, options, skipped)
        for key in cursor.members():
            if key in ("guild", "channel"):
                named = cursor.struct(_Named)
                if isinstance(named, _Named):
                    setattr(channel, key, named)
            elif key == "messages":
                turns = channel.turns(cursor.elements(_Message), zone)
                people, latest = channel.people.__getitem__, datetime.now(UTC) + FUTURE_SLACK
                yield from conversation_records(channel.conversation(zone), turns, people, skipped, latest)
        yield from problem_of(cursor, part)


def _is_discord(head: str) -> bool:
    return bool(_FORMAT.search(head))


def _detect(file: SourceFile, head: bytes) -> bool:
    return looks_like(file, head, ".json", _LIKELY, _is_discord)


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    return read_json_parts(export, options, _is_discord, _part_items)


READER = Reader(format="discord", source=Source.CHAT, detect=_detect, read=_read)
