"""The transactions of a call: claim and hold before it, answer, settlement and cache entry after it.

Each is short and begins with a write, so that on SQLite it takes the write lock at once and cannot fail half-way.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Connection, Engine, select

from ingest_pipeline.llm import accounts
from ingest_pipeline.llm.accounts import Call, Outcome
from ingest_pipeline.llm.budget import Budget, Held
from ingest_pipeline.llm.cache import AnswerCache, Busy, CachedReply, Entry
from ingest_pipeline.llm.errors import IN_BATCH, CallFailed
from ingest_pipeline.llm.exchange import ProviderReply
from ingest_pipeline.llm.limits import LimitsDb, living_workers
from ingest_pipeline.llm.settings import BudgetPeriod
from ingest_pipeline.llm.tables import LlmBatchRow
from ingest_pipeline.store.engine import reading

UNDER_WAY = ("prepared", "uploaded", "submitted")
"""States of a batch that has not been settled yet."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The call is this caller's to make; it is held and accounted as pending."""


ClaimResult: TypeAlias = Claimed | CachedReply | Busy | Held


class _Refused(Exception):
    """Takes a claim back out of its transaction."""


class Ledger:
    """Used from several threads. ``now`` gives the time that rows are dated with."""

    def __init__(
        self,
        engine: Engine,
        limits: LimitsDb,
        budget_usd: float | None,
        period: BudgetPeriod,
        now: Callable[[], datetime],
    ) -> None:
        self._engine, self._limits, self._period, self._now = engine, limits, period, now
        self._cache = AnswerCache(engine.dialect.name)
        self._budget = Budget(engine.dialect.name, budget_usd)
        # SQLite has one writer; waiting here is fair and quick, waiting in SQLite is neither.
        is_sqlite = engine.dialect.name == "sqlite"
        self._mutex: AbstractContextManager[object] = threading.Lock() if is_sqlite else nullcontext()

    def find(self, keys: Sequence[str]) -> CachedReply | None:
        """The first answer there is for one of the keys."""
        with reading(self._engine) as connection:
            return self._cache.find(connection, keys)

    def claim(self, entry: Entry, call: Call) -> ClaimResult:
        """Claim the request, hold its cost and account the call, all or nothing. Raises BudgetExhausted."""
        now = self._now()
        try:
            with self._write() as connection:
                found = self._cache.claim(connection, entry, now)
                if found is not None:
                    return found
                self._hold(connection, call, now)
        except _Refused:
            return Held()
        return Claimed()

    def take_over(self, entry: Entry, busy: Busy, call: Call) -> ClaimResult:
        """As ``claim``, for a request that another worker claimed: Busy again while that worker lives.

        Raises CallFailed when a batch under way asks the same: that may take a day.
        """
        if busy.worker == entry.worker or busy.worker in living_workers(self._limits):
            return busy
        if self._in_batch(busy.worker):
            raise CallFailed(IN_BATCH, "a batch under way asks the same; `ingest batch poll` collects it")
        now = self._now()
        try:
            with self._write() as connection:
                if not self._cache.take_over(connection, entry, busy.worker):
                    return busy
                self._hold(connection, call, now)
        except _Refused:
            return Held()
        self.settle_lost()
        return Claimed()

    def close(self, call: Call, outcome: Outcome) -> None:
        """Account a call that brought no answer. The request stays claimed; ``reopen`` precedes its next call."""
        now = self._now()
        with self._write() as connection:
            self._close(connection, call, outcome, now)

    def reopen(self, following: Call) -> Held | None:
        """Open the next call of a request that is still claimed. Raises BudgetExhausted."""
        now = self._now()
        try:
            with self._write() as connection:
                self._hold(connection, following, now)
        except _Refused:
            return Held()
        return None

    def settle(self, entry: Entry, call: Call, outcome: Outcome, reply: ProviderReply) -> None:
        """The answer, what it cost and its cache entry, in one transaction."""
        now = self._now()
        with self._write() as connection:
            # First the cache row, then the budget's, in every transaction: PostgreSQL locks them in this order.
            self._cache.fill(connection, entry, reply, now)
            self._close(connection, call, outcome, now)

    def give_up(self, entry: Entry, call: Call | None, outcome: Outcome) -> None:
        """Close the call, if one is open, and let others claim the request."""
        now = self._now()
        with self._write() as connection:
            self._cache.release(connection, entry)
            if call is not None:
                self._close(connection, call, outcome, now)

    def mark_invalid(self, call_id: str) -> None:
        with self._write() as connection:
            accounts.mark_invalid(connection, call_id)

    def forget(self, keys: Sequence[str]) -> None:
        """Drop answers that are of no use, so that a later try asks again."""
        with self._write() as connection:
            self._cache.forget(connection, keys)

    def settle_lost(self) -> None:
        """Close what dead workers left under way, at the most it can have cost."""
        with reading(self._engine) as connection:
            workers = accounts.pending_workers(connection)
        dead = sorted(workers - living_workers(self._limits)) if workers else []
        dead = [worker for worker in dead if not self._in_batch(worker)]
        if not dead:
            return
        now = self._now()
        with self._write() as connection:
            cost = accounts.lose_calls(connection, dead, now)
            self._budget.spend(connection, self._period.key(now), cost)

    def spent_usd(self) -> float:
        """US dollars spent in the current period."""
        with reading(self._engine) as connection:
            return self._budget.spent(connection, self._period.key(self._now()))

    def _in_batch(self, worker: str) -> bool:
        """Whether the worker is a batch under way: its calls and claims are in its name, and live as long as it."""
        query = select(LlmBatchRow.id).where(LlmBatchRow.id == worker, LlmBatchRow.state.in_(UNDER_WAY))
        with reading(self._engine) as connection:
            return connection.execute(query).scalar() is not None

    def _hold(self, connection: Connection, call: Call, now: datetime) -> None:
        if self._budget.admit(connection, self._period.key(now), call.model, call.held_usd):
            raise _Refused
        accounts.open_call(connection, call, now)

    def _close(self, connection: Connection, call: Call, outcome: Outcome, now: datetime) -> None:
        cost = accounts.close_call(connection, call, outcome, now)
        if cost:
            self._budget.spend(connection, self._period.key(now), cost)

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with self._mutex, self._engine.begin() as connection:
            yield connection
