"""The budget: what was spent, what is held for calls under way, and whether one more fits.

spent + held + what the call may cost at most <= budget        → hold it
spent        + what the call may cost at most <= budget        → wait until others are settled
otherwise                                                      → BudgetExhausted
"""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from ingest_pipeline.llm.errors import BudgetExhausted
from ingest_pipeline.llm.tables import LlmBudgetRow, LlmCallRow


@dataclass(frozen=True, slots=True)
class Held:
    """Only holds stand in the way: worth waiting."""


class Budget:
    """Rows of ``llm_budget`` on a given connection; its transactions are the caller's."""

    def __init__(self, dialect: str, budget_usd: float | None) -> None:
        self._insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
        self.budget_usd = budget_usd

    def admit(self, connection: Connection, period: str, model: str, needed_usd: float) -> Held | None:
        """None when the call may be held. Locks the period until the transaction ends. Raises BudgetExhausted."""
        if self.budget_usd is None:
            return None
        self.spend(connection, period, 0.0)
        spent = connection.execute(select(LlmBudgetRow.spent_usd).where(LlmBudgetRow.period == period)).scalar_one()
        if spent + needed_usd > self.budget_usd:
            raise BudgetExhausted(model, spent, self.budget_usd, needed_usd)
        pending = select(func.coalesce(func.sum(LlmCallRow.held_usd), 0.0)).where(LlmCallRow.outcome == "pending")
        held = connection.execute(pending).scalar_one()
        return Held() if spent + held + needed_usd > self.budget_usd else None

    def spend(self, connection: Connection, period: str, cost_usd: float) -> None:
        row = self._insert(LlmBudgetRow).values(period=period, spent_usd=cost_usd)
        connection.execute(
            row.on_conflict_do_update(
                index_elements=["period"], set_={"spent_usd": LlmBudgetRow.spent_usd + row.excluded.spent_usd}
            )
        )

    def spent(self, connection: Connection, period: str) -> float:
        query = select(LlmBudgetRow.spent_usd).where(LlmBudgetRow.period == period)
        return connection.execute(query).scalar() or 0.0
