"""The answer cache: one row per request, one worker at a time to fill it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine

from ingest_pipeline.llm.cache import AnswerCache, Busy, CachedReply, Entry
from ingest_pipeline.llm.exchange import AnswerFormat, Message, ProviderReply, request_key
from ingest_pipeline.llm.settings import ModelSettings
from tests.scripted import PROFILE, Clients, Scripted, opened, question

NOW = datetime(2026, 11, 5, tzinfo=UTC)
MINE, THEIRS = Entry("k", "m", "me", PROFILE), Entry("k", "m", "you", PROFILE)


@pytest.fixture
def clients(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Clients]:
    yield from opened(engine, database_url, tmp_path)


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        yield connection


@pytest.fixture
def cache(engine: Engine) -> AnswerCache:
    return AnswerCache(engine.dialect.name)


def test_one_claims_and_the_others_wait(cache: AnswerCache, connection: Connection) -> None:
    assert cache.claim(connection, MINE, NOW) is None
    assert cache.claim(connection, THEIRS, NOW) == Busy("me")
    assert cache.find(connection, ["k"]) is None


def test_an_answer_is_there_for_all(cache: AnswerCache, connection: Connection) -> None:
    cache.claim(connection, MINE, NOW)
    cache.fill(connection, MINE, ProviderReply("text", "length", 10, 5), NOW)
    found = cache.claim(connection, THEIRS, NOW)
    assert isinstance(found, CachedReply)
    assert (found.reply.text, found.reply.finish_reason, found.model) == ("text", "length", "m")


def test_a_claim_is_given_up_or_taken_over_once(cache: AnswerCache, connection: Connection) -> None:
    cache.claim(connection, MINE, NOW)
    cache.release(connection, THEIRS)
    assert cache.claim(connection, THEIRS, NOW) == Busy("me"), "only the holder can release"
    assert cache.take_over(connection, THEIRS, "me")
    assert not cache.take_over(connection, Entry("k", "m", "third"), "me")
    cache.release(connection, THEIRS)
    assert cache.claim(connection, MINE, NOW) is None


def test_an_answered_row_is_neither_released_nor_taken_over(cache: AnswerCache, connection: Connection) -> None:
    cache.claim(connection, MINE, NOW)
    cache.fill(connection, MINE, ProviderReply("text", "stop", 1, 1), NOW)
    cache.release(connection, MINE)
    assert not cache.take_over(connection, THEIRS, "me")
    assert cache.find(connection, ["other", "k"]) is not None


def test_a_forgotten_answer_is_asked_for_again(cache: AnswerCache, connection: Connection) -> None:
    cache.claim(connection, MINE, NOW)
    cache.fill(connection, MINE, ProviderReply("bad", "stop", 1, 1), NOW)
    cache.forget(connection, ["k"])
    assert cache.claim(connection, THEIRS, NOW) is None


def test_the_first_key_that_has_an_answer_wins(cache: AnswerCache, connection: Connection) -> None:
    """Keys are in the order of the models: the primary one's answer is preferred."""
    for key in ("b", "a"):
        cache.fill(connection, Entry(key, key, "me"), ProviderReply(key, "stop", 1, 1), NOW)
    found = cache.find(connection, ["x", "a", "b"])
    assert found is not None
    assert found.reply.text == "a"


def test_threads_that_claim_at_once_get_one_claim(cache: AnswerCache, engine: Engine) -> None:
    def claim(n: int) -> bool:
        with engine.begin() as connection:
            return cache.claim(connection, Entry("k", "m", f"worker {n}"), NOW) is None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(24))) == 1


MESSAGES = (Message("user", "hi"),)
MODEL = ModelSettings("m")


@pytest.mark.parametrize(
    ("model", "messages", "answer_format", "same"),
    [
        (ModelSettings("m", timeout_s=9, max_output_tokens=4_096), MESSAGES, None, True),
        (ModelSettings("other"), MESSAGES, None, False),
        (ModelSettings("m", api_base="http://x"), MESSAGES, None, False),
        (ModelSettings("m", temperature=None), MESSAGES, None, False),
        (ModelSettings("m", max_output_tokens=5), MESSAGES, None, False),
        (MODEL, (Message("user", "hi "),), None, False),
        (MODEL, (Message("assistant", "hi"),), None, False),
        (MODEL, MESSAGES, AnswerFormat("a", {"type": "object"}), False),
    ],
)
def test_a_key_holds_everything_that_decides_the_answer(
    model: ModelSettings, messages: tuple[Message, ...], answer_format: AnswerFormat | None, same: bool
) -> None:
    """And nothing that does not, such as time-outs and limits."""
    assert (request_key(model, messages, answer_format) == request_key(MODEL, MESSAGES, None)) is same


def test_rows_belong_to_the_profile_that_was_asked_about(clients: Clients) -> None:
    """So that forgetting a person can erase the answers about them."""
    clients(Scripted()).complete(question())
    ((profile, state),) = clients.rows("profile_id, state", "llm_cache")
    assert str(profile).replace("-", "") == PROFILE.replace("-", "")
    assert state == "answered"


def test_a_failed_request_leaves_no_claim(clients: Clients) -> None:
    with pytest.raises(RuntimeError):
        clients(Scripted([RuntimeError("broken")])).complete(question())
    assert clients.rows("key", "llm_cache") == []
