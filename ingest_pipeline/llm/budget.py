"""The budget: what was spent, what is held for calls under way, and whether one more fits.

spent + held + what the call may cost at most <= budget        → hold it
spent        + what the call may cost at most <= budget        → wait until others are settled
otherwise                                                      → BudgetExhausted
"""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import Table, bindparam, func, select, text, update

from ingest_pipeline.llm.database import Transaction
from ingest_pipeline.llm.errors import BudgetExhausted
from ingest_pipeline.llm.tables import LlmBudgetRow, LlmCallRow

_BUDGET = cast(Table, LlmBudgetRow.__table__)
_CALLS = cast(Table, LlmCallRow.__table__)
_PERIOD = _BUDGET.c.period == bindparam("which")
_ADD = update(_BUDGET).where(_PERIOD).values(spent_usd=_BUDGET.c.spent_usd + bindparam("cost"))
_BEGIN = text("INSERT INTO llm_budget (period, spent_usd) VALUES (:which, 0) ON CONFLICT DO NOTHING")
_SPENT = select(_BUDGET.c.spent_usd).where(_PERIOD)
_HELD = select(func.coalesce(func.sum(_CALLS.c.held_usd), 0.0)).where(_CALLS.c.outcome == text("'pending'"))


@dataclass(frozen=True, slots=True)
class Held:
    """Only holds stand in the way: worth waiting."""


class Budget:
    """``budget_usd`` of a period; None = no budget. Its transactions are the caller's."""

    def __init__(self, budget_usd: float | None) -> None:
        self.budget_usd = budget_usd

    def admit(self, tx: Transaction, period: str, model: str, needed_usd: float) -> Held | None:
        """None when the call may be held. Locks the period until the transaction ends. Raises BudgetExhausted."""
        if self.budget_usd is None:
            return None
        spend(tx, period, 0.0)
        already = spent(tx, period)
        if already + needed_usd > self.budget_usd:
            raise BudgetExhausted(model, already, self.budget_usd, needed_usd)
        held = float(tx.run(_HELD)[0][0])
        return Held() if already + held + needed_usd > self.budget_usd else None


def spend(tx: Transaction, period: str, cost_usd: float) -> None:
    """Add to what was spent; 0 only locks the period."""
    if not tx.count(_ADD, which=period, cost=cost_usd):
        tx.run(_BEGIN, which=period)
        tx.run(_ADD, which=period, cost=cost_usd)


def spent(tx: Transaction, period: str) -> float:
    rows = tx.run(_SPENT, which=period)
    return float(rows[0][0]) if rows else 0.0
