"""What proxied calls take of the shared limits and the budget."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select

from ingest_pipeline.llm.errors import RateWaitTooLong
from ingest_pipeline.llm.gcra import Rates
from ingest_pipeline.llm.limiter import Limiter
from ingest_pipeline.llm.limits import LimitsDb, Worker, open_limits
from ingest_pipeline.llm.tables import LlmBudgetRow, LlmCallRow
from ingest_pipeline.proxy.accounts import MAX_AHEAD_S, Accounts
from ingest_pipeline.proxy.errors import NoRoom, UpstreamFailed
from ingest_pipeline.proxy.request import ChatRequest
from ingest_pipeline.proxy.upstream import Upstream
from ingest_pipeline.settings import Settings
from ingest_pipeline.store.engine import reading

PROFILE = "6f1c9a52-0a0e-4d0b-9b61-3f5b1d6d7c11"
OURS = Upstream("openai", "http://a.example/v1", SecretStr("k"), is_extractions=True)
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}


def chat(text: str = "x" * 40, **more: Any) -> ChatRequest:
    return ChatRequest({"model": "m", "messages": [{"role": "user", "content": text}], **more}, "ana")


class Opened:
    """The accounts, and the limiter that extraction has."""

    def __init__(self, engine: Engine, home: Path, **settings: Any) -> None:
        given: dict[str, Any] = {
            "model": "openai/m",
            "api_base": "http://a.example/v1",
            "rpm": 600,
            "tpm": 1_000_000,
        } | settings
        url = engine.url.render_as_string(hide_password=False)
        self.settings = Settings(home=home, database_url=url, **given)
        self.engine = engine
        self.accounts = Accounts(self.settings, engine)
        self._db = LimitsDb(open_limits(self.settings.limits_url))
        self._worker = Worker(self._db)
        rates = Rates(self.settings.rpm, self.settings.tpm, self.settings.max_concurrency)
        self.extraction = Limiter(self._db, self._worker, "openai/m at http://a.example/v1", rates)

    def calls(self) -> list[Any]:
        with reading(self.engine) as connection:
            return list(connection.execute(select(LlmCallRow.__table__).order_by(LlmCallRow.created_at)))

    def spent(self) -> float:
        with reading(self.engine) as connection:
            return float(connection.execute(select(LlmBudgetRow.spent_usd)).scalar() or 0.0)

    def close(self) -> None:
        self.accounts.close()
        self._worker.close()
        self._db.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def opened(engine: Engine, home: Path) -> Iterator[Opened]:
    opened = Opened(engine, home, budget_usd=1.0, prices={"openai/m": {"input": 10, "output": 20, "cached_input": 5}})
    yield opened
    opened.close()


def test_an_answered_call_costs_what_the_upstream_says(opened: Opened) -> None:
    ticket = opened.accounts.open(OURS, chat(), PROFILE)
    assert ticket is not None
    assert [call.outcome for call in opened.calls()] == ["pending"]
    opened.accounts.answered(ticket, USAGE, 0)
    (call,) = opened.calls()
    assert (call.purpose, call.outcome, call.model, call.profile_id) == ("proxy", "ok", "openai/m", PROFILE)
    assert (call.input_tokens, call.cached_tokens, call.output_tokens) == (100, 40, 10)
    assert call.cost_usd == pytest.approx((60 * 10 + 40 * 5 + 10 * 20) / 1e6)
    assert not call.cost_estimated
    assert opened.spent() == pytest.approx(call.cost_usd)


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": "many"}, [1]])
def test_without_usage_tokens_are_estimated(opened: Opened, usage: Any) -> None:
    """An event of a stream is about a token."""
    ticket = opened.accounts.open(OURS, chat("x" * 400), PROFILE)
    assert ticket is not None
    opened.accounts.answered(ticket, usage, 25)
    (call,) = opened.calls()
    assert (call.input_tokens, call.output_tokens) == (101, 25)


def test_callers_with_a_key_of_their_own_are_not_accounted(opened: Opened) -> None:
    assert opened.accounts.open(Upstream("openai", key=SecretStr("k"), is_callers=True), chat(), PROFILE) is None
    assert opened.calls() == []


@pytest.mark.parametrize(
    ("failure", "outcome", "limiter"),
    [
        (UpstreamFailed(429, "slow down", None, "30"), "rate_limited", "blocked"),
        (UpstreamFailed(429, "no credit", "insufficient_quota"), "quota", "stopped"),
        (UpstreamFailed(500, "oops"), "server_error", "failing"),
        (UpstreamFailed(504, "too slow"), "server_error", "failing"),
        (UpstreamFailed(401, "no"), "auth", "stopped"),
        (UpstreamFailed(400, "no"), "bad_request", ""),
    ],
)
def test_a_failed_call_costs_nothing_and_tells_those_who_share_the_limit(
    opened: Opened, failure: UpstreamFailed, outcome: str, limiter: str
) -> None:
    ticket = opened.accounts.open(OURS, chat(), PROFILE)
    assert ticket is not None
    opened.accounts.failed(ticket, failure)
    (call,) = opened.calls()
    assert (call.outcome, call.status_code, call.cost_usd) == (outcome, failure.status, 0.0)
    state = opened.extraction.state()
    told = {"blocked": state.blocked_until > state.at, "failing": state.failures == 1, "stopped": bool(state.stop_code)}
    assert [name for name, is_so in told.items() if is_so] == ([limiter] if limiter else [])


def test_a_call_that_was_broken_off_is_charged_at_the_most_it_can_cost(opened: Opened) -> None:
    ticket = opened.accounts.open(OURS, chat(), PROFILE)
    assert ticket is not None
    opened.accounts.lost(ticket)
    (call,) = opened.calls()
    assert (call.outcome, call.cost_usd, call.cost_estimated) == ("lost", call.held_usd, True)
    assert opened.spent() == pytest.approx(call.held_usd)


def test_while_the_provider_has_us_wait_nothing_is_sent(opened: Opened) -> None:
    first, second = (opened.accounts.open(OURS, chat(), PROFILE) for _ in range(2))
    assert first is not None
    assert second is not None
    opened.accounts.failed(first, UpstreamFailed(429, "slow down", None, "30"))
    with pytest.raises(NoRoom) as refused:
        opened.accounts.open(OURS, chat(), PROFILE)
    assert refused.value.code == "rate_limited"
    assert 28 < refused.value.retry_after_s <= 30
    elsewhere = opened.accounts.open(Upstream("openai", key=SecretStr("k")), chat(), PROFILE)
    assert elsewhere is not None
    opened.accounts.failed(second, UpstreamFailed(401, "no"))
    with pytest.raises(UpstreamFailed) as repeated:
        opened.accounts.open(OURS, chat(), PROFILE)
    assert repeated.value.status == 401
    assert len(opened.calls()) == 3


def test_a_call_goes_at_once_and_those_who_queue_wait_longer(engine: Engine, home: Path) -> None:
    """However much a bulk sync has booked, up to a minute ahead."""
    opened = Opened(engine, home, rpm=60)
    booked = [opened.accounts.open(OURS, chat(), PROFILE) for _ in range(10)]
    assert all(booked)
    with pytest.raises(RateWaitTooLong) as waits:
        opened.extraction.acquire(10, max_wait_s=1.0)
    assert 8 < waits.value.retry_after_s <= 10.5
    for _ in range(int(MAX_AHEAD_S)):
        opened.extraction.push_in(10, 1_000)
    with pytest.raises(NoRoom) as refused:
        opened.accounts.open(OURS, chat(), PROFILE)
    assert refused.value.code == "rate_limited"
    opened.close()


def test_a_budget_is_never_overspent(opened: Opened) -> None:
    """Calls are held at the most that they can cost, over all threads."""
    tickets: list[Any] = []
    refusals: list[str] = []

    def ask() -> None:
        try:
            tickets.append(opened.accounts.open(OURS, chat(max_tokens=10_000), PROFILE))
        except NoRoom as refused:
            refusals.append(refused.code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tickets) == 4  # of 0.2 dollars and a little each
    assert refusals == ["budget_exhausted"] * 4
    for ticket in tickets:
        opened.accounts.answered(ticket, {"prompt_tokens": 10, "completion_tokens": 10_000}, 0)
    with pytest.raises(NoRoom, match="raise INGEST_BUDGET_USD"):
        opened.accounts.open(OURS, chat(max_tokens=20_000), PROFILE)
    assert opened.spent() <= 1.0


@pytest.mark.parametrize("limit", [10**400, -1, "all", True, None])
def test_numbers_from_outside_do_no_harm(opened: Opened, limit: Any) -> None:
    request = chat(max_tokens=limit, n=10**400 if limit is None else None)
    try:
        ticket = opened.accounts.open(Upstream("openai", key=SecretStr("k")), request, PROFILE)
    except NoRoom:
        assert opened.calls() == []
    else:
        assert ticket is not None
        opened.accounts.answered(ticket, {"prompt_tokens": 10**400, "completion_tokens": 1e30}, 3)
        assert opened.calls()[0].outcome == "ok"
