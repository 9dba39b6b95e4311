"""Reads Teams exports: ``messages_*.json`` of teams and of users' chats, with ``usersList.json``; also in a zip.

Shape: lists of Graph messages with capitalised keys. The file of a user holds all their chats, mixed. Rows without
``From`` are the system's. Authors may be missing from the users list, which alone knows e-mail addresses. What
Microsoft Graph itself answers is read too: keys begin small, lists stand under ``value``, answers perhaps under
``replies`` (https://learn.microsoft.com/graph/api/resources/chatmessage).
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar
from zoneinfo import ZoneInfo

from msgspec import Struct

from ingest_pipeline.documents import Identifier, Item, Json, Person, Record, Rejected, Role, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import one_line, sanitized
from ingest_pipeline.sources.chat_files import (
    Part,
    counted,
    guarded,
    looks_like,
    open_parts,
    part_head,
    problem_of,
    sorted_parts,
)
from ingest_pipeline.sources.conversation import FUTURE_SLACK, Conversation, Days, Turn, from_iso
from ingest_pipeline.sources.html import html_to_text
from ingest_pipeline.sources.json_stream import Broken, JsonCursor, Kind, converted

MAX_OPEN_CHATS = 200
"""Chats of one file that are put together at once; of one that comes back later there are further records."""

_LIKELY = re.compile(r"messages_[\w-]+\.json$|usersList\.json$", re.IGNORECASE)
_LIST = r'\A\s*(?:\[\s*\{|\{(?=[\s\S]*"value"\s*:\s*\[))[\s\S]*'
_MESSAGES = re.compile(
    rf'{_LIST}"(?:MessageType"|messageType"[\s\S]*"createdDateTime"|createdDateTime"[\s\S]*"messageType")\s*:'
)
_USERS = re.compile(rf'{_LIST}"[Uu]serPrincipalName"\s*:')
_SMALL_KEYS = re.compile(r'"(?:messageType|userPrincipalName)"\s*:')
_DEEPEST_USED = 3
_PLAIN_PARAGRAPH = re.compile(r"<p>([^<>&]*)</p>")
_EMOJI = re.compile(r'<emoji\b[^<>]*?\balt="([^"<>]*)"[^<>]*>')


class _Body(Struct, gc=False, rename="pascal"):
    content_type: str | None = None
    content: str | None = None


class _User(Struct, gc=False, rename="pascal"):
    id: str | None = None
    display_name: str | None = None
    tenant_id: str | None = None


class _From(Struct, gc=False, rename={"user": "User"}):
    user: _User | None = None


class _Channel(Struct, gc=False, rename="pascal"):
    team_id: str | None = None
    channel_id: str | None = None


class _Reaction(Struct, gc=False):
    """Only that there is one."""


class _Message(Struct, gc=False, rename={
    "id": "Id", "body": "Body", "created": "CreatedDateTime", "deleted": "DeletedDateTime", "subject": "Subject",
    "reply_to": "ReplyToId", "author": "From", "type": "MessageType", "channel": "ChannelIdentity", "chat": "ChatId",
    "reactions": "Reactions",
}):  # fmt: skip
    SPARE: ClassVar = ("Reactions",)

    id: str
    body: _Body | None = None
    created: str | None = None
    deleted: str | None = None
    subject: str | None = None
    reply_to: str | None = None
    author: _From | None = None
    type: str | None = None
    channel: _Channel | None = None
    chat: str | None = None
    reactions: list[_Reaction] | None = None


class _Listed(Struct, gc=False, rename="pascal"):
    """An entry of the users list."""

    id: str
    mail: str | None = None
    user_principal_name: str | None = None
    display_name: str | None = None


@dataclass(slots=True)
class _Directory:
    """The users list, the people seen, and what was left out."""

    options: ReadOptions
    zone: ZoneInfo
    listed: dict[str, _Listed] = field(default_factory=dict)
    people: dict[str, tuple[Person, str, Role]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    def person(self, user_id: str) -> Person:
        return self.people[user_id][0]

    def described(self, user_id: str, name: str | None = None, tenant: str | None = None) -> tuple[Person, str, Role]:
        if user_id not in self.people:
            listed = self.listed.get(user_id)
            shown = one_line(sanitized((listed.display_name if listed else None) or name or ""))
            email = _email(listed) if listed else ""
            staff = self.options.is_internal(email) if email else self.options.is_staff(user_id, shown)
            person = Person(
                key=Identifier("msteams", user_id),
                namespace=f"msteams:{sanitized(tenant)}" if tenant else "msteams",
                name=shown or None,
                identifiers=(Identifier("email", email),) if email else (),
            )
            self.people[user_id] = (person, shown or user_id, Role.STAFF if staff else Role.OTHER)
        return self.people[user_id]


def _email(listed: _Listed) -> str:
    """The mailbox, or the sign-in name; that of a guest (``…#EXT#@…``) is no address."""
    for address in (listed.mail, listed.user_principal_name):
        cleaned = sanitized(address or "").strip().lower()
        if "@" in cleaned and "#ext#" not in cleaned:
            return cleaned
    return ""


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    for file in export.files:
        directory = _Directory(options, ZoneInfo(options.timezone))
        with open_parts(file, ".json", options) as parts:
            lists, chats = sorted_parts(parts, _USERS, _MESSAGES)
            if not chats and not lists:
                raise UnreadableFile(f"{file.name}: no file in this zip holds Teams messages")
            for part in lists:
                yield from guarded(part, _read_users(part, directory))
            if not chats:
                yield from _user_records(lists[0], directory)
            for part in chats:
                yield from guarded(part, _part_items(part, directory))
        yield from counted(file, directory.skipped)


def _read_users(part: Part, directory: _Directory) -> Iterator[Rejected]:
    with part.opener() as stream:
        cursor = JsonCursor(stream)
        for number, user in enumerate(_elements(cursor, part, _Listed), start=1):
            if isinstance(user, Broken):
                yield Rejected(part.file.name, part.at(f"user {number}"), user.reason)
            elif user_id := sanitized(user.id).strip():
                directory.listed[user_id] = user
        yield from problem_of(cursor, part)


def _elements(cursor: JsonCursor, part: Part, kind: type[Kind]) -> Iterator[Kind | Broken]:
    """The entries of the list, with the answers to each behind it."""
    lists = (key == "value" for key in cursor.members()) if cursor.peek() == "{" else (True,)
    small_keys = _SMALL_KEYS.search(part_head(part)) is not None
    for is_list in lists:
        if is_list and not small_keys:
            yield from cursor.elements(kind)
        elif is_list:
            for entry in cursor.elements(dict):
                replies = entry.get("replies") if isinstance(entry, dict) else None
                for each in (entry, *(replies if isinstance(replies, list) else ())):
                    yield converted(_capitalised(each, _DEEPEST_USED), kind)


def _capitalised(value: Json, depth: int) -> Json:
    """An object with keys as the exports have them: ``createdDateTime`` -> ``CreatedDateTime``."""
    if not isinstance(value, dict) or not depth:
        return value
    return {f"{key[:1].upper()}{key[1:]}": _capitalised(inner, depth - 1) for key, inner in value.items()}


def _user_records(part: Part, directory: _Directory) -> Iterator[Record | Skipped]:
    """A users list by itself: records without text tell which address belongs to which of the messages' authors."""
    for number, user_id in enumerate(directory.listed, start=1):
        person, _, role = directory.described(user_id)
        if role is Role.STAFF:
            directory.skipped["internal_sender"] += 1
        elif person.identifiers:
            yield Record("msteams", "account", user_id, (person,), "", part.file.name, part.at(f"user {number}"))


def _part_items(part: Part, directory: _Directory) -> Iterator[Item]:
    chats: OrderedDict[str, Days] = OrderedDict()
    with part.opener() as stream:
        cursor = JsonCursor(stream)
        for number, message in enumerate(_elements(cursor, part, _Message), start=1):
            if isinstance(message, Broken):
                yield Rejected(part.file.name, part.at(f"message {number}"), message.reason)
                continue
            found = _turn(message, number, directory)
            if isinstance(found, str):
                directory.skipped[found] += 1
                continue
            key = _chat_id(message) or part.stem
            if key not in chats:
                chats[key] = _days(part, key, message, directory)
                if len(chats) > MAX_OPEN_CHATS:
                    yield from chats.popitem(last=False)[1].finish()
            else:
                chats.move_to_end(key)
            yield from chats[key].add(found)
        for days in chats.values():
            yield from days.finish()
        yield from problem_of(cursor, part)


def _chat_id(message: _Message) -> str:
    channel = message.channel.channel_id if message.channel else None
    return sanitized(channel or message.chat or "")


def _days(part: Part, key: str, message: _Message, directory: _Directory) -> Days:
    team = message.channel.team_id if message.channel else None
    metadata: dict[str, Json] = {"chat_id": key, "chat_kind": "channel" if team else "chat"}
    conversation = Conversation(
        origin="msteams",
        id=key,
        file=part.file.name,
        zone=directory.zone,
        time_zone="as in the file",
        where=part.at("message"),
        metadata=metadata | ({"team_id": sanitized(team)} if team else {}),
    )
    return Days(conversation, directory.person, directory.skipped, datetime.now(UTC) + FUTURE_SLACK)


def _turn(message: _Message, number: int, directory: _Directory) -> Turn | str:
    author = message.author.user if message.author else None
    if message.type != "message" or message.author is None:
        return "system_message"
    if author is None:
        return "bot_message"
    user_id = sanitized(author.id or "").strip()
    if not user_id:
        return "no_author"
    if message.deleted:
        return "deleted"
    text = _text(message)
    if not text:
        return "media"
    if message.reactions:
        directory.skipped["reaction"] += len(message.reactions)
    _, name, role = directory.described(user_id, author.display_name, author.tenant_id)
    moment = from_iso(message.created, directory.zone)
    return Turn(user_id, name, text, sanitized(message.id), moment, role, number, sanitized(message.reply_to or ""))


def _text(message: _Message) -> str:
    """What was typed, with the subject of a post above it; lines of a quoted message begin with ``> ``."""
    content = message.body.content if message.body else None
    if not content:
        text = ""
    elif message.body is not None and message.body.content_type != "html":
        text = sanitized(content)
    elif (plain := _PLAIN_PARAGRAPH.fullmatch(content)) is not None:
        text = sanitized(plain[1])
    else:
        text = sanitized(html_to_text(_EMOJI.sub(r"\1", content), mark_quotes=True))
    subject = one_line(sanitized(message.subject or ""))
    return "\n".join(part for part in (subject, text.strip()) if part)


def _is_teams(head: str) -> bool:
    return bool(_USERS.search(head) or _MESSAGES.search(head))


def _detect(file: SourceFile, head: bytes) -> bool:
    return looks_like(file, head, ".json", _LIKELY, _is_teams)


READER = Reader(format="msteams", source=Source.CHAT, detect=_detect, read=_read)
