"""The answer cache: one row per request, one worker at a time to fill it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ingest_pipeline.llm import cache
from ingest_pipeline.llm.cache import Busy, CachedReply, Entry
from ingest_pipeline.llm.database import Database, Transaction
from ingest_pipeline.llm.exchange import AnswerFormat, Message, ProviderReply, request_key
from ingest_pipeline.llm.settings import ModelSettings
from tests.scripted import PROFILE, Clients, Scripted, opened, question

NOW = datetime(2026, 11, 5, tzinfo=UTC)
MINE, THEIRS = Entry("k", "m", "me", PROFILE), Entry("k", "m", "you", PROFILE)


@pytest.fixture
def clients(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Clients]:
    yield from opened(engine, database_url, tmp_path)


@pytest.fixture
def tx(engine: Engine) -> Iterator[Transaction]:
    with Database(engine).write() as tx:
        yield tx


def test_one_claims_and_the_others_wait(tx: Transaction) -> None:
    assert cache.claim(tx, MINE, NOW) is None
    assert cache.claim(tx, THEIRS, NOW) == Busy("me")
    assert cache.find(tx, ["k"]) is None


def test_an_answer_is_there_for_all(tx: Transaction) -> None:
    cache.claim(tx, MINE, NOW)
    cache.fill(tx, MINE, ProviderReply("text", "length", 10, 5), NOW)
    found = cache.claim(tx, THEIRS, NOW)
    assert isinstance(found, CachedReply)
    assert (found.reply.text, found.reply.finish_reason, found.model) == ("text", "length", "m")


def test_a_claim_is_given_up_or_taken_over_once(tx: Transaction) -> None:
    cache.claim(tx, MINE, NOW)
    cache.release(tx, THEIRS)
    assert cache.claim(tx, THEIRS, NOW) == Busy("me"), "only the holder can release"
    assert cache.take_over(tx, THEIRS, "me")
    assert not cache.take_over(tx, Entry("k", "m", "third"), "me")
    cache.release(tx, THEIRS)
    assert cache.claim(tx, MINE, NOW) is None


def test_an_answered_row_is_neither_released_nor_taken_over(tx: Transaction) -> None:
    cache.claim(tx, MINE, NOW)
    cache.fill(tx, MINE, ProviderReply("text", "stop", 1, 1), NOW)
    cache.release(tx, MINE)
    assert not cache.take_over(tx, THEIRS, "me")
    assert cache.find(tx, ["other", "k"]) is not None


def test_a_forgotten_answer_is_asked_for_again(tx: Transaction) -> None:
    cache.claim(tx, MINE, NOW)
    cache.fill(tx, MINE, ProviderReply("bad", "stop", 1, 1), NOW)
    cache.forget(tx, ["k"])
    assert cache.claim(tx, THEIRS, NOW) is None


def test_an_answer_whose_claim_was_erased_is_not_kept(tx: Transaction) -> None:
    """The call was under way when the person that it asked about was erased."""
    cache.claim(tx, MINE, NOW)
    cache.release(tx, MINE)
    cache.fill(tx, MINE, ProviderReply("text", "stop", 1, 1), NOW)
    assert cache.find(tx, ["k"]) is None


def test_the_first_key_that_has_an_answer_wins(tx: Transaction) -> None:
    """Keys are in the order of the models: the primary one's answer is preferred."""
    for key in ("b", "a"):
        cache.claim(tx, Entry(key, key, "me"), NOW)
        cache.fill(tx, Entry(key, key, "me"), ProviderReply(key, "stop", 1, 1), NOW)
    found = cache.find(tx, ["x", "a", "b"])
    assert found is not None
    assert found.reply.text == "a"


def test_threads_that_claim_at_once_get_one_claim(engine: Engine) -> None:
    database = Database(engine)

    def claim(n: int) -> bool:
        with database.write() as tx:
            return cache.claim(tx, Entry("k", "m", f"worker {n}"), NOW) is None

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
