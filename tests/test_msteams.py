"""The Teams reader: HTML bodies, system rows, several chats in one file, addresses from the users list."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingest_pipeline.documents import Identifier, Role
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources import msteams
from ingest_pipeline.sources.msteams import READER
from tests.chats import (
    OPTIONS,
    REAL,
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

USERS = [
    {
        "Id": "u1",
        "Mail": "Ann@Customer.example",
        "UserPrincipalName": "ann_customer#EXT#@acme.example",
        "DisplayName": "Ann",
    },
    {"Id": "u2", "Mail": None, "UserPrincipalName": "sam@acme.example", "DisplayName": "Sam"},
    {"Id": "u3", "Mail": None, "UserPrincipalName": "bo_x#EXT#@acme.example", "DisplayName": "Bo"},
]


def message(number: int, content: Any, who: Any = "u1", name: str = "Ann", **more: Any) -> dict[str, Any]:
    user = {"User": {"Id": who, "DisplayName": name, "TenantId": "t1"}, "Application": None}
    return {
        "Id": str(number), "Body": {"ContentType": "html", "Content": content}, "Subject": "", "ReplyToId": None,
        "CreatedDateTime": f"2024-01-10T13:00:{number:02}.662+01:00", "DeletedDateTime": None,
        "From": user if who else None, "Reactions": [], "MessageType": "message", "ChannelIdentity": None,
        "ChatId": "19:abc@thread.v2", **more,
    }  # fmt: skip


def test_a_chat() -> None:
    entries = [
        message(2, '<p>Hi&nbsp;<at id="0">Ann</at> <emoji alt="🙂"></emoji></p>', "u9", "Guest"),
        message(1, "<p>Hello</p>"),
    ]
    assert is_detected(READER, source(entries))
    guest, ann = sorted(records(read(READER, entries)), key=lambda record: record.native_id, reverse=True)
    assert ann.text == guest.text == "Ann: Hello\nGuest: Hi Ann 🙂"
    assert (ann.native_id, ann.occurred_at) == (
        "19:abc@thread.v2/2024-01-10/1", datetime(2024, 1, 10, 12, 0, 1, 662_000, tzinfo=UTC),
    )  # fmt: skip
    assert (ann.subjects[0].key, ann.subjects[0].namespace) == (Identifier("msteams", "u1"), "msteams:t1")


BODIES = [
    ("<p>a</p><p>b</p>", "a\n\nb"),
    ("<blockquote><p>theirs</p></blockquote><p>mine</p>", "> theirs\n\nmine"),
    ("<p>1 &lt; 2</p>", "1 < 2"),
    ("<div>a<br>b</div>", "a\nb"),
]


@pytest.mark.parametrize(("html", "text"), BODIES)
def test_bodies(html: str, text: str) -> None:
    assert texts(read(READER, [message(1, html)])) == [f"Ann: {text}"]


def test_subjects_plain_bodies_and_threads() -> None:
    plain = {"ContentType": "text", "Content": "1 < 2"}
    (found,) = records(read(READER, [message(1, "", Body=plain, Subject="News", ReplyToId="7")]))
    assert (found.text, found.metadata["threads"]) == ("Ann: News\n1 < 2", ["7"])


NOISE = [
    (message(1, "<systemEventMessage/>", None, MessageType="unknownFutureValue"), "system_message"),
    (message(1, "x", None), "system_message"),
    (message(1, "x", From={"User": None, "Application": {"Id": "b"}}), "bot_message"),
    (message(1, "x", DeletedDateTime="2024-01-10T13:00:00+00:00"), "deleted"),
    (message(1, '<attachment id="1"></attachment>'), "media"),
    (message(1, None), "media"),
    (message(1, "x", ""), "system_message"),
    (message(1, "x", From={"User": {"DisplayName": "X"}}), "no_author"),
]


@pytest.mark.parametrize(("entry", "reason"), NOISE)
def test_noise_is_counted(entry: dict[str, Any], reason: str) -> None:
    """It makes no record and is no context."""
    found = read(READER, [message(2, "<p>words</p>"), entry])
    assert (texts(found), skips(found)) == (["Ann: words"], {reason: 1})


def test_chats_of_one_file_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are mixed."""
    channel = {"ChatId": None, "ChannelIdentity": {"TeamId": "team", "ChannelId": "19:chan"}}
    entries = [message(n, f"<p>{n}</p>", **(channel if n % 2 else {})) for n in range(6)]
    for limit in (200, 1):
        monkeypatch.setattr(msteams, "MAX_OPEN_CHATS", limit)
        found = records(read(READER, entries))
        assert sum(record.units for record in found) == 6
        assert {r.metadata["chat_kind"] for r in found} == {"chat", "channel"}
        assert all(len({int(line[-1]) % 2 for line in r.text.split("\n")}) == 1 for r in found)
        assert len({r.native_id for r in found}) == len(found)


def test_addresses_come_from_the_users_list() -> None:
    """A guest's sign-in name is none. Staff are known by theirs."""
    entries = [message(1, "<p>a</p>"), message(2, "<p>b</p>", "u2", "Sam"), message(3, "<p>c</p>", "u3", "Bo")]
    data = zipped({"teams/t/messages_t.json": entries, "users/usersList.json": USERS, "x.json": {}})
    assert is_detected(READER, source(data))
    found = read(READER, data, replace(OPTIONS, internal_domains=frozenset({"acme.example"})))
    assert [(str(r.subjects[0].key), [str(i) for i in r.subjects[0].identifiers]) for r in records(found)] == [
        ("msteams:u1", ["email:ann@customer.example"]), ("msteams:u3", []),
    ]  # fmt: skip
    assert [s.role for s in records(found)[0].segments] == [Role.SUBJECT, Role.STAFF]
    assert skips(found) == {"internal_sender": 1}


def test_a_users_list_by_itself_tells_of_people() -> None:
    """For messages that lie loose beside it; they have the same keys."""
    assert is_detected(READER, source(USERS))
    found = read(READER, USERS, replace(OPTIONS, internal_domains=frozenset({"acme.example"})))
    assert (keys(found), texts(found), skips(found)) == (["msteams:u1"], [""], {"internal_sender": 1})


def test_bad_messages_cost_only_themselves() -> None:
    found = read(READER, [7, message(1, 5), {"MessageType": "message"}, message(4, "<p>ok</p>", Reactions="?")])
    assert [position for position, _ in rejections(found)] == ["message 1", "message 2", "message 3"]
    assert texts(found) == ["Ann: ok"]
    with pytest.raises(UnreadableFile):
        read(READER, zipped({"x.json": {}}))


FOLDER = "msteams/zulip__zulip/zerver/tests/fixtures/microsoft_teams_fixtures"


@needs_real_files
def test_real_channel_and_chat() -> None:
    """A channel of two messages and three system rows, a chat of one and one."""
    for pattern, expected, system in (
        ("TeamsDataExport/teams/*/*.json", 2, 3),
        ("TeamsData_ZulipChat/users/*/*.json", 1, 1),
    ):
        (path,) = real(f"{FOLDER}/{pattern}")
        assert is_detected(READER, source(path.read_bytes()))
        found = read(READER, path.read_bytes())
        assert (units(found), skips(found), rejections(found)) == (expected, {"system_message": system}, [])


@needs_real_files
def test_real_export_as_a_zip() -> None:
    """The author of the chat is missing from the users list."""
    folder = Path(REAL or "", FOLDER, "TeamsData_ZulipChat")
    data = zipped({str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.json"))})
    assert is_detected(READER, source(data))
    (found,) = records(read(READER, data))
    assert (found.subjects[0].name, found.subjects[0].identifiers, found.units) == ("Will Begon", (), 1)
    (path,) = real(f"{FOLDER}/TeamsData_ZulipChat/users/usersList.json")
    assert all(record.subjects[0].identifiers for record in records(read(READER, path.read_bytes())))


def small(value: Any) -> Any:
    """With keys as Microsoft Graph answers."""
    if isinstance(value, list):
        return [small(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {f"{key[:1].lower()}{key[1:]}": small(each) for key, each in value.items()}


@pytest.mark.parametrize("bare", [True, False])
def test_what_microsoft_graph_answers_says_the_same(bare: bool) -> None:
    entries = [message(1, "<p>Hello</p>"), message(2, "Hi", "u9", "Guest"), message(3, "x", None)]
    answer = small(entries) if bare else {"@odata.context": "https://graph.example", "value": small(entries)}
    assert is_detected(READER, source(answer))
    found, usual = read(READER, answer), read(READER, entries)
    assert records(found) == records(usual)
    assert skips(found) == skips(usual) == {"system_message": 1}


def test_answers_inside_a_post_are_messages_too() -> None:
    post = small(message(1, "<p>Hello</p>"))
    post["replies"] = [small(message(2, "<p>Hi Ann</p>", "u2", "Sam", ReplyToId="1")), "no object"]
    found = read(READER, {"value": [post]})
    assert {record.text for record in records(found)} == {"Ann: Hello\nSam: Hi Ann"}
    assert [position for position, _ in rejections(found)] == ["message 3"]


def test_a_users_list_of_microsoft_graph() -> None:
    data = zipped({"users.json": {"value": small(USERS)}, "m.json": {"value": small([message(1, "Hello")])}})
    (ann,) = records(read(READER, data))
    assert ann.subjects[0].identifiers == (Identifier("email", "ann@customer.example"),)
