"""Reads Telegram Desktop's ``result.json``: one chat, or the whole account with ``chats.list``; also in a zip.

``from_id`` is the person (``user123``); files of old versions have a number, some have only names, which then hold
within the chat. ``date_unixtime`` goes before ``date``, which is local time without a zone.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar
from zoneinfo import ZoneInfo

from msgspec import UNSET, Struct, UnsetType

from ingest_pipeline.documents import Identifier, Item, Json, Person, Rejected, Role, Source
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import one_line, sanitized
from ingest_pipeline.sources.chat_files import Part, id_text, looks_like, problem_of, read_json_parts, turns_of
from ingest_pipeline.sources.conversation import (
    FUTURE_SLACK,
    Conversation,
    Turn,
    conversation_records,
    from_iso,
    from_unix,
)
from ingest_pipeline.sources.json_stream import Broken, JsonCursor

_LIKELY = re.compile(r"result\.json$")
_ONE_CHAT = re.compile(r'\A\s*\{[\s\S]*"(?:from_id|date_unixtime|text_entities)"\s*:')
_ACCOUNT = re.compile(
    r'\A\s*\{\s*"about"\s*:\s*"Here is the data you requested|\A\s*\{[\s\S]*"chats"\s*:\s*\{\s*"(?:about|list)"'
)
# Numbers of old versions say in their higher bits what they stand for.
_FIRST_NO_USER = 1 << 32


class _Entity(Struct, gc=False):
    type: str = ""
    text: str = ""


class _Reaction(Struct, gc=False):
    count: int = 1


class _Message(Struct, gc=False, rename={"sender": "from"}):
    SPARE: ClassVar = ("reactions",)

    id: int | str = ""
    type: str = "message"
    date: str | None = None
    date_unixtime: str | int | None = None
    sender: str | None = None
    from_id: str | int | None = None
    text: str | list[str | _Entity] = ""
    reply_to_message_id: int | str | None = None
    forwarded_from: str | UnsetType | None = UNSET
    via_bot: str | None = None
    photo: str | None = None
    file: str | None = None
    media_type: str | None = None
    reactions: list[_Reaction] | None = None


@dataclass(slots=True)
class _Chat:
    """A chat as its first keys describe it, and the people seen in it."""

    part: Part
    options: ReadOptions
    skipped: Counter[str]
    where: str = "message"
    id: str = ""
    name: str = ""
    kind: str = ""
    speakers: dict[tuple[str | int | None, str | None], tuple[str, str, Role] | str] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.id or f"{self.part.stem}/{self.name}".rstrip("/")

    def turns(self, messages: Iterator[_Message | Broken], zone: ZoneInfo) -> Iterator[Turn | Rejected]:
        return turns_of(self.part, self.where, messages, partial(self._turn, zone), self.skipped)

    def _turn(self, zone: ZoneInfo, message: _Message, number: int) -> Turn | str:
        if message.type != "message":
            return "service"
        if message.forwarded_from is not UNSET:
            return "forwarded"
        who = (message.from_id, message.sender)
        speaker = self.speakers.get(who) or self._new_speaker(*who)
        if isinstance(speaker, str):
            return speaker
        if message.via_bot:
            return "bot_message"
        text = sanitized(message.text if isinstance(message.text, str) else _joined(message.text)).strip()
        if not text:
            return "media" if message.photo or message.file or message.media_type else "empty"
        if message.reactions:
            self.skipped["reaction"] += sum(reaction.count for reaction in message.reactions)
        moment = from_unix(message.date_unixtime) or from_iso(message.date, zone)
        thread = _id(message.reply_to_message_id) if message.reply_to_message_id is not None else ""
        native_id = _id(message.id) or _id(f"{message.date_unixtime or message.date}/{number}")
        return Turn(speaker[0], speaker[1], text, native_id, moment, speaker[2], number, thread)

    def _new_speaker(self, from_id: str | int | None, written: str | None) -> tuple[str, str, Role] | str:
        """Key, shown name and role of an author, or why they are none."""
        who = (from_id, written)
        name = one_line(sanitized(written or ""))
        author = sanitized(id_text(from_id))
        if isinstance(from_id, int) or author.isdigit():
            author = f"user{author}" if int(author) < _FIRST_NO_USER else f"channel{author}"
        if author and not author.startswith("user"):
            self.speakers[who] = "channel_post"
        elif self.kind == "bot_chat" and author == f"user{self.id}":
            self.speakers[who] = "bot_message"
        elif not author and not name:
            self.speakers[who] = "no_author"
        else:
            key = Identifier("telegram", author or f"{self.key}/{name}")
            self.people[key.value] = Person(key, "telegram" if author else f"telegram:{self.key}", name or None)
            staff = self.options.is_staff(name, author)
            self.speakers[who] = (key.value, name or author, Role.STAFF if staff else Role.OTHER)
        return self.speakers[who]


def _id(value: int | str) -> str:
    return str(value) if isinstance(value, int) else sanitized(value)


def _joined(text: list[str | _Entity]) -> str:
    parts = [
        part if isinstance(part, str) else part.text if part.type != "blockquote" else _quoted(part.text)
        for part in text
    ]
    return "".join(parts)


def _quoted(text: str) -> str:
    return "\n" + "\n".join("> " + line for line in text.strip("\n").split("\n")) + "\n"


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    return read_json_parts(export, options, _is_telegram, _part_items)


def _part_items(part: Part, options: ReadOptions, skipped: Counter[str]) -> Iterator[Item]:
    with part.opener() as stream:
        cursor = JsonCursor(stream)
        chat = _Chat(part, options, skipped, part.at("message"))
        for key in cursor.members():
            if key in ("chats", "left_chats"):
                for inner in cursor.members():
                    for number in cursor.entries() if inner == "list" else ():
                        one = _Chat(part, options, skipped, part.at(f"{key} {number}, message"))
                        for member in cursor.members():
                            yield from _member(one, member, cursor)
            else:
                yield from _member(chat, key, cursor)
        yield from problem_of(cursor, part)


def _member(chat: _Chat, key: str, cursor: JsonCursor) -> Iterator[Item]:
    """Takes one member of a chat's object: what describes it, or its messages."""
    if key in ("id", "name", "type"):
        value = sanitized(id_text(cursor.value()))
        chat.id = value if key == "id" else chat.id
        chat.name = one_line(value) if key == "name" else chat.name
        chat.kind = value if key == "type" else chat.kind
    elif key == "messages":
        yield from _messages(chat, cursor)


def _messages(chat: _Chat, cursor: JsonCursor) -> Iterator[Item]:
    zone = ZoneInfo(chat.options.timezone)
    messages = cursor.elements(_Message)
    first = next(messages, None)
    if first is None:
        return
    unix = isinstance(first, _Message) and first.date_unixtime is not None
    metadata: dict[str, Json] = {"chat": chat.name, "chat_id": chat.id, "chat_kind": chat.kind}
    conversation = Conversation(
        origin="telegram",
        id=chat.key,
        file=chat.part.file.name,
        zone=zone,
        time_zone="UTC (Unix time)" if unix else f"{chat.options.timezone} (setting)",
        where=chat.where,
        metadata={key: value for key, value in metadata.items() if value},
    )

    def all_messages() -> Iterator[_Message | Broken]:
        yield first
        yield from messages

    turns = chat.turns(all_messages(), zone)
    yield from conversation_records(
        conversation, turns, chat.people.__getitem__, chat.skipped, datetime.now(UTC) + FUTURE_SLACK
    )


def _is_telegram(head: str) -> bool:
    return bool(_ACCOUNT.search(head) or ('"messages"' in head and _ONE_CHAT.search(head)))


def _detect(file: SourceFile, head: bytes) -> bool:
    return looks_like(file, head, ".json", _LIKELY, _is_telegram)


READER = Reader(format="telegram", source=Source.CHAT, detect=_detect, read=_read)
