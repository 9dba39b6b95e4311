"""The rows of batches: requests and their outcomes, as they are stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, literal_column, select, update

from ingest_pipeline.llm.accounts import PENDING, Outcome
from ingest_pipeline.llm.batch_api import BatchAnswer, BatchStatus
from ingest_pipeline.llm.prices import Prices
from ingest_pipeline.llm.tables import LlmBatchItemRow, LlmBatchRow, LlmCallRow
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.upsert import batches

PRICE_SHARE = 0.5
"""Of the ordinary price; the same at all providers of ``batch_api.PROVIDERS`` that bill at all."""
ROWS = 500
"""In one statement."""
_NOT_REACHED = {"expired": "batch_expired", "cancelled": "batch_cancelled"}
IS_PENDING = LlmCallRow.outcome == literal_column("'pending'")
"""Spelled out, so that the partial index on it is used."""


def batch_prices(prices: Prices) -> Prices:
    cached = None if prices.cached_input is None else prices.cached_input * PRICE_SHARE
    return Prices(prices.input * PRICE_SHARE, prices.output * PRICE_SHARE, cached)


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One request: ``passages`` are [document id, start, end]. ``held_usd`` is the most it can cost."""

    key: str
    profile_id: str | None
    passages: tuple[tuple[str, int, int], ...]
    asked: tuple[str, ...]
    follow_up: bool
    held_usd: float
    line: bytes = b""
    call_id: str = ""
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """A row of ``llm_batches``."""

    id: str
    model: str
    fingerprint: str
    state: str
    worker: str
    file_id: str | None
    provider_id: str | None
    provider_state: str | None
    reason: str | None
    requests: int
    documents: int
    answered: int
    failed: int
    held_usd: float
    cost_usd: float | None
    created_at: datetime
    submitted_at: datetime | None
    collected_at: datetime | None


def load_batches(engine: Engine, *states: str) -> list[Batch]:
    """Batches in these states, oldest first."""
    query = select(LlmBatchRow.__table__).where(LlmBatchRow.state.in_(states)).order_by(LlmBatchRow.created_at)
    with reading(engine) as connection:
        return [Batch(**row._mapping) for row in connection.execute(query)]


def without(items: Sequence[BatchItem], keys: set[str]) -> list[BatchItem]:
    """The items without these, and without those that share a document with one that is left out."""
    left, lost = list(items), set(keys)
    while True:
        documents = {document for item in items if item.key in lost for document in item.asked}
        more = {item.key for item in left if item.key in lost or documents & set(item.asked)}
        if not more - lost:
            return [item for item in left if item.key not in lost]
        lost |= more


def item_row(batch_id: str, position: int, item: BatchItem) -> dict[str, Any]:
    return {
        "batch_id": batch_id,
        "key": item.key,
        "position": position,
        "call_id": item.call_id,
        "profile_id": item.profile_id,
        "passages": [list(passage) for passage in item.passages],
        "follow_up": item.follow_up,
        "outcome": None,
    }


def call_row(batch_id: str, model: str, item: BatchItem, now: datetime) -> dict[str, Any]:
    return {
        "id": item.call_id,
        "request_key": item.key,
        "purpose": "batch",
        "profile_id": item.profile_id,
        "document_id": item.asked[0],
        "document_ids": list(item.asked) if len(item.asked) > 1 else None,
        "model": model,
        "attempt": 1,
        "outcome": PENDING,
        "held_usd": item.held_usd,
        "worker": batch_id,
        "created_at": now,
    }


def closing(outcome: Outcome) -> dict[str, Any]:
    return {
        "outcome": outcome.name,
        "cost_usd": outcome.cost_usd,
        "cost_estimated": outcome.estimated,
        "status_code": outcome.status_code,
        "input_tokens": outcome.input_tokens,
        "cached_tokens": outcome.cached_tokens,
        "output_tokens": outcome.output_tokens,
    }


def outcome_of(held_usd: float, answer: BatchAnswer | None, status: BatchStatus, prices: Prices | None) -> Outcome:
    if answer is None:
        if status.state == "lost":
            return Outcome("lost", held_usd, True)
        return Outcome(_NOT_REACHED.get(status.state, "batch_failed"))
    if answer.reply is None:
        name = answer.failure.value if answer.failure else "server_error"
        expired = status.state == "expired" and name == "timeout"
        return Outcome("batch_expired" if expired else name, status_code=answer.status_code)
    reply = answer.reply
    name = {"length": "truncated", "content_filter": "refused"}.get(reply.finish_reason, "ok")
    cost = batch_prices(prices).cost(reply.input_tokens, reply.cached_tokens, reply.output_tokens) if prices else None
    if not answer.counted and prices:
        cost = held_usd
    return Outcome(
        name, cost, not answer.counted, 200, reply.input_tokens, reply.cached_tokens, reply.output_tokens
    )  # fmt: skip


def set_outcomes(connection: Connection, batch_id: str, outcomes: Mapping[str, Outcome]) -> None:
    keys: dict[str, list[str]] = {}
    for key, outcome in outcomes.items():
        keys.setdefault(outcome.name, []).append(key)
    for name, mine in keys.items():
        for part in batches(mine, ROWS):
            rows = (LlmBatchItemRow.batch_id == batch_id) & LlmBatchItemRow.key.in_(part)
            connection.execute(update(LlmBatchItemRow).where(rows).values(outcome=name))
