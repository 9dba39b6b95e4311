"""Reads ChatGPT's data export: ``conversations.json``, in the zip with ``user.json`` or by itself.

A conversation is a tree of messages: the branch that ends in ``current_node`` is what the person last saw; edited and
repeated prompts are on others. The person is the account's owner. Their custom instructions are a record of their own.
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import ClassVar
from zoneinfo import ZoneInfo

from msgspec import Struct, field

from ingest_pipeline.documents import Item, Json, Record, Rejected, Role, Segment, Source, stable_id
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.assistants import (
    ASSISTANT,
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
from ingest_pipeline.sources.conversation import (
    FUTURE_SLACK,
    Conversation,
    Turn,
    conversation_records,
    from_unix,
    plausible,
)
from ingest_pipeline.sources.json_stream import Broken, JsonCursor

_LIKELY = re.compile(r"conversations(?:-\d+)?\.json$|user\.json$")
_FORMAT = re.compile(r'"mapping"\s*:\s*\{[\s\S]*"(?:author|parent|message)"\s*:|"current_node"\s*:')
_ACCOUNT = re.compile(r'\A\s*\{[^{}]*"chatgpt_plus_user"\s*:')


class _Author(Struct, gc=False):
    role: str | None = None


class _Content(Struct, gc=False):
    content_type: str | None = "text"
    parts: list[Json] | None = None


class _AboutUser(Struct, gc=False):
    about_user_message: str | None = None


class _Metadata(Struct, gc=False):
    hidden: bool | None = field(default=None, name="is_visually_hidden_from_conversation")
    about: _AboutUser | None = field(default=None, name="user_context_message_data")


class _Message(Struct, gc=False):
    id: str | None = None
    author: _Author | None = None
    create_time: float | str | None = None
    content: _Content | None = None
    metadata: _Metadata | None = None


class _Node(Struct, gc=False):
    message: _Message | None = None
    parent: str | None = None


class _Conversation(Struct, gc=False):
    SPARE: ClassVar = ("title", "update_time")

    id: str | None = None
    conversation_id: str | None = None
    title: str | None = None
    create_time: float | str | None = None
    mapping: dict[str, _Node] = {}
    current_node: str | None = None


def branch(mapping: dict[str, _Node], current: str | None) -> list[str]:
    """Node ids from the root to ``current``; without a usable one, to the last message that nobody answered."""
    node = current if current in mapping else _last_leaf(mapping)
    path: list[str] = []
    seen: set[str] = set()
    while node is not None and node in mapping and node not in seen:
        seen.add(node)
        path.append(node)
        node = mapping[node].parent
    path.reverse()
    return path


def _last_leaf(mapping: dict[str, _Node]) -> str | None:
    parents = {node.parent for node in mapping.values()}
    leaves = [name for name, node in mapping.items() if name not in parents and node.message is not None]
    return max(leaves or mapping, key=lambda name: _time(mapping[name]), default=None)


def _time(node: _Node) -> float:
    moment = from_unix(node.message.create_time) if node.message else None
    return moment.timestamp() if moment else 0.0


def _read(export: Export, options: ReadOptions) -> Iterator[Item]:
    for file in export.files:
        skipped: Counter[str] = Counter()
        with open_parts(file, ".json", options) as parts:
            accounts, chats = sorted_parts(parts, _ACCOUNT, _FORMAT)
            if not chats and not accounts:
                raise UnreadableFile(f"{file.name}: no file in this zip holds ChatGPT conversations")
            owner = _owner(parts[0], accounts, options)
            if not chats:
                yield from account_records(accounts[0], "chatgpt", [owner] if owner.role is Role.OTHER else [])
            instructions: dict[str, Record] = {}
            for part in chats:
                yield from guarded(part, _part_items(part, owner, options, skipped, instructions))
            yield from instructions.values()
        yield from counted(file, skipped)


def _owner(part: Part, accounts: list[Part], options: ReadOptions) -> Owner:
    """The account's owner; a loose ``user.json`` is about the ``conversations.json`` beside it."""
    key = account_key(part)
    found = [account for each in accounts for account in read_accounts(each)]
    also = [key] if found and not part.member else []
    return owner_of("chatgpt", key, found[0] if found else None, options, also)


def _part_items(
    part: Part, owner: Owner, options: ReadOptions, skipped: Counter[str], instructions: dict[str, Record]
) -> Iterator[Item]:
    with part.opener() as stream:
        cursor = JsonCursor(stream)
        single = cursor.peek() == "{"
        found = [cursor.struct(_Conversation)] if single else cursor.elements(_Conversation)
        for number, conversation in enumerate(found, start=1):
            where = part.at(f"conversation {number}")
            if isinstance(conversation, Broken):
                yield Rejected(part.file.name, where, conversation.reason)
                continue
            yield from _conversation_items(part, conversation, where, owner, options, skipped)
            if owner.role is Role.OTHER:
                _collect_instructions(part, conversation, where, owner, instructions)
        yield from problem_of(cursor, part)


def _conversation_items(
    part: Part, found: _Conversation, where: str, owner: Owner, options: ReadOptions, skipped: Counter[str]
) -> Iterator[Item]:
    native_id = sanitized(found.conversation_id or found.id or "") or f"{part.stem}/{where}"
    conversation = Conversation(
        origin="chatgpt",
        id=native_id,
        file=part.file.name,
        zone=ZoneInfo(options.timezone),
        time_zone="UTC (Unix time)",
        where=f"{where}, message",
        metadata={"conversation_id": native_id, "title": one_line(sanitized(found.title or ""))},
    )
    turns = _turns(found, owner, skipped)
    yield from conversation_records(
        conversation, turns, lambda _: owner.person, skipped, datetime.now(UTC) + FUTURE_SLACK
    )


def _turns(found: _Conversation, owner: Owner, skipped: Counter[str]) -> Iterator[Turn]:
    path = branch(found.mapping, found.current_node)
    active = set(path)
    for name, node in found.mapping.items():
        if name not in active and node.message is not None:
            skipped["inactive_branch"] += 1
    moment = from_unix(found.create_time)
    for number, name in enumerate(path, start=1):
        message = found.mapping[name].message
        if message is None:
            continue
        moment = from_unix(message.create_time) or moment
        text, reason = _words(message)
        native_id = sanitized(message.id or name)
        if reason:
            skipped[reason] += 1
        elif message.author is not None and message.author.role == "assistant":
            yield Turn(ASSISTANT, ASSISTANT, clipped(text), native_id, moment, Role.ASSISTANT, number)
        else:
            yield Turn(owner.person.key.value, owner.name, text, native_id, moment, owner.role, number)


def _words(message: _Message) -> tuple[str, str]:
    """``(text, reason)``: the reason says why this is nobody's talk, such as tool output and thoughts."""
    role = message.author.role if message.author else None
    content = message.content or _Content()
    if role not in ("user", "assistant"):
        return "", "tool_output" if role == "tool" else "system_message"
    if content.content_type == "user_editable_context":
        return "", "custom_instructions"
    if content.content_type not in ("text", "multimodal_text", None):
        return "", "tool_output"
    if message.metadata is not None and message.metadata.hidden:
        return "", "system_message"
    parts = [_part_text(part) for part in content.parts or ()]
    text = sanitized("\n".join(part for part in parts if part)).strip()
    return (text, "") if text else ("", "empty")


def _part_text(part: Json) -> str:
    """A text, or what was said in a recording; images and files have none."""
    if isinstance(part, dict):
        text = part.get("text") if part.get("content_type") == "audio_transcription" else None
        return text if isinstance(text, str) else ""
    return part if isinstance(part, str) else ""


def _collect_instructions(
    part: Part, found: _Conversation, where: str, owner: Owner, instructions: dict[str, Record]
) -> None:
    """What the owner says of themselves in the settings, which every conversation repeats: once, at its first time."""
    for node in found.mapping.values():
        about = node.message.metadata.about if node.message and node.message.metadata else None
        text = sanitized(about.about_user_message or "").strip() if about else ""
        if not text:
            continue
        moment = plausible(from_unix(found.create_time), datetime.now(UTC) + FUTURE_SLACK)
        known = instructions.get(text)
        if known and (moment is None or (known.occurred_at is not None and known.occurred_at <= moment)):
            continue
        instructions[text] = Record(
            origin="chatgpt",
            kind="custom_instructions",
            native_id=stable_id("custom_instructions", text),
            subjects=(owner.person,),
            text=text,
            file=part.file.name,
            position=where,
            segments=(Segment(0, len(text), Role.SUBJECT, owner.name, None, moment),),
            occurred_at=moment,
        )


def _is_chatgpt(head: str) -> bool:
    return head.lstrip("\ufeff \t\r\n")[:1] in ("[", "{") and bool(_FORMAT.search(head) or _ACCOUNT.search(head))


def _detect(file: SourceFile, head: bytes) -> bool:
    return looks_like(file, head, ".json", _LIKELY, _is_chatgpt)


READER = Reader(format="chatgpt", source=Source.CHAT, detect=_detect, read=_read)
