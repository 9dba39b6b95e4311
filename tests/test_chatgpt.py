"""The ChatGPT reader: the branch last seen, the owner's words, answers as clipped context."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipeline.documents import Identifier, Role
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.assistants import MAX_CONTEXT_CHARS
from ingest_pipeline.sources.chatgpt import READER
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

START = 1704880800.0
USER = {"id": "user-abc", "email": "Kim@X.example", "chatgpt_plus_user": True, "phone_number": None}


def node(name: str, parent: str | None, role: str, *parts: Any, **more: Any) -> dict[str, Any]:
    content = {"content_type": "text", "parts": list(parts), **more.pop("content", {})}
    at = START + int(name.strip("nx") or 0)
    return {"id": name, "parent": parent, "message": {
        "id": f"m-{name}", "author": {"role": role}, "create_time": at, "content": content, **more,
    }}  # fmt: skip


def conversation(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    mapping = {"root": {"id": "root", "parent": None, "message": None}} | {each["id"]: each for each in nodes}
    return {"title": "T", "create_time": START, "mapping": mapping, "conversation_id": "c1", **more}


def export(*conversations: Any) -> bytes:
    return zipped({"user.json": USER, "conversations.json": list(conversations), "message_feedback.json": [{}]})


def test_a_conversation() -> None:
    """The owner's words are evidence, the assistant's context; both with ids and times."""
    data = export(conversation(node("n1", "root", "user", "I live in Lisbon."), node("n2", "n1", "assistant", "Nice!")))
    assert is_detected(READER, source(data))
    (found,) = records(read(READER, data))
    assert found.text == "User: I live in Lisbon.\nAssistant: Nice!"
    assert [(s.role, s.native_id) for s in found.segments] == [(Role.SUBJECT, "m-n1"), (Role.ASSISTANT, "m-n2")]
    assert (found.subjects[0].key, found.subjects[0].identifiers) == (
        Identifier("chatgpt", "user-abc"), (Identifier("email", "kim@x.example"),),
    )  # fmt: skip
    assert (found.native_id, found.occurred_at) == ("c1/2024-01-10/m-n1", datetime(2024, 1, 10, 10, 0, 1, tzinfo=UTC))
    assert found.position == "conversations.json, conversation 1, message 2"


def test_the_branch_that_was_last_seen() -> None:
    """Edited prompts are on others, which are counted."""
    nodes = [
        node("n1", "root", "user", "frist"), node("n2", "root", "user", "first"), node("n3", "n2", "assistant", "a"),
        node("n4", "n2", "assistant", "b"),
    ]  # fmt: skip
    found = read(READER, [conversation(*nodes, current_node="n4")])
    assert texts(found) == ["User: first\nAssistant: b"]
    assert skips(found) == {"assistant": 1, "inactive_branch": 2}


@pytest.mark.parametrize("current", [None, "gone"])
def test_without_a_usable_current_node(current: str | None) -> None:
    """The last message that nobody answered ends the branch."""
    nodes = [node("n1", "root", "user", "old"), node("n2", "root", "user", "a"), node("n3", "n2", "user", "b")]
    assert texts(read(READER, [conversation(*nodes, current_node=current)])) == ["User: a\nUser: b"]


def test_trees_that_are_none() -> None:
    """Missing parents and circles end the walk."""
    circle = conversation(node("n1", "n2", "user", "a"), node("n2", "n1", "user", "b"), current_node="n2")
    orphan = conversation(node("n3", "gone", "user", "c"), conversation_id="c2")
    found = read(READER, [circle, orphan, conversation(conversation_id="c3"), {"mapping": {}, "id": "c4"}])
    assert texts(found) == ["User: a\nUser: b", "User: c"]
    assert rejections(found) == []


NOT_TALK = [
    (node("n1", "root", "system", "You are"), "system_message"),
    (node("n1", "root", "tool", "result"), "tool_output"),
    (node("n1", "root", "assistant", "x", content={"content_type": "code"}), "tool_output"),
    (
        node("n1", "root", "assistant", content={"content_type": "thoughts", "thoughts": [{"content": "x"}]}),
        "tool_output",
    ),
    (node("n1", "root", "user", "x", metadata={"is_visually_hidden_from_conversation": True}), "system_message"),
    (node("n1", "root", "user", {"content_type": "image_asset_pointer"}), "empty"),
]


@pytest.mark.parametrize(("entry", "reason"), NOT_TALK)
def test_what_is_nobodys_talk(entry: dict[str, Any], reason: str) -> None:
    found = read(READER, [conversation(entry, node("n2", "n1", "user", "words"))])
    assert (texts(found), skips(found)) == (["User: words"], {reason: 1})


def test_spoken_words_are_words() -> None:
    parts = [
        {"content_type": "audio_transcription", "text": "Hello", "direction": "in"},
        {"content_type": "audio_asset"},
        "x",
    ]
    entry = node("n1", "root", "user", *parts, content={"content_type": "multimodal_text"})
    assert texts(read(READER, [conversation(entry)])) == ["User: Hello\nx"]


def test_long_answers_are_clipped() -> None:
    """To their beginning and their end."""
    answer = "begin " + "x" * 5_000 + " end?"
    (text,) = texts(
        read(READER, [conversation(node("n1", "root", "assistant", answer), node("n2", "n1", "user", "yes"))])
    )
    assert len(text) < MAX_CONTEXT_CHARS + 50
    assert text.startswith("Assistant: begin")
    assert text.endswith("end?\nUser: yes")


def test_custom_instructions_are_one_record() -> None:
    """However many conversations repeat them; dated by the first."""
    about = {"user_context_message_data": {"about_user_message": "I am a nurse."}}
    shown = node("n1", "root", "user", "profile", content={"content_type": "user_editable_context"}, metadata=about)
    talks = [
        conversation(shown, node("n2", "n1", "user", "hi"), conversation_id=f"c{n}", create_time=START - n)
        for n in range(3)
    ]
    found = read(READER, talks)
    (instructions,) = [r for r in records(found) if r.kind == "custom_instructions"]
    assert (instructions.text, instructions.occurred_at) == ("I am a nurse.", datetime.fromtimestamp(START - 2, UTC))
    assert [s.role for s in instructions.segments] == [Role.SUBJECT]
    assert skips(found) == {"custom_instructions": 3}


def test_missing_times_are_those_before() -> None:
    first, second = node("n1", "root", "user", "a", create_time=None), node("n2", "n1", "user", "b", create_time="soon")
    (found,) = records(read(READER, [conversation(first, second)]))
    assert found.occurred_at == datetime.fromtimestamp(START, UTC)


def test_whose_account_it_is() -> None:
    """The zip's or the folder's where no user.json says it; one beside the file is about the same account."""
    talk = [conversation(node("n1", "root", "user", "hi"))]
    assert keys(read(READER, zipped({"conversations.json": talk}), name="chat/kim.zip")) == ["chatgpt:chat/kim"]
    assert keys(read(READER, talk, name="chat/kim/conversations.json")) == ["chatgpt:chat/kim"]
    assert keys(read(READER, talk, name="chat/kim.json")) == ["chatgpt:chat/kim"]
    assert is_detected(READER, source(USER))
    (beside,) = records(read(READER, USER, name="chat/kim/user.json"))
    assert (beside.text, beside.subjects[0].same_as) == ("", (Identifier("chatgpt", "chat/kim"),))
    assert beside.subjects[0].identifiers == (Identifier("email", "kim@x.example"),)


def test_an_employees_account_is_counted_only() -> None:
    options = replace(OPTIONS, internal_domains=frozenset({"x.example"}))
    found = read(READER, export(conversation(node("n1", "root", "user", "hi"))), options)
    assert (records(found), skips(found)) == ([], {"internal_sender": 1})


def test_bad_conversations_cost_only_themselves() -> None:
    found = read(
        READER,
        [7, {"mapping": 5}, {"mapping": {"a": {"parent": 5}}}, conversation(node("n1", "root", "user", "ok"), title=5)],
    )
    assert [position for position, _ in rejections(found)] == ["conversation 1", "conversation 2", "conversation 3"]
    assert texts(found) == ["User: ok"]
    with pytest.raises(UnreadableFile):
        read(READER, zipped({"x.json": {}}))


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["parts", "text"]), inner, max_size=2),
    max_leaves=6,
)
CONTENT = st.fixed_dictionaries({"parts": st.lists(JSON, max_size=2)})
MESSAGE = st.fixed_dictionaries({"author": st.just({"role": "user"}), "content": CONTENT})
NODE = st.fixed_dictionaries(
    {}, optional={"parent": st.none() | st.sampled_from("abcd"), "message": st.none() | MESSAGE}
)


@given(st.dictionaries(st.sampled_from("abcd"), NODE, max_size=4), st.none() | st.sampled_from("abcd"))
def test_any_tree(mapping: dict[str, Any], current: str | None) -> None:
    """Every message is in a record or counted."""
    found = read(READER, [{"mapping": mapping, "current_node": current, "id": "c"}])
    messages = sum(1 for each in mapping.values() if each.get("message"))
    assert units(found) + sum(skips(found).values()) == messages


@needs_real_files
def test_real_conversations() -> None:
    """Two with six messages, three of them the person's, as a file and in a zip."""
    for path in real("chatgpt/quentinous__chatgpt-export-studio/examples/*"):
        assert is_detected(READER, source(path.read_bytes()))
        found = read(READER, path.read_bytes(), name=f"chat/{path.name}")
        assert (units(found), skips(found), rejections(found)) == (3, {"assistant": 3}, [])
        assert [r.metadata["conversation_id"] for r in records(found)] == ["conv-001", "conv-002"]
        assert records(found)[0].occurred_at == datetime.fromtimestamp(1704067400, UTC)
