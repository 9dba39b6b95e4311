"""The Claude reader: text blocks of the account's owner, answers as context."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest_pipeline.documents import Identifier, Role
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.claude import READER
from tests.chats import (
    OPTIONS,
    is_detected,
    keys,
    needs_real_files,
    read,
    real,
    records,
    rejections,
    skips,
    source,
    texts,
    units,
    zipped,
)

USERS = [{"uuid": "a1", "full_name": "Kim Roe", "email_address": "Kim@X.example", "verified_phone_number": None}]


def message(number: int, text: Any, sender: str = "human", **more: Any) -> dict[str, Any]:
    at = f"2024-01-10T10:00:{number:02}.123456Z"
    return {"uuid": f"m{number}", "text": text, "sender": sender, "created_at": at, "attachments": [], **more}


def conversation(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"uuid": "c1", "name": "T", "account": {"uuid": "a1"}, "chat_messages": list(messages), **more}


def test_a_conversation() -> None:
    entries = [message(1, "I live in Lisbon."), message(2, "Nice!", "assistant")]
    data = zipped(
        {"conversations.json": [conversation(*entries)], "users.json": USERS, "projects.json": [{"uuid": "p"}]}
    )
    assert is_detected(READER, source(data))
    (found,) = records(read(READER, data))
    assert found.text == "Kim Roe: I live in Lisbon.\nAssistant: Nice!"
    assert [(s.role, s.native_id) for s in found.segments] == [(Role.SUBJECT, "m1"), (Role.ASSISTANT, "m2")]
    assert (found.subjects[0].key, found.subjects[0].identifiers) == (
        Identifier("claude", "a1"), (Identifier("email", "kim@x.example"),),
    )  # fmt: skip
    assert found.occurred_at == datetime(2024, 1, 10, 10, 0, 1, 123456, tzinfo=UTC)
    assert found.position == "conversations.json, conversation 1, message 1"


BLOCKS = [
    ([{"type": "text", "text": "a"}, {"type": "tool_result", "text": "no"}, {"type": "text", "text": "b"}], "a\nb"),
    ([{"type": "thinking", "text": "no"}], None),
    ([], "whole"),
    (None, "whole"),
]


@pytest.mark.parametrize(("content", "text"), BLOCKS)
def test_blocks(content: Any, text: str | None) -> None:
    """Only text is talk; old exports have no blocks."""
    found = read(READER, [conversation(message(1, "whole", content=content))])
    assert texts(found) == ([f"User: {text}"] if text else [])


def test_what_is_left_out_is_counted() -> None:
    found = read(
        READER,
        [conversation(message(1, "a", attachments=[{"extracted_content": "x"}]), message(2, ""), message(3, "x", "x"))],
    )
    assert (texts(found), skips(found)) == (["User: a"], {"attachment": 1, "empty": 1, "system_message": 1})


def test_whose_account_it_is() -> None:
    """By its id in every conversation; a users.json by itself has the address for it."""
    talk = [conversation(message(1, "hi"))]
    assert keys(read(READER, talk)) == ["claude:a1"]
    assert is_detected(READER, source(USERS))
    assert keys(read(READER, USERS, name="chat/kim/users.json")) == ["claude:a1"]
    without = [conversation(message(1, "hi"), account=None)]
    assert keys(read(READER, without, name="chat/kim/conversations.json")) == ["claude:chat/kim"]
    assert keys(read(READER, zipped({"conversations.json": without, "users.json": USERS}))) == ["claude:a1"]
    options = replace(OPTIONS, internal_domains=frozenset({"x.example"}))
    data = zipped({"conversations.json": talk, "users.json": USERS})
    assert skips(read(READER, data, options)) == {"internal_sender": 1}


def test_bad_conversations_cost_only_themselves() -> None:
    found = read(READER, [7, conversation(5), conversation(message(1, "ok"), name=5)])
    assert [position for position, _ in rejections(found)] == ["conversation 1", "conversation 2"]
    assert texts(found) == ["User: ok"]
    with pytest.raises(UnreadableFile):
        read(READER, zipped({"x.json": {}}))


@needs_real_files
def test_real_conversation() -> None:
    """One by itself, outside any list, of a version without blocks and accounts."""
    (path,) = real("claude/Sinity__polylogue/tests/fixtures/origin-capability/claude-ai-export.json")
    assert is_detected(READER, source(path.read_bytes()))
    found = read(READER, path.read_bytes(), name="chat/claude.json")
    assert (units(found), skips(found), rejections(found)) == (1, {}, [])
    assert texts(found) == ["User: Prove the parser claim."]
