"""The Telegram reader: one chat or the whole account; people by ``from_id``, times by ``date_unixtime``."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest_pipeline.documents import Role
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.telegram import READER
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


def message(number: int, text: Any, who: Any = "user1", name: Any = "Ann", **more: Any) -> dict[str, Any]:
    entry = {"id": number, "type": "message", "date": "2024-01-10T13:00:00", "date_unixtime": str(1704880800 + number)}
    return {**entry, "from": name, "from_id": who, "text": text, **more}


def chat(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"name": "Team", "type": "private_group", "id": 77, **more, "messages": list(messages)}


def test_a_chat() -> None:
    """Text may be a list; lines of a quotation prove nothing."""
    parts = ["Hello ", {"type": "bold", "text": "you"}, {"type": "blockquote", "text": "theirs"}, "mine"]
    (ann, _) = records(read(READER, chat(message(1, parts), message(2, "hi", "user2", "Bo", reply_to_message_id=1))))
    assert ann.text == "Ann: Hello you\n> theirs\nmine\nBo: hi"
    assert [ann.text[s.start : s.end] for s in ann.segments] == ["Hello you", "mine", "hi"]
    assert (ann.native_id, ann.origin, ann.position) == ("77/2024-01-10/1", "telegram", "message 1")
    assert (str(ann.subjects[0].key), ann.subjects[0].name) == ("telegram:user1", "Ann")
    assert ann.occurred_at == datetime(2024, 1, 10, 10, 0, 1, tzinfo=UTC)
    assert ann.metadata == {
        "chat": "Team", "chat_id": "77", "chat_kind": "private_group", "day": "2024-01-10",
        "time_zone": "UTC (Unix time)", "message_ids": ["1"],
    }  # fmt: skip


def test_a_whole_account() -> None:
    """Each chat by itself; contacts and whatever else there is are passed over."""
    data = {
        "about": "Here is the data you requested. Remember", "personal_information": {"user_id": 5},
        "contacts": {"list": [{"first_name": "X"}] * 3},
        "chats": {"about": "x", "list": [chat(message(1, "a")), chat(message(1, "b"), id=78)]},
        "left_chats": {"list": [chat(message(1, "c"), id=79)]},
    }  # fmt: skip
    assert is_detected(READER, source(data))
    found = records(read(READER, data))
    assert [(r.native_id, r.position) for r in found] == [
        ("77/2024-01-10/1", "chats 1, message 1"),
        ("78/2024-01-10/1", "chats 2, message 1"),
        ("79/2024-01-10/1", "left_chats 1, message 1"),
    ]


NOISE = [
    (message(1, "x", type="service"), "service"),
    (message(1, "x", forwarded_from="Else"), "forwarded"),
    (message(1, "x", forwarded_from=None), "forwarded"),
    (message(1, "x", "channel5"), "channel_post"),
    (message(1, "x", (1 << 33) + 5), "channel_post"),
    (message(1, "x", via_bot="@gif"), "bot_message"),
    (message(1, "", photo="a.jpg"), "media"),
    (message(1, ["", {"type": "bold", "text": " "}]), "empty"),
    (message(1, "x", None, None), "no_author"),
]


@pytest.mark.parametrize(("entry", "reason"), NOISE)
def test_noise_is_counted(entry: dict[str, Any], reason: str) -> None:
    """It makes no record and is no context."""
    found = read(READER, chat(entry, message(2, "words", "user2", "Bo")))
    assert (texts(found), skips(found)) == (["Bo: words"], {reason: 1})


def test_a_bot_in_its_own_chat() -> None:
    found = read(READER, chat(message(1, "Welcome", "user77"), message(2, "hi"), type="bot_chat"))
    assert (texts(found), skips(found)) == (["Ann: hi"], {"bot_message": 1})


WHO = [
    ("user5", "Ann", "telegram:user5"),
    (4295, "Ann", "telegram:user4295"),
    ("4295", "Ann", "telegram:user4295"),
    (None, "Ann", "telegram:77/Ann"),
    ("user5", None, "telegram:user5"),
]


@pytest.mark.parametrize(("who", "name", "key"), WHO)
def test_people(who: Any, name: Any, key: str) -> None:
    """Names hold only within their chat."""
    assert keys(read(READER, chat(message(1, "x", who, name)))) == [key]


def test_times_without_a_zone() -> None:
    """Old exports have local times only: they are in the folder's zone, which the record says."""
    old = {"id": 1, "type": "message", "date": "2024-01-10T13:00:00", "from": "Ann", "from_id": 5, "text": "x"}
    (found,) = records(read(READER, chat(old), replace(OPTIONS, timezone="Europe/Berlin")))
    assert found.occurred_at == datetime(2024, 1, 10, 12, tzinfo=UTC)
    assert found.metadata["time_zone"] == "Europe/Berlin (setting)"


def test_staff_and_reactions() -> None:
    """By name or id."""
    entries = [message(1, "Hi", "user9", "Sam"), message(2, "Hello", reactions=[{"type": "emoji", "count": 3}])]
    for staff in ("sam", "user9"):
        found = read(READER, chat(*entries), replace(OPTIONS, staff=frozenset({staff})))
        assert [[s.role for s in r.segments] for r in records(found)] == [[Role.STAFF, Role.SUBJECT]]
        assert skips(found) == {"internal_sender": 1, "reaction": 3}


def test_bad_messages_cost_only_themselves() -> None:
    found = read(READER, chat(message(1, "a"), 7, message(3, {"x": 1}), {"id": []}, message(5, "b", reactions="?")))
    assert texts(found) == ["Ann: a\nAnn: b"]
    assert [position for position, _ in rejections(found)] == ["message 2", "message 3", "message 4"]


def test_in_a_zip_and_cut_off() -> None:
    """A damaged file is read as far as it goes."""
    data = zipped({"ChatExport/result.json": chat(message(1, "a")), "ChatExport/photos/a.json": b"{}", "x.html": b""})
    assert is_detected(READER, source(data))
    assert [r.position for r in records(read(READER, data))] == ["ChatExport/result.json, message 1"]
    found = read(READER, json.dumps(chat(message(1, "a"), message(2, "b"))).encode()[:-30])
    assert texts(found) == ["Ann: a"]
    assert [reason for _, reason in rejections(found)] == ["the file is cut off"]
    with pytest.raises(UnreadableFile):
        read(READER, zipped({"other.json": b"{}"}))


@needs_real_files
def test_real_chats() -> None:
    """Two messages per file, one of them a list, with ``date_unixtime`` only."""
    found = []
    for path in real("telegram/joweich__chat-miner/test/telegram/test_*.json"):
        assert is_detected(READER, source(path.read_bytes()))
        items = read(READER, path.read_bytes(), name=f"chat/{path.name}")
        assert (units(items), skips(items), rejections(items)) == (2, {}, [])
        found.append([(r.subjects[0].name, r.text.split("\n")[-1], r.occurred_at) for r in records(items)])
    assert len(found) == 2
    assert found[0] == found[1]
    assert found[0][0][2] == datetime(2018, 12, 5, 10, 39, 10, tzinfo=UTC)
    assert found[0][1] == (
        "Author 2",
        "Author 2: Link:https://telegram.org/",
        datetime(2018, 12, 5, 10, 49, 24, tzinfo=UTC),
    )
