"""One row per call sent: opened before it as the budget's hold, closed with what it took."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from ingest_pipeline.llm.tables import LlmCallRow

PENDING, LOST = "pending", "lost"


@dataclass(frozen=True, slots=True)
class Call:
    """A call about to be sent. ``held_usd`` is the most it can cost."""

    id: str
    request_key: str
    purpose: str
    profile_id: str | None
    document_ids: tuple[str, ...]
    model: str
    attempt: int
    held_usd: float
    worker: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended. ``cost_usd`` None: unknown price. ``estimated``: no answer came, charged at the most."""

    name: str
    cost_usd: float | None = 0.0
    estimated: bool = False
    status_code: int | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    waited_s: float = 0.0
    latency_s: float = 0.0


def new_call_id() -> str:
    return str(uuid.uuid4())


def open_call(connection: Connection, call: Call, now: datetime) -> None:
    connection.execute(
        insert(LlmCallRow).values(
            id=call.id,
            request_key=call.request_key,
            purpose=call.purpose,
            profile_id=call.profile_id,
            document_id=call.document_ids[0] if call.document_ids else None,
            document_ids=list(call.document_ids) if len(call.document_ids) > 1 else None,
            model=call.model,
            attempt=call.attempt,
            outcome=PENDING,
            held_usd=call.held_usd,
            worker=call.worker,
            created_at=now,
        )
    )


def close_call(connection: Connection, call: Call, outcome: Outcome, now: datetime) -> float:
    """Returns the US dollars to add to what was spent."""
    closed = update(LlmCallRow).where(LlmCallRow.id == call.id)
    closed = closed.values(
        outcome=outcome.name,
        cost_usd=outcome.cost_usd,
        cost_estimated=outcome.estimated,
        status_code=outcome.status_code,
        input_tokens=outcome.input_tokens,
        cached_tokens=outcome.cached_tokens,
        output_tokens=outcome.output_tokens,
        waited_s=outcome.waited_s,
        latency_s=outcome.latency_s,
        finished_at=now,
    )
    cost = outcome.cost_usd or 0.0
    if connection.execute(closed.where(LlmCallRow.outcome == PENDING)).rowcount:
        return cost
    # Others took this worker for dead and charged the call already.
    charged = connection.execute(select(LlmCallRow.cost_usd).where(LlmCallRow.id == call.id)).scalar() or 0.0
    connection.execute(closed)
    return cost - charged


def mark_invalid(connection: Connection, call_id: str) -> None:
    """The answer turned out not to be usable."""
    connection.execute(update(LlmCallRow).where(LlmCallRow.id == call_id).values(outcome="invalid"))


def pending_workers(connection: Connection) -> set[str]:
    """The workers that have calls under way, dead ones included."""
    return set(connection.execute(select(LlmCallRow.worker).where(LlmCallRow.outcome == PENDING).distinct()).scalars())


def lose_calls(connection: Connection, workers: Sequence[str], now: datetime) -> float:
    """Close what dead workers had under way. Returns the US dollars to add: the most those calls can have cost."""
    lost = update(LlmCallRow).where(LlmCallRow.outcome == PENDING, LlmCallRow.worker.in_(workers))
    lost = lost.values(outcome=LOST, cost_usd=LlmCallRow.held_usd, cost_estimated=True, finished_at=now)
    return sum(connection.execute(lost.returning(LlmCallRow.held_usd)).scalars())
