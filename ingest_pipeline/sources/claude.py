"""Reads Claude's data export: ``conversations.json``, in the zip with ``users.json`` or by itself.

The person is the account's owner (``account.uuid``); the assistant's text is context; attached files are left out.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar
from zoneinfo import ZoneInfo

from msgspec import Struct

from ingest_pipeline.documents import Item, Rejected, Role, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.assistants import (
    ASSISTANT,
    Account,
    Owner,
    account_key,
    account_records,
    clipped,
    owner_of,
    read_accounts,
)
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import one_line, sanitized
from ingest_pipeline.sources.chat_files import (
    Part,
    counted,
    guarded,
    looks_like,
    open_parts,
    problem_of,
    sorted_parts,
)
from ingest_pipeline.sources.conversation import FUTURE_SLACK, Conversation, Turn, conversation_records, from_iso
from ingest_pipeline.sources.json_stream import Broken, JsonCursor

_LIKELY = re.compile(r"conversations(?:-\d+)?\.json$|users\.json$")
_FORMAT = re.compile(r'"chat_messages"\s*:\s*\[')
_ACCOUNTS = re.compile(r'\A\s*\[\s*\{[^{}]*"uuid"\s*:[^{}]*"email_address"\s*:')


class _Block(Struct, gc=False):
    type: str | None = None
    text: str | None = None


class _File(Struct, gc=False):
    """Only that there is one."""


class _Message(Struct, gc=False):
    uuid: str = ""
    sender: str | None = None
    text: str | None = None
    content: list[_Block] | None = None
    created_at: str | None = None
    attachments: list[_File] | None = None


class _Owner(Struct, gc=False):
    uuid: str = ""


class _Conversation(Struct, gc=False):
    SPARE: ClassVar = ("name", "title")

    uuid: str = ""
    name: str | None = None
    title: str | None = None
    created_at: str | None = None
    account: _Owner | None = None
    chat_messages: list[_Message] = []


@dataclass(slots=True)
class _Export:
    """The accounts of one export, by id, and what was left out."""

    key: str
    options: ReadOptions
    accounts: dict[str, Account]
    owners: dict[str, Owner] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    def owner(self, account_id: str) -> Owner:
        if account_id not in self.owners:
            only = next(iter(self.accounts.values())) if len(self.accounts) == 1 and not account_id else None
            account = self.accounts.get(account_id, only)
            if account is None and account_id:
                account = Account(uuid=account_id)
            self.owners[account_id] = owner_of("claude", self.key, account, self.options)
        return self.owners[account_id]


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    for file in export.files:
        with open_parts(file, ".json", options) as parts:
            about, chats = sorted_parts(parts, _ACCOUNTS, _FORMAT)
            if not chats and not about:
                raise UnreadableFile(f"{file.name}: no file in this zip holds Claude conversations")
            accounts = {account.uuid: account for part in about for account in read_accounts(part) if account.uuid}
            whole = _Export(account_key(parts[0]), options, accounts)
            if not chats:
                owners = [whole.owner(uuid) for uuid in accounts]
                yield from account_records(about[0], "claude", [owner for owner in owners if owner.role is Role.OTHER])
            for part in chats:
                yield from guarded(part, _part_items(part, whole))
        yield from counted(file, whole.skipped)


def _part_items(part: Part, whole: _Export) -> Iterator[Item]:
    with part.opener() as stream:
        cursor = JsonCursor(stream)
        single = cursor.peek() == "{"
        found = [cursor.struct(_Conversation)] if single else cursor.elements(_Conversation)
        for number, conversation in enumerate(found, start=1):
            where = part.at(f"conversation {number}")
            if isinstance(conversation, Broken):
                yield Rejected(part.file.name, where, conversation.reason)
            else:
                yield from _conversation_items(part, conversation, where, whole)
        yield from problem_of(cursor, part)


def _conversation_items(part: Part, found: _Conversation, where: str, whole: _Export) -> Iterator[Item]:
    owner = whole.owner(found.account.uuid if found.account else "")
    native_id = sanitized(found.uuid) or f"{part.stem}/{where}"
    zone = ZoneInfo(whole.options.timezone)
    conversation = Conversation(
        origin="claude",
        id=native_id,
        file=part.file.name,
        zone=zone,
        time_zone="as in the file",
        where=f"{where}, message",
        metadata={"conversation_id": native_id, "title": one_line(sanitized(found.name or found.title or ""))},
    )
    turns = _turns(found, owner, zone, whole.skipped)
    yield from conversation_records(
        conversation, turns, lambda _: owner.person, whole.skipped, datetime.now(UTC) + FUTURE_SLACK
    )


def _turns(found: _Conversation, owner: Owner, zone: ZoneInfo, skipped: Counter[str]) -> Iterator[Turn]:
    moment = from_iso(found.created_at, zone)
    for number, message in enumerate(found.chat_messages, start=1):
        moment = from_iso(message.created_at, zone) or moment
        if message.attachments:
            skipped["attachment"] += len(message.attachments)
        text = sanitized(_words(message)).strip()
        native_id = sanitized(message.uuid) or str(number)
        if not text:
            skipped["empty"] += 1
        elif message.sender == "human":
            yield Turn(owner.person.key.value, owner.name, text, native_id, moment, owner.role, number)
        elif message.sender == "assistant":
            yield Turn(ASSISTANT, ASSISTANT, clipped(text), native_id, moment, Role.ASSISTANT, number)
        else:
            skipped["system_message"] += 1


def _words(message: _Message) -> str:
    """The text blocks (not what tools gave, not thoughts); exports before 2025 have only ``text``."""
    blocks = [block.text for block in message.content or () if block.type == "text" and block.text]
    return "\n".join(blocks) if blocks else "" if message.content else message.text or ""


def _is_claude(head: str) -> bool:
    return head.lstrip("\ufeff \t\r\n")[:1] in ("[", "{") and bool(_FORMAT.search(head) or _ACCOUNTS.search(head))


def _detect(file: SourceFile, head: bytes) -> bool:
    return looks_like(file, head, ".json", _LIKELY, _is_claude)


READER = Reader(format="claude", source=Source.CHAT, detect=_detect, read=_read)
