"""The Discord reader: DiscordChatExporter's JSON, people by ``author.id``."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest_pipeline.documents import Role
from ingest_pipeline.sources.discord import READER
from tests.chats import OPTIONS, is_detected, keys, read, records, rejections, skips, source, texts, zipped

AUTHOR = {"id": "100", "name": "ann", "nickname": "Ann Lee", "isBot": False, "roles": [{"id": "1", "name": "x"}]}
BO = {"id": "200", "name": "bo", "isBot": False}


def message(number: int, content: Any, author: Any = AUTHOR, **more: Any) -> dict[str, Any]:
    return {
        "id": str(number), "type": "Default", "timestamp": f"2024-01-10T13:00:{number:02}.5+01:00", "content": content,
        "author": author, "attachments": [], "embeds": [], "reactions": [], "mentions": [], **more,
    }  # fmt: skip


def channel(*messages: Any) -> dict[str, Any]:
    return {
        "guild": {"id": "1", "name": "Guild", "iconUrl": "x"},
        "channel": {"id": "2", "type": "GuildTextChat", "name": "general", "topic": None},
        "dateRange": {"after": None}, "messages": list(messages), "messageCount": 99,
    }  # fmt: skip


def test_a_channel() -> None:
    """A wrong ``messageCount`` does not matter."""
    entries = [message(1, "Hello"), message(2, "Hi", BO, type="Reply", reference={"messageId": "1", "guildId": "1"})]
    assert is_detected(READER, source(channel(*entries)))
    ann, bo = records(read(READER, channel(*entries)))
    assert (ann.text, ann.native_id) == ("Ann Lee: Hello\nbo: Hi", "2/2024-01-10/1")
    assert ann.occurred_at == datetime(2024, 1, 10, 12, 0, 1, 500_000, tzinfo=UTC)
    assert ann.metadata == {
        "guild": "Guild", "guild_id": "1", "channel": "general", "channel_id": "2", "channel_kind": "GuildTextChat",
        "day": "2024-01-10", "time_zone": "as in the file", "message_ids": ["1"],
    }  # fmt: skip
    assert bo.metadata["threads"] == ["1"]
    assert keys([ann, bo]) == ["discord:100", "discord:200"]


NOISE = [
    (message(1, "x", type="GuildMemberJoin"), "system_message"),
    (message(1, "x", type="ChannelPinnedMessage"), "system_message"),
    (message(1, "x", type="18"), "system_message"),
    (message(1, "x", {**AUTHOR, "isBot": True}), "bot_message"),
    (message(1, "", attachments=[{"url": "x"}]), "media"),
    (message(1, None), "empty"),
    (message(1, "x", {"id": ""}), "no_author"),
]


@pytest.mark.parametrize(("entry", "reason"), NOISE)
def test_noise_is_counted(entry: dict[str, Any], reason: str) -> None:
    """It makes no record and is no context."""
    found = read(READER, channel(entry, message(2, "words", BO)))
    assert (texts(found), skips(found)) == (["bo: words"], {reason: 1})


def test_references_are_shown_by_name() -> None:
    mentioned = [{"id": "20000", "name": "bo", "nickname": "Bo\u202e"}]
    found = read(READER, channel(message(1, "<@20000> <@!20000> <@30000> <:yes:12345> 1 < 2", mentions=mentioned)))
    assert texts(found) == ["Ann Lee: @Bo @Bo @30000 :yes: 1 < 2"]


def test_staff_and_reactions() -> None:
    """By id, name or nickname."""
    entries = [message(1, "Hi"), message(2, "Hello", BO, reactions=[{"emoji": {"name": "x"}, "count": 2}])]
    for staff in ("100", "ann", "ann lee"):
        found = read(READER, channel(*entries), replace(OPTIONS, staff=frozenset({staff})))
        assert [[s.role for s in r.segments] for r in records(found)] == [[Role.STAFF, Role.SUBJECT]]
        assert skips(found) == {"internal_sender": 1, "reaction": 2}


def test_bad_messages_cost_only_themselves() -> None:
    broken = [7, message(2, 5), {"id": "3"}, message(4, "x", "ann"), message(5, "x", timestamp="soon")]
    found = read(READER, channel(*broken, message(6, "ok", mentions=[5])))
    assert [position for position, _ in rejections(found)] == [f"message {n}" for n in (1, 2, 3, 4)]
    assert sorted((r.text, r.metadata["day"]) for r in records(found)) == [
        ("Ann Lee: ok", "2024-01-10"), ("Ann Lee: x", "undated"),
    ]  # fmt: skip


def test_parts_of_one_day_do_not_replace_each_other() -> None:
    """Exports are often cut into parts, or go on from where the last one ended."""
    first, second = (records(read(READER, channel(message(n, "x"))))[0] for n in (1, 2))
    assert first.native_id != second.native_id


def test_several_channels_in_a_zip() -> None:
    data = zipped({"a.json": channel(message(1, "a")), "b.json": channel(message(1, "b")), "c.json": {"x": 1}})
    assert is_detected(READER, source(data))
    assert [r.position for r in records(read(READER, data))] == ["a.json, message 1", "b.json, message 1"]
