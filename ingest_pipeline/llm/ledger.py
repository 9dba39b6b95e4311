"""The transactions of a call: claim and hold before it, answer, settlement and cache entry after it.

Each is short and begins with a write, so that on SQLite it takes the write lock at once and cannot fail half-way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias, TypeVar

from sqlalchemy import Engine, bindparam, or_, select

from ingest_pipeline.llm import accounts, cache
from ingest_pipeline.llm.accounts import Call, Outcome
from ingest_pipeline.llm.budget import Budget, Held, spend, spent
from ingest_pipeline.llm.cache import Busy, CachedReply, Entry
from ingest_pipeline.llm.database import Database, TakenBack, Transaction
from ingest_pipeline.llm.errors import IN_BATCH, CallFailed
from ingest_pipeline.llm.exchange import ProviderReply
from ingest_pipeline.llm.limits import LimitsDb, living_workers
from ingest_pipeline.llm.settings import BudgetPeriod
from ingest_pipeline.llm.tables import LlmBatchRow

T = TypeVar("T")

UNDER_WAY = ("prepared", "uploaded", "submitted")
"""States of a batch that has not been settled yet."""

_IS_UNDER_WAY = or_(*(LlmBatchRow.state == state for state in UNDER_WAY))
_BATCH_UNDER_WAY = select(LlmBatchRow.id).where(LlmBatchRow.id == bindparam("row"), _IS_UNDER_WAY)


@dataclass(frozen=True, slots=True)
class Claimed:
    """The call is this caller's to make; it is held and accounted as pending."""


ClaimResult: TypeAlias = Claimed | CachedReply | Busy | Held


class _Refused(TakenBack):
    """The budget has no room for the call now."""


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
        self._limits, self._period, self._now = limits, period, now
        self._database = Database(engine)
        self._budget = Budget(budget_usd)

    def find(self, keys: Sequence[str]) -> CachedReply | None:
        """The first answer there is for one of the keys."""
        with self._database.read() as tx:
            return cache.find(tx, keys)

    def claim(self, entry: Entry, call: Call) -> ClaimResult:
        """Claim the request, hold its cost and account the call, all or nothing. Raises BudgetExhausted."""
        now = self._now()

        def work(tx: Transaction) -> ClaimResult:
            found = cache.claim(tx, entry, now)
            if found is not None:
                return found
            self._hold(tx, call, now)
            return Claimed()

        return self._unless_held(work)

    def take_over(self, entry: Entry, busy: Busy, call: Call) -> ClaimResult:
        """As ``claim``, for a request that another worker claimed: Busy again while that worker lives.

        Raises CallFailed when a batch under way asks the same: that may take a day.
        """
        if busy.worker == entry.worker or busy.worker in living_workers(self._limits):
            return busy
        if self._in_batch(busy.worker):
            raise CallFailed(IN_BATCH, "a batch under way asks the same; `ingest batch poll` collects it")
        now = self._now()

        def work(tx: Transaction) -> ClaimResult:
            if not cache.take_over(tx, entry, busy.worker):
                return busy
            self._hold(tx, call, now)
            return Claimed()

        result = self._unless_held(work)
        if isinstance(result, Claimed):
            self.settle_lost()
        return result

    def close(self, call: Call, outcome: Outcome) -> None:
        """Account a call that brought no answer. The request stays claimed; ``reopen`` precedes its next call."""
        now = self._now()
        self._database.commit(lambda tx: self._close(tx, call, outcome, now))

    def reopen(self, following: Call) -> Held | None:
        """Open the next call of a request that is still claimed. Raises BudgetExhausted."""
        now = self._now()
        return self._unless_held(lambda tx: self._hold(tx, following, now))

    def settle(self, entry: Entry, call: Call, outcome: Outcome, reply: ProviderReply) -> None:
        """The answer, what it cost and its cache entry, in one transaction."""
        now = self._now()

        def work(tx: Transaction) -> None:
            # First the cache row, then the budget's, in every transaction: PostgreSQL locks them in this order.
            cache.fill(tx, entry, reply, now)
            self._close(tx, call, outcome, now)

        self._database.commit(work)

    def give_up(self, entry: Entry, call: Call | None, outcome: Outcome) -> None:
        """Close the call, if one is open, and let others claim the request."""
        now = self._now()

        def work(tx: Transaction) -> None:
            cache.release(tx, entry)
            if call is not None:
                self._close(tx, call, outcome, now)

        self._database.commit(work)

    def mark_invalid(self, call_id: str) -> None:
        self._database.commit(lambda tx: accounts.mark_invalid(tx, call_id))

    def forget(self, keys: Sequence[str]) -> None:
        """Drop answers that are of no use, so that a later try asks again."""
        self._database.commit(lambda tx: cache.forget(tx, keys))

    def settle_lost(self) -> None:
        """Close what dead workers left under way, at the most it can have cost."""
        with self._database.read() as tx:
            workers = accounts.pending_workers(tx)
        dead = sorted(workers - living_workers(self._limits)) if workers else []
        dead = [worker for worker in dead if not self._in_batch(worker)]
        if not dead:
            return
        now = self._now()
        self._database.commit(lambda tx: spend(tx, self._period.key(now), accounts.lose_calls(tx, dead, now)))

    def spent_usd(self) -> float:
        """US dollars spent in the current period."""
        with self._database.read() as tx:
            return spent(tx, self._period.key(self._now()))

    def _in_batch(self, worker: str) -> bool:
        """Whether the worker is a batch under way: its calls and claims are in its name, and live as long as it."""
        with self._database.read() as tx:
            return bool(tx.run(_BATCH_UNDER_WAY, row=worker))

    def _unless_held(self, work: Callable[[Transaction], T]) -> T | Held:
        try:
            return self._database.commit(work)
        except _Refused:
            return Held()

    def _hold(self, tx: Transaction, call: Call, now: datetime) -> None:
        if self._budget.admit(tx, self._period.key(now), call.model, call.held_usd):
            raise _Refused
        accounts.open_call(tx, call, now)

    def _close(self, tx: Transaction, call: Call, outcome: Outcome, now: datetime) -> None:
        cost = accounts.close_call(tx, call, outcome, now)
        if cost:
            spend(tx, self._period.key(now), cost)
