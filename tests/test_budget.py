"""The budget: never exceeded, nearly all of it usable, and clear about what is missing."""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, update

from ingest_pipeline.llm.errors import BudgetExhausted, CallFailed, PricesMissing
from ingest_pipeline.llm.exchange import ProviderReply
from ingest_pipeline.llm.prices import Prices, estimate_tokens, most_tokens
from ingest_pipeline.llm.settings import BudgetPeriod, ModelSettings
from ingest_pipeline.llm.tables import LlmBudgetRow
from ingest_pipeline.llm.transport import FailureKind, ProviderCall, ProviderFailure
from tests.scripted import Clients, Scripted, opened, question, reply

SMALL = ModelSettings("m/one", prices=Prices(0.0, 1_000.0), max_output_tokens=100)
"""A call holds 0.10 dollars and costs a tenth of a cent per output token."""


@pytest.fixture
def clients(engine: Engine, database_url: str, tmp_path: Path) -> Iterator[Clients]:
    yield from opened(engine, database_url, tmp_path)


def test_spending_stops_before_the_budget_is_exceeded(clients: Clients) -> None:
    """95 % and more of it can be used; then the message has the figures."""
    client = clients(Scripted([reply("yes", used=(10, 50))]), models=(SMALL,), budget_usd=2.0)
    answered: list[int] = []

    def spend_it() -> None:
        for n in itertools.count():
            client.complete(question(str(n)))
            answered.append(n)

    with pytest.raises(BudgetExhausted) as stop:
        spend_it()
    spent = client.ledger.spent_usd()
    assert spent == pytest.approx(len(answered) * 0.05)
    assert 0.95 * 2.0 <= spent <= 2.0
    assert stop.value.needed_usd == pytest.approx(0.10)
    assert "INGEST_BUDGET_USD" in str(stop.value)


def test_many_threads_use_the_budget_up_and_never_exceed_it(clients: Clients) -> None:
    """When only holds are in the way they wait for each other's settlement, in two clients as in one."""
    spent_at_worst = []

    def answer(call: ProviderCall) -> ProviderReply:
        spent_at_worst.append(
            clients.rows(
                "SUM(held_usd), MIN(created_at) AS created_at, outcome",
                "llm_calls WHERE outcome = 'pending' GROUP BY outcome",
            )[0][0]
        )
        return reply("yes", used=(10, 30))

    both = [clients(Scripted([answer]), models=(SMALL,), budget_usd=1.0, sleep=time.sleep) for _ in range(2)]
    refused = threading.Event()

    def ask(n: int) -> None:
        try:
            both[n % 2].complete(question(str(n)))
        except BudgetExhausted:
            refused.set()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(60)))
    assert refused.is_set()
    assert max(spent_at_worst) <= 1.0 + 1e-9
    assert 0.9 <= both[0].ledger.spent_usd() <= 1.0 + 1e-9
    assert not clients.rows(table="llm_calls WHERE outcome = 'pending'")


def test_a_raised_budget_goes_on(clients: Clients) -> None:
    """And the failed request left no trace that would keep it from being asked."""
    transport = Scripted([reply("yes", used=(0, 100))])
    clients(transport, models=(SMALL,), budget_usd=0.1).complete(question("a"))
    with pytest.raises(BudgetExhausted):
        clients(transport, models=(SMALL,), budget_usd=0.1).complete(question("b"))
    assert clients(transport, models=(SMALL,), budget_usd=0.2).complete(question("b")).value == "yes"


def test_cached_answers_cost_nothing(clients: Clients) -> None:
    transport = Scripted([reply("yes", used=(0, 100))])
    client = clients(transport, models=(SMALL,), budget_usd=0.1)
    client.complete(question("a"))
    assert client.complete(question("a")).value == "yes"


def test_a_call_that_may_have_been_billed_is_charged_in_full(clients: Clients) -> None:
    """After a time-out nobody knows; a server error was not billed."""
    transport = Scripted([ProviderFailure(FailureKind.TIMEOUT, 408), ProviderFailure(FailureKind.SERVER_ERROR, 500)])
    client = clients(transport, models=(SMALL,), budget_usd=1.0, max_attempts=2)
    with pytest.raises(CallFailed):
        client.complete(question())
    assert client.ledger.spent_usd() == pytest.approx(0.1)
    assert clients.rows("outcome, cost_usd, cost_estimated") == [
        ("timeout", pytest.approx(0.1), True),
        ("server_error", 0.0, False),
    ]


def test_calls_of_a_dead_process_are_charged_and_free_their_hold(clients: Clients) -> None:
    """It may have sent them: the next start counts them as spent at the most they can have cost."""
    dead = clients(Scripted([KeyboardInterrupt()]), models=(SMALL,), budget_usd=0.25)
    dead.ledger.give_up = lambda *_: None  # type: ignore[method-assign]  # killed before it could clean up
    with pytest.raises(KeyboardInterrupt):
        dead.complete(question())
    dead._worker.close()
    client = clients(Scripted(), models=(SMALL,), budget_usd=0.25)
    assert client.complete(question()).value == "yes"
    assert clients.outcomes() == ["lost", "ok"]
    assert client.ledger.spent_usd() == pytest.approx(0.1 + 0.02)


def test_an_answer_that_arrives_after_all_is_charged_once(clients: Clients) -> None:
    """A process that others took for dead settles what it got; the charge becomes the true cost."""

    def taken_for_dead(call: ProviderCall) -> ProviderReply:
        client._worker.close()
        client.ledger.settle_lost()
        assert clients.outcomes() == ["lost"]
        return reply("yes", used=(0, 40))

    client = clients(Scripted([taken_for_dead]), models=(SMALL,), budget_usd=1.0)
    assert client.complete(question()).value == "yes"
    assert clients.outcomes() == ["ok"]
    assert client.ledger.spent_usd() == pytest.approx(0.04)


def test_a_budget_needs_prices(clients: Clients) -> None:
    """Said before the first call; without a budget an unknown price is no obstacle."""
    unknown = Scripted(known_prices=None)
    with pytest.raises(PricesMissing, match="m/one"):
        clients(unknown, budget_usd=1.0).check()
    clients(unknown).complete(question())
    assert clients.rows("cost_usd") == [(None,)]


@pytest.mark.parametrize(
    ("period", "key"),
    [(BudgetPeriod.TOTAL, "total"), (BudgetPeriod.MONTH, "2026-11"), (BudgetPeriod.DAY, "2026-11-05")],
)
def test_periods(period: BudgetPeriod, key: str) -> None:
    assert period.key(datetime(2026, 11, 5, tzinfo=UTC)) == key


def test_a_new_period_starts_from_nothing(clients: Clients) -> None:
    transport = Scripted([reply("yes", used=(0, 100))])
    fields = {"models": (SMALL,), "budget_usd": 0.1, "budget_period": BudgetPeriod.DAY}
    clients(transport, **fields).complete(question("a"))
    with clients.engine.begin() as connection:
        connection.execute(update(LlmBudgetRow).values(period="2001-01-01"))
    assert clients(transport, **fields).complete(question("b")).value == "yes"


def test_costs() -> None:
    prices = Prices(input=2.0, output=8.0, cached_input=0.5)
    assert prices.cost(1_000_000, 0, 0) == 2.0
    assert prices.cost(1_000_000, 400_000, 500_000) == pytest.approx(1.2 + 0.2 + 4.0)
    assert Prices(2.0, 8.0).cost(10, 10, 0) == pytest.approx(20e-6)


@given(st.text())
def test_token_estimates_stay_within_what_is_possible(text: str) -> None:
    """An estimate may be wrong, what is held may not be too little: a token is at least a byte."""
    assert estimate_tokens(text) > 0
    assert most_tokens(text) >= len(text)
