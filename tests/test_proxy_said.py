"""What a conversation says: which words are evidence, which are known already."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select

from ingest_pipeline.documents import Role
from ingest_pipeline.proxy.said import Said, message_text, read_said
from ingest_pipeline.store.conversations import find_new, load_unextracted, save_said
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.tables import DocumentRow

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def user(text: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def assistant(text: str | None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def evidence(said: Said) -> list[str]:
    return [said.text[s.start : s.end] for s in said.segments if s.role is Role.SUBJECT]


def test_each_message_of_the_users_is_a_document_with_the_turns_before_it_as_context() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        user("I moved."),
        assistant("Where to?"),
        user([{"type": "text", "text": "Lisbon"}, {"type": "image_url", "image_url": {"url": "x"}}]),
    ]
    first, second = read_said("ana", messages)
    assert (first.text, evidence(first), first.now) == ("I moved.", ["I moved."], False)
    assert second.text == "User: I moved.\nAssistant: Where to?\nUser: Lisbon"
    assert (evidence(second), second.now) == (["Lisbon"], True)
    assert [s.role for s in second.segments] == [Role.ASSISTANT, Role.SUBJECT]


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([user("")], []),
        ([user(" \n ")], []),
        ([user([{"type": "image_url", "image_url": {"url": "x"}}])], []),
        ([user("> I live in Oslo\n> they said")], []),
        ([user("> where?\nIn Lisbon.\n> since when?\nMay.")], [["In Lisbon.", "May."]]),
        ([user("a", name="ana"), user("b", name="ana")], [["a"], ["b"]]),
        ([user("a", name="ana"), user("b", name="bo")], []),
        ([user("a\u0000b\ud800")], [["a\ufffdb\ufffd"]]),
        ([{"role": "tool", "content": "I live in Oslo"}, user("a")], [["a"]]),
        ([user("a"), user("a")], [["a"], ["a"]]),
    ],
)
def test_what_is_evidence(messages: list[Any], found: list[list[str]]) -> None:
    assert [evidence(said) for said in read_said("ana", messages)] == found


def test_long_answers_are_shortened_in_the_context() -> None:
    (said,) = read_said("ana", [assistant("x" * 5_000), user("yes")])
    assert len(said.text) < 1_000
    assert evidence(said) == ["yes"]


@pytest.mark.parametrize(
    ("messages", "now"),
    [
        ([user("a")], [True]),
        ([user("a"), user("b")], [True, True]),
        ([user("a"), assistant("b")], [False]),
        ([user("a"), assistant(None, tool_calls=[{}]), {"role": "tool", "content": "x"}], [False]),
        ([user("a"), assistant(None, tool_calls=[{}]), {"role": "tool", "content": "x"}, user("b")], [False, True]),
    ],
)
def test_what_nobody_answered_yet_is_said_now(messages: list[Any], now: list[bool]) -> None:
    """While tools are called, a message has been answered."""
    assert [said.now for said in read_said("ana", messages)] == now


def test_texts_are_the_text_parts() -> None:
    parts = [
        {"type": "text", "text": "a"},
        {"type": "text", "text": 5},
        {"type": "file"},
        {"type": "text", "text": "b"},
    ]
    assert message_text(user(parts)) == "a\nb"
    assert message_text(assistant(None)) == ""


def store(engine: Engine, profile: str, said: list[Said], metadata: dict[str, Any], now: datetime) -> list[str]:
    return save_said(engine, profile, find_new(engine, said), metadata, now)


def stored(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        query = select(DocumentRow.text).order_by(DocumentRow.occurred_at, DocumentRow.text)
        return [text.rpartition("User: ")[2] for text in connection.execute(query).scalars()]


def test_what_was_said_before_comes_in_with_the_first_request(engine: Engine) -> None:
    """In its order, just before what is said now; each as pending, of source direct."""
    profile = create_profile(engine, "ana")
    messages = [user("a"), assistant("?"), user("b"), assistant("?"), user("c")]
    new = store(engine, profile, read_said("ana", messages), {"model": "m"}, NOW)
    assert stored(engine) == ["a", "b", "c"]
    assert [document for _, document in load_unextracted(engine, "f", 10)] == new
    with reading(engine) as connection:
        row = connection.execute(select(DocumentRow.__table__).order_by(DocumentRow.occurred_at.desc())).first()
    assert row is not None
    assert (row.source, row.origin, row.state, row.occurred_at, row.given_to) == (
        *("direct", "llm_proxy", "pending", NOW),
        profile,
    )
    assert row.metadata == {"model": "m"}


@pytest.mark.parametrize(
    ("second", "new"),
    [
        ([user("by phone")], []),  # the same request
        ([user("by phone"), assistant("ok"), user("by mail")], ["by mail"]),
        ([user("hi"), assistant("how?"), user("by phone")], ["by phone", "hi"]),  # said again, after something else
        ([user("By phone")], ["By phone"]),
        ([user("by phone"), assistant(None, tool_calls=[{}])], []),
    ],
)
def test_only_what_is_new_is_stored(engine: Engine, second: list[Any], new: list[str]) -> None:
    profile = create_profile(engine, "ana")
    store(engine, profile, read_said("ana", [user("by phone")]), {}, NOW)
    before = stored(engine)
    store(engine, profile, read_said("ana", second), {}, NOW)
    after = stored(engine)
    for text in before:
        after.remove(text)
    assert sorted(after) == new


def test_two_users_may_say_the_same(engine: Engine) -> None:
    for name in ("ana", "bo"):
        store(engine, create_profile(engine, name), read_said(name, [user("hi")]), {}, NOW)
    assert stored(engine) == ["hi", "hi"]


def test_nothing_is_kept_of_a_profile_that_is_gone(engine: Engine) -> None:
    assert store(engine, "6f1c9a52-0a0e-4d0b-9b61-3f5b1d6d7c11", read_said("x", [user("a")]), {}, NOW) == []
    assert stored(engine) == []


@pytest.fixture(scope="module")
def one_engine(sqlite_template: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from ingest_pipeline.store.engine import open_engine

    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('said') / 'p.db'}")
    yield engine
    engine.dispose()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.tuples(st.text("abc", min_size=1), st.text("xyz", min_size=1)), min_size=1, max_size=12),
    window=st.integers(2, 30),
    times=st.integers(1, 2),
)
def test_a_conversation_in_any_window_is_stored_once(
    one_engine: Engine, words: list[tuple[str, str]], window: int, times: int
) -> None:
    """Message by message, each request sent once or twice, with as much of the beginning as the application keeps.

    What comes is what was said: never anything twice, and all that was not said before after the same turn.
    """
    profile = create_profile(one_engine, "ana")
    with one_engine.begin() as connection:
        connection.execute(delete(DocumentRow))
    conversation: list[Any] = []
    expected: set[tuple[str, str]] = set()
    for said, answered in words:
        expected.add((conversation[-1]["content"] if conversation else "", said))
        conversation.append(user(said))
        for _ in range(times):
            store(one_engine, profile, read_said("ana", conversation[-window:]), {}, NOW)
        conversation.append(assistant(answered))
    assert sorted(stored(one_engine)) == sorted(said for _, said in expected)
