"""One row per call sent: opened before it as the budget's hold, closed with what it took."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, bindparam, insert, select, text, update

from ingest_pipeline.llm.database import Transaction, given, new
from ingest_pipeline.llm.tables import LlmCallRow

PENDING, LOST = "pending", "lost"

_CALLS = cast(Table, LlmCallRow.__table__)
_NOTHING_YET: dict[str, Any] = {
    "cost_estimated": False,
    "input_tokens": 0,
    "cached_tokens": 0,
    "output_tokens": 0,
    "waited_s": 0.0,
    "latency_s": 0.0,
}
_OPENED = (
    *("id", "request_key", "purpose", "profile_id", "document_id", "document_ids", "model", "attempt", "outcome"),
    *("held_usd", "worker", "created_at", *_NOTHING_YET),
)
_CLOSED = ("outcome", "cost_usd", "status_code", "finished_at", *_NOTHING_YET)
_CALL = _CALLS.c.id == bindparam("row")
# Written out, so that the partial index on it is used.
_IS_PENDING = _CALLS.c.outcome == text("'pending'")
_OPEN = insert(_CALLS).values(new(_OPENED))
_CLOSE = update(_CALLS).where(_CALL).values(new(_CLOSED))
_CLOSE_PENDING = _CLOSE.where(_IS_PENDING)
_COST = select(_CALLS.c.cost_usd).where(_CALL)
_MARK = update(_CALLS).where(_CALL).values(new(["outcome"]))
_WORKERS = select(_CALLS.c.worker).where(_IS_PENDING).distinct()
_LOSE = (
    update(_CALLS)
    .where(_IS_PENDING, _CALLS.c.worker == bindparam("holder"))
    .values({**new(["outcome", "cost_estimated", "finished_at"]), "cost_usd": _CALLS.c.held_usd})
    .returning(_CALLS.c.held_usd)
)


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


def open_call(tx: Transaction, call: Call, now: datetime) -> None:
    values = given(
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
        **_NOTHING_YET,
    )
    tx.run(_OPEN, **values)


def close_call(tx: Transaction, call: Call, outcome: Outcome, now: datetime) -> float:
    """Returns the US dollars to add to what was spent."""
    values = given(
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
    if tx.count(_CLOSE_PENDING, row=call.id, **values):
        return cost
    # Others took this worker for dead and charged the call already.
    charged = tx.run(_COST, row=call.id)
    tx.run(_CLOSE, row=call.id, **values)
    return cost - float(charged[0][0] or 0.0) if charged else cost


def mark_invalid(tx: Transaction, call_id: str) -> None:
    """The answer turned out not to be usable."""
    tx.run(_MARK, row=call_id, **given(outcome="invalid"))


def pending_workers(tx: Transaction) -> set[str]:
    """The workers that have calls under way, dead ones included."""
    return {row[0] for row in tx.run(_WORKERS)}


def lose_calls(tx: Transaction, workers: Sequence[str], now: datetime) -> float:
    """Close what dead workers had under way. Returns the US dollars to add: the most those calls can have cost."""
    lost = given(outcome=LOST, cost_estimated=True, finished_at=now)
    return sum(float(row[0]) for worker in workers for row in tx.run(_LOSE, holder=worker, **lost))
