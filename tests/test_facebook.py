"""The reader of Facebook's and Instagram's messages: mangled texts repaired, newest first turned round."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Role
from ingest_pipeline.sources.facebook import READER, repaired
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


def mangled(text: str) -> str:
    return text.encode().decode("latin-1")


def message(number: int, content: Any, who: Any = "Ann", **more: Any) -> dict[str, Any]:
    return {"sender_name": who, "timestamp_ms": 1704880800000 + number * 1000, "content": content, **more}


def thread(*messages: Any, path: str = "inbox/ann_123") -> dict[str, Any]:
    return {"participants": [{"name": "Ann"}, {"name": "Bo"}], "messages": list(messages), "thread_path": path}


def test_a_thread() -> None:
    """In the order in which it was said; people are names within the thread, whose name stands below the messages."""
    data = thread(message(2, "later", "Bo"), message(1, mangled("Grüße 🙂"), mangled("Änn")))
    assert is_detected(READER, source(data))
    ann, bo = records(read(READER, data))
    assert ann.text == bo.text == "Änn: Grüße 🙂\nBo: later"
    assert ann.occurred_at == datetime(2024, 1, 10, 10, 0, 1, tzinfo=UTC)
    assert keys([ann, bo]) == ["facebook:ann_123/Änn", "facebook:ann_123/Bo"]
    assert ann.native_id == "ann_123/2024-01-10/1704880801000"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_repairing(text: str) -> None:
    """Gives what was written; texts that were not mangled stay."""
    assert repaired(mangled(text)) == text
    assert repaired(text + "日本") == text + "日本"


NOISE = [
    (message(1, None, photos=[{"uri": "x"}]), "media"),
    (message(1, "x", is_unsent=True), "deleted"),
    (message(1, "Ann called you.", type="Call"), "system_message"),
    (message(1, "Ann sent an attachment."), "system_message"),
    (message(1, "You missed a video call from Ann."), "system_message"),
    (message(1, "Ann named the group Holidays."), "system_message"),
    (message(1, "Ann left the group."), "system_message"),
    (message(1, mangled("Reacted 😂 to your message ")), "reaction"),
    (message(1, "Liked a message"), "reaction"),
    (message(1, "x", ""), "no_author"),
]


@pytest.mark.parametrize(("entry", "reason"), NOISE)
def test_noise_is_counted(entry: dict[str, Any], reason: str) -> None:
    """It makes no record and is no context."""
    found = read(READER, thread(message(2, "words", "Bo"), entry))
    assert (texts(found), skips(found)) == (["Bo: words"], {reason: 1})


def test_what_only_looks_like_the_apps_text() -> None:
    written = "You left the group of people who like tea, did you?"
    assert texts(read(READER, thread(message(1, written)))) == [f"Ann: {written}"]


def test_secure_storage() -> None:
    """Has other keys and whole texts."""
    entries = [
        {
            "isUnsent": False,
            "media": [],
            "senderName": "Änn",
            "text": "Grüße",
            "timestamp": 1704880800000,
            "type": "text",
        },
        {"isUnsent": True, "media": [], "senderName": "Änn", "text": "", "timestamp": 1704880800001, "type": "text"},
    ]
    data = {"participants": ["Änn", "Bo"], "threadName": "Änn_7", "messages": entries}
    assert is_detected(READER, source(data))
    found = read(READER, data)
    assert (texts(found), skips(found), keys(found)) == (["Änn: Grüße"], {"deleted": 1}, ["facebook:Änn_7/Änn"])


def test_a_zip_of_instagram() -> None:
    """Whose media and settings are passed over."""
    folder = "your_instagram_activity/messages/inbox/ann_1"
    members = {f"{folder}/message_{n}.json": thread(message(n, "hi")) for n in (1, 2)}
    data = zipped({"ads/x.json": [1], **members, "settings.json": {"messages": "x"}})
    assert is_detected(READER, source(data))
    found = records(read(READER, data))
    assert [(r.origin, r.position) for r in found] == [
        ("instagram", f"{folder}/message_1.json, message 1"),
        ("instagram", f"{folder}/message_2.json, message 1"),
    ]
    assert len({r.native_id for r in found}) == 2


def test_staff_and_reactions() -> None:
    entries = [message(2, "Hello", reactions=[{"reaction": "x", "actor": "Bo"}]), message(1, "Hi", mangled("Säm"))]
    found = read(READER, thread(*entries), replace(OPTIONS, staff=frozenset({"säm"})))
    assert [[s.role for s in r.segments] for r in records(found)] == [[Role.STAFF, Role.SUBJECT]]
    assert skips(found) == {"internal_sender": 1, "reaction": 1}


def test_bad_messages_cost_only_themselves() -> None:
    found = read(READER, thread(7, message(1, 5), message(2, "undated", timestamp_ms=None), message(3, "ok")))
    assert [position for position, _ in rejections(found)] == ["message 1", "message 2"]
    assert sorted(texts(found)) == ["Ann: ok", "Ann: undated"]


@needs_real_files
def test_real_instagram_thread() -> None:
    """Two messages, newest first."""
    (path,) = real("facebook_instagram/joweich__chat-miner/test/instagram/test_export.json")
    assert is_detected(READER, source(path.read_bytes()))
    found = read(READER, path.read_bytes(), name="chat/instagram/message_1.json")
    assert (units(found), skips(found), rejections(found)) == (2, {}, [])
    assert [(r.text, r.occurred_at) for r in records(found)] == [
        ("John Doe: Hello Jane!", datetime(2020, 1, 17, 20, 49, tzinfo=UTC)),
        ("Jane Doe: Hello John!", datetime(2019, 12, 24, 11, 23, tzinfo=UTC)),
    ]
