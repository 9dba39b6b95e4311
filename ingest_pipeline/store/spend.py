"""What was spent on each day."""

from datetime import date, timedelta

from sqlalchemy import Engine, select

from ingest_pipeline.llm.tables import LlmBudgetRow
from ingest_pipeline.store.engine import reading


def load_spend(engine: Engine, last: date, days: int) -> dict[date, float]:
    """US dollars on each of the ``days`` days up to ``last``, in UTC, oldest first."""
    wanted = [last - timedelta(n) for n in reversed(range(days))]
    query = select(LlmBudgetRow.period, LlmBudgetRow.spent_usd)
    with reading(engine) as connection:
        rows = connection.execute(query.where(LlmBudgetRow.period.in_([one.isoformat() for one in wanted])))
        spent = {row.period: row.spent_usd for row in rows}
    return {one: float(spent.get(one.isoformat(), 0.0)) for one in wanted}
