"""The Slack reader: one record per person, conversation and day; every message is in one of them or counted."""

import io
import json
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Identifier, Item, Record, Rejected, Role, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import Export, ReadOptions, SourceFile
from ingest_pipeline.sources.conversation import Excerpts, Turn
from ingest_pipeline.sources.json_stream import converted
from ingest_pipeline.sources.slack import READER, Message
from ingest_pipeline.sources.slack_text import Names, message_text

USERS = [
    {"id": "U1", "team_id": "T", "name": "ann", "real_name": "Ann Lee", "profile": {"email": "Ann@Example.org"}},
    {"id": "U2", "team_id": "T", "name": "bo", "profile": {"display_name": "Bo"}},
    {"id": "U3", "team_id": "T", "name": "staff", "real_name": "Sue", "profile": {"email": "sue@acme.com"}},
    {"id": "B1", "team_id": "T", "name": "robot", "is_bot": True},
]
CHANNELS = [{"id": "C1", "name": "general"}]
DAY = "general/2024-01-01.json"


def message(user: str, text: str, seconds: int, **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": f"17041{seconds:05d}.000100", **more}


def archive(members: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return stream.getvalue()


def source(data: bytes) -> SourceFile:
    return SourceFile("slack.zip", len(data), 0.0, lambda: io.BytesIO(data))


def read_zip(data: bytes, *internal: str) -> list[Item]:
    options = ReadOptions(internal_domains=frozenset(internal))
    return list(READER.read(Export("slack", Source.CHAT, (source(data),)), options))


def read(messages: list[Any], *internal: str) -> list[Item]:
    return read_zip(archive({"users.json": USERS, "channels.json": CHANNELS, DAY: messages}), *internal)


def records(items: list[Item]) -> list[Record]:
    return [item for item in items if isinstance(item, Record)]


def test_record_of_a_person_and_day() -> None:
    """Their messages with up to two turns before and one after, each span with its speaker."""
    found = read(
        [message("U2", f"before {n}", n) for n in range(3)]
        + [message("U1", "mine\ntoo", 3, thread_ts="1.1"), message("U1", "more", 4)]
        + [message("U2", f"after {n}", n) for n in range(5, 9)]
    )
    ann = next(record for record in records(found) if record.native_id.endswith("U1"))
    assert ann.text == "Bo: before 1\nBo: before 2\nAnn Lee: mine\ntoo\nAnn Lee: more\nBo: after 5"
    spans = [(ann.text[s.start : s.end], s.role, s.speaker) for s in ann.segments]
    assert spans == [
        ("before 1", Role.OTHER, "Bo"),
        ("before 2", Role.OTHER, "Bo"),
        ("mine\ntoo", Role.SUBJECT, "Ann Lee"),
        ("more", Role.SUBJECT, "Ann Lee"),
        ("after 5", Role.OTHER, "Bo"),
    ]
    assert (ann.native_id, ann.units, ann.position, ann.kind) == ("T/C1/2024-01-01/U1", 2, DAY, "conversation_day")
    assert ann.segments[2].native_id == "1704100003.000100"
    assert ann.segments[2].occurred_at == datetime(2024, 1, 1, 9, 6, 43, 100, tzinfo=UTC)
    assert ann.occurred_at == ann.segments[3].occurred_at
    assert ann.metadata == {
        "team": "T",
        "channel": "general",
        "channel_id": "C1",
        "channel_kind": "channel",
        "day": "2024-01-01",
        "message_ids": ["1704100003.000100", "1704100004.000100"],
        "threads": ["1.1"],
    }


def test_person() -> None:
    """Native key, real name before display name, e-mail when the profile shows one."""
    ann, bo = (record.subjects[0] for record in records(read([message("U1", "a", 1), message("U2", "b", 2)])))
    assert (ann.key, ann.namespace, ann.name) == (Identifier("slack", "T/U1"), "slack:T", "Ann Lee")
    assert ann.identifiers == (Identifier("email", "ann@example.org"),)
    assert (bo.name, bo.identifiers) == ("Bo", ())


def test_windows_that_do_not_touch_are_set_apart() -> None:
    """Turns between them are nobody's business."""
    turns = [Turn("a" if n in {0, 9} else "b", "A" if n in {0, 9} else "B", str(n), str(n), None) for n in range(10)]
    text, segments = Excerpts(turns).about([0, 9])
    assert text == "A: 0\nB: 1\n\nB: 7\nB: 8\nA: 9"
    assert [text[s.start : s.end] for s in segments] == ["0", "1", "7", "8", "9"]


def test_quoted_lines_prove_nothing() -> None:
    """A line quoted in a message is in the text, and in no segment."""
    [found] = records(read([message("U1", "&gt; theirs\nmine\n&gt; theirs\nmine too", 1)]))
    assert [found.text[s.start : s.end] for s in found.segments] == ["mine", "mine too"]


def test_staff_are_context_only() -> None:
    """Staff by e-mail domain: no record, counted, and marked in the records of others."""
    found = read([message("U3", "Hi, how can I help?", 1), message("U1", "It broke", 2)], "acme.com")
    [ann] = records(found)
    assert [s.role for s in ann.segments] == [Role.STAFF, Role.SUBJECT]
    assert Skipped("slack.zip", "internal_sender", 1) in found


def test_the_administrators_domain_is_staffs() -> None:
    """Unless anybody can have an address there; the folder may name others."""
    admin = {"id": "U4", "name": "boss", "is_admin": True, "profile": {"email": "boss@acme.com"}}
    owner = {"id": "U5", "name": "own", "is_owner": True, "profile": {"email": "own@gmail.com"}}
    members = {
        "users.json": [*USERS, admin, owner],
        DAY: [message(user, "x", 1 + int(user[1])) for user in ("U1", "U3", "U5")],
    }
    found = read_zip(archive(members))
    assert [record.subjects[0].key.value for record in records(found)] == ["T/U1", "T/U5"]
    assert Skipped("slack.zip", "internal_sender", 1) in found
    data = archive({"users.json": USERS, DAY: [message("U2", "x", 1)]})
    options = ReadOptions(staff=frozenset({"bo"}))
    assert records(list(READER.read(Export("slack", Source.CHAT, (source(data),)), options))) == []


def test_reactions_are_counted() -> None:
    """One per person."""
    found = read([message("U1", "a", 1, reactions=[{"name": "x", "users": ["U2", "U3"], "count": 2}])])
    assert Skipped("slack.zip", "reaction", 2) in found


def test_parts_that_are_not_as_expected_do_not_cost_the_message() -> None:
    """The text field then holds it; a number that JSON does not have, neither."""
    day = json.dumps(
        [message("U1", "words", 1, blocks=[{"type": 5}], files="?"), message("U1", "more", 2, x=float("nan"))]
    )
    found = read_zip(archive({"users.json": USERS, DAY: day.encode()}))
    assert [record.text for record in records(found)] == ["Ann Lee: words\nAnn Lee: more"]


def test_a_day_knows_how_far_it_goes() -> None:
    """So that a shorter export of it does not replace a longer one; implausible times do not count."""
    (found,) = records(read([message("U1", "a", 1), message("U1", "b", 2), message("U1", "c", 3, ts="99999999999.0")]))
    assert found.modified_at == found.segments[1].occurred_at
    assert [s.occurred_at is None for s in found.segments] == [False, False, True]
    (found,) = records(read([message("U1", "a", 1)]))
    assert found.modified_at == found.occurred_at


NOISE = [
    ({"subtype": "bot_message", "bot_id": "B", "text": "x", "ts": "1.1"}, "bot_message"),
    (message("B1", "x", 1), "bot_message"),
    (message("USLACKBOT", "x", 1), "bot_message"),
    (message("U1", "x", 1, bot_id="B9"), "bot_message"),
    (message("U1", "x has joined", 1, subtype="channel_join"), "channel_join"),
    (message("U1", "deleted", 1, subtype="tombstone"), "tombstone"),
    (message("U1", "x", 1, subtype="file_comment"), "file_comment"),
    (message("U1", "uploaded a file", 1, subtype="file_share", file={}), "file_share"),
    (message("U1", "", 1), "empty"),
    ({"type": "reminder"}, "not_a_message"),
]


@pytest.mark.parametrize(("entry", "reason"), NOISE, ids=lambda value: value if isinstance(value, str) else "")
def test_noise_is_counted(entry: dict[str, Any], reason: str) -> None:
    """By subtype; it makes no record and is no context."""
    found = read([entry, message("U2", "words", 2)])
    assert Skipped("slack.zip", reason, 1) in found
    assert [record.text for record in records(found)] == ["Bo: words"]


@pytest.mark.parametrize(
    "more", [{"subtype": "me_message"}, {"subtype": "thread_broadcast"}, {"subtype": "file_share", "files": []}]
)
def test_subtypes_with_words_of_a_person(more: dict[str, Any]) -> None:
    """They are messages like any other."""
    assert [record.text for record in records(read([message("U1", "words", 1, **more)]))] == ["Ann Lee: words"]


def test_a_reply_is_found_on_its_own_day_whatever_its_thread() -> None:
    """In a later day's file than the message it answers, or with a time before it; the root that a broadcast repeats
    is nobody's second message."""
    root = message("U2", "root", 10, thread_ts="1704100010.000100", reply_count=2)
    broadcast = {"subtype": "thread_broadcast", "thread_ts": root["ts"], "root": root}
    days = {
        DAY: [message("U1", "before", 5, thread_ts=root["ts"]), root],
        "general/2024-01-09.json": [message("U1", "later", 90_000, **broadcast)],
    }
    found = records(read_zip(archive({"users.json": USERS, "channels.json": CHANNELS, **days})))
    own = [[r.text[s.start : s.end] for s in r.segments if s.role is Role.SUBJECT] for r in found]
    assert own == [["before"], ["root"], ["later"]]
    assert {tuple(record.metadata["threads"]) for record in found} == {(root["ts"],)}


TEXTS = [
    ({"text": "<@U1> see <#C1|general> and <https://x.org|the docs>"}, "@Ann see #general and the docs"),
    ({"text": "<@U9|guest> <#C1> <https://x.org> <!here> <!subteam^S1|@team> <mailto:a@b.org|a@b.org>"},
     "@guest #general https://x.org @here @team a@b.org"),
    ({"text": "1 &lt; 2 &amp;&amp; 3 &gt; 2 &amp;lt;"}, "1 < 2 && 3 > 2 &lt;"),
    ({"text": "a\x00b\ud800"}, "ab?"),
    ({"text": None}, ""),
    (
        {
            "text": "fallback",
            "blocks": [
                {
                    "type": "rich_text",
                    "elements": [
                        {
                            "type": "rich_text_section",
                            "elements": [
                                {"type": "text", "text": "Hi "},
                                {"type": "user", "user_id": "U1"},
                                {"type": "text", "text": " 1 < 2 "},
                                {"type": "link", "url": "https://x.org", "text": "docs"},
                                {"type": "emoji", "name": "tada", "unicode": "1f389"},
                                {"type": "emoji", "name": "own"},
                                {"type": "channel", "channel_id": "C1"},
                                {"type": "broadcast", "range": "here"},
                            ],
                        },
                        {
                            "type": "rich_text_list",
                            "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "item"}]}],
                        },
                        {"type": "rich_text_quote", "elements": [{"type": "text", "text": "a\nb"}]},
                    ],
                }
            ],
        },
        "Hi @Ann 1 < 2 docs🎉:own:#general@here\n- item\n> a\n> b",
    ),
    ({"text": "fallback", "blocks": [{"type": "section", "text": {"text": "app"}}]}, "fallback"),
    ({"text": "fallback", "blocks": [{"type": "rich_text", "elements": "?"}]}, "fallback"),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "text"), TEXTS)
def test_message_text(entry: dict[str, Any], text: str) -> None:
    """Blocks when they render, else the text field; references read as in Slack."""
    found = converted(entry, Message)
    assert isinstance(found, Message)
    assert message_text(found.blocks, found.text, Names({"U1": "Ann"}, {"C1": "general"})) == text


def test_unlisted_users_work() -> None:
    """A guest whom users.json does not hold, with and without a profile on the message."""
    found = read([message("U8", "a", 1, user_profile={"real_name": "Gus"}, user_team="T2"), message("U9", "b", 2)])
    gus, other = (record.subjects[0] for record in records(found))
    assert (gus.key, gus.name) == (Identifier("slack", "T2/U8"), "Gus")
    assert (other.key, other.name) == (Identifier("slack", "T/U9"), None)


def test_all_kinds_of_conversation_and_a_folder_around_them() -> None:
    """Channels, groups, multi-person and direct messages; the day is the file's, and the archive may have a root."""
    data = archive(
        {
            "export/users.json": USERS,
            "export/dms.json": [{"id": "D1", "members": ["U1", "U2"]}],
            "export/mpims.json": [{"id": "G2", "name": "mpdm-x"}],
            "export/groups.json": [{"id": "G1", "name": "secret"}],
            **{
                f"export/{name}/2024-01-01.json": [message("U1", "a", 1)] for name in ("D1", "mpdm-x", "secret", "gone")
            },
        }
    )
    found = {(r.metadata["channel_id"], r.metadata["channel_kind"]) for r in records(read_zip(data))}
    assert found == {("D1", "dm"), ("G2", "mpim"), ("G1", "group"), ("gone", "channel")}


def test_users_without_messages_create_nobody() -> None:
    """The directory alone says nothing about a person."""
    assert records(read([])) == []


BAD_MEMBERS = {
    "not valid JSON": b"{broken",
    "a JSON list was expected": b"{}",
    "JSON nested too deeply": b"[" * 200_000,
}


@pytest.mark.parametrize("reason", BAD_MEMBERS)
def test_a_bad_day_is_rejected_alone(reason: str) -> None:
    """By its member's name; other days go on."""
    data = archive({"users.json": USERS, DAY: BAD_MEMBERS[reason], "general/2024-01-02.json": [message("U1", "a", 1)]})
    found = read_zip(data)
    assert Rejected("slack.zip", DAY, reason) in found
    assert len(records(found)) == 1


def test_bad_entries_are_rejected_alone() -> None:
    """A message without a time, or something that is no message."""
    found = read(
        [{"type": "message", "user": "U1", "text": "x"}, 7, message("U1", "a", 1), message("U1", "b", 2, ts="soon")]
    )
    assert [item.position for item in found if isinstance(item, Rejected)] == [
        f"{DAY}, message 1",
        f"{DAY}, message 2",
        f"{DAY}, message 4",
    ]
    assert len(records(found)) == 1


def test_broken_user_list() -> None:
    """It is rejected, and the messages are read with the ids as names."""
    found = read_zip(archive({"users.json": b"[", DAY: [message("U1", "a", 1)]}))
    assert found[0] == Rejected("slack.zip", "users.json", "not valid JSON")
    [record] = records(found)
    assert (record.text, record.subjects[0].key) == ("U1: a", Identifier("slack", "unknown/U1"))


def test_repeated_messages_count_once() -> None:
    """The id is the ts, unique within a channel."""
    found = read([message("U1", "a", 1), message("U1", "a", 1)])
    assert records(found)[0].units == 1
    assert Skipped("slack.zip", "duplicate", 1) in found


def test_other_zips() -> None:
    """They are not detected; one without days and users is unreadable."""
    assert READER.detect(source(b""), b"") is False
    tables = archive({"Contact.csv": b"Id\n"})
    assert READER.detect(source(tables), tables) is False
    with pytest.raises(UnreadableFile):
        read_zip(tables)
    cut_off = archive({"channels.json": CHANNELS, DAY: []})[:200]
    assert READER.detect(source(cut_off), cut_off)
    with pytest.raises(UnreadableFile):
        read_zip(cut_off)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "user", "text", "ts", "subtype", "blocks", "elements", "files"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)
MESSAGES = st.builds(message, st.sampled_from(["U1", "U2", "U3", "U9"]), st.text(max_size=20), st.integers(0, 9_999))


@given(st.lists(MESSAGES | JSON, max_size=12))
def test_every_message_is_accounted_for(entries: list[Any]) -> None:
    """Records, skips and rejections add up; all segments lie in the text and hold the right speaker's words."""
    found = read(entries, "acme.com")
    units = sum(1 if isinstance(item, Rejected) else item.units for item in found)
    assert units == len(entries)
    for record in records(found):
        for segment in record.segments:
            assert 0 <= segment.start < segment.end <= len(record.text)
            assert record.text[: segment.start].endswith((f"{segment.speaker}: ", "\n"))


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """As an archive and as a member: only the documented outcomes."""
    READER.detect(source(data), data)
    with pytest.raises(UnreadableFile):
        read_zip(data)
    for item in read_zip(archive({"users.json": data, DAY: data})):
        assert isinstance(item, Record | Rejected | Skipped)


REAL = os.environ.get("INGEST_REAL_FIXTURES")


@pytest.mark.skipif(not REAL, reason="INGEST_REAL_FIXTURES is not set")
def test_real_export() -> None:
    """158 messages of 2016: 49 by people, 94 by bots, 4 people in 2 channels."""
    path = next(Path(REAL or "", "slack").rglob("testarchive.zip"))
    data = path.read_bytes()
    assert READER.detect(source(data), data[:65_536])
    found = read_zip(data)
    skipped = {item.reason: item.units for item in found if isinstance(item, Skipped)}
    assert sum(record.units for record in records(found)) == 49
    assert skipped == {"bot_message": 94, "channel_join": 8, "bot_add": 3, "file_share": 3, "file_comment": 1}
    assert not any(isinstance(item, Rejected) for item in found)
    assert len({record.subjects[0].key for record in records(found)}) == 4
    assert {record.metadata["channel"] for record in records(found)} == {"enrique", "traveling-sailor"}
