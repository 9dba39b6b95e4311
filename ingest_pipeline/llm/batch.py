"""Batches: many requests handed in together for half the price, answered within a day.

    prepare ─▶ upload ─▶ create ─▶ (a day, restarts) ─▶ retrieve ─▶ collect: answers, settlement, cache entries
    store       file id   batch id                                   one transaction, once

All that is known of a batch stands in the store before the next step is taken, under an id of ours that the provider
keeps as the batch's metadata. The requests are claimed and held in the batch's name, so that nobody else sends them.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ingest_pipeline.llm.accounts import LOST, new_call_id
from ingest_pipeline.llm.batch_api import BatchAnswer, BatchStatus
from ingest_pipeline.llm.batch_rows import (
    IS_PENDING,
    ROWS,
    Batch,
    BatchItem,
    call_row,
    closing,
    item_row,
    load_batches,
    outcome_of,
    set_outcomes,
    without,
)
from ingest_pipeline.llm.cache import ANSWERED, CLAIMED, ERASED
from ingest_pipeline.llm.errors import BudgetExhausted
from ingest_pipeline.llm.ledger import UNDER_WAY
from ingest_pipeline.llm.limits import LimitsDb, living_workers
from ingest_pipeline.llm.prices import Prices
from ingest_pipeline.llm.settings import BudgetPeriod
from ingest_pipeline.llm.tables import (
    LlmBatchDocumentRow,
    LlmBatchItemRow,
    LlmBatchRow,
    LlmBudgetRow,
    LlmCacheRow,
    LlmCallRow,
)
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.upsert import batches, select_in, upsert

Answers: TypeAlias = Mapping[str, BatchAnswer]
"""By request key."""


class _Raced(Exception):
    """Somebody claimed something in between."""


class BatchLedger:
    """The transactions of batches, in bulk. ``worker`` is this process; the budget is that of all calls."""

    def __init__(
        self,
        engine: Engine,
        limits: LimitsDb,
        worker: str,
        budget_usd: float | None,
        period: BudgetPeriod,
        now: Callable[[], datetime],
    ) -> None:
        self._engine, self._limits, self.worker = engine, limits, worker
        self._budget_usd, self._period, self.now = budget_usd, period, now

    def prepare(self, model: str, fingerprint: str, items: Sequence[BatchItem]) -> tuple[str, list[BatchItem]] | None:
        """Claim, hold and account as many of the requests as are free and fit the budget, whole documents only.

        Returns the batch's id and its items; None when there are none. Raises BudgetExhausted.
        """
        living = living_workers(self._limits)
        for _ in range(3):
            try:
                with self._engine.begin() as connection:
                    return self._prepare(connection, model, fingerprint, items, living)
            except _Raced:
                continue
        return None

    def _prepare(
        self, connection: Connection, model: str, fingerprint: str, items: Sequence[BatchItem], living: set[str]
    ) -> tuple[str, list[BatchItem]] | None:
        now, batch_id = self.now(), str(uuid.uuid4())
        free, dead = self._free(connection, items, living)
        self._claim(connection, batch_id, model, free, dead, now)
        chosen = self._fitting(connection, model, free, now)
        if not chosen:
            self._unclaim(connection, batch_id, {item.key for item in free})
            return None
        self._unclaim(connection, batch_id, {item.key for item in free} - {item.key for item in chosen})
        chosen = [replace(item, call_id=new_call_id()) for item in chosen]
        documents = sorted({document for item in chosen for document in item.asked})
        connection.execute(insert(LlmBatchRow).values(
            id=batch_id, model=model, fingerprint=fingerprint, state="prepared", worker=self.worker,
            requests=len(chosen), documents=len(documents), held_usd=sum(item.held_usd for item in chosen),
            answered=0, failed=0, created_at=now,
        ))  # fmt: skip
        connection.execute(insert(LlmBatchItemRow), [item_row(batch_id, n, item) for n, item in enumerate(chosen)])
        self._insert_new(
            connection,
            LlmBatchDocumentRow,
            "document_id",
            [{"document_id": d, "batch_id": batch_id} for d in documents],
        )
        connection.execute(insert(LlmCallRow), [call_row(batch_id, model, item, now) for item in chosen])
        return batch_id, chosen

    def _free(
        self, connection: Connection, items: Sequence[BatchItem], living: set[str]
    ) -> tuple[list[BatchItem], set[str]]:
        """The items that nobody else has in hand, nor another one of their documents; dead workers that had some."""
        documents = sorted({document for item in items for document in item.asked})
        column = LlmBatchDocumentRow.document_id
        claimed = {row.document_id for row in select_in(connection, select(column), column, documents)}
        query = select(LlmCacheRow.key, LlmCacheRow.state, LlmCacheRow.worker)
        found = list(select_in(connection, query, LlmCacheRow.key, [item.key for item in items]))
        workers = {row.worker for row in found if row.state == CLAIMED}
        under_way = select(LlmBatchRow.id).where(LlmBatchRow.state.in_(UNDER_WAY))
        dead = workers - living - set(connection.execute(under_way).scalars())
        busy = {row.key for row in found if row.state != CLAIMED or row.worker not in dead}
        return without(items, {item.key for item in items if item.key in busy or claimed & set(item.asked)}), dead

    def _fitting(
        self, connection: Connection, model: str, items: Sequence[BatchItem], now: datetime
    ) -> list[BatchItem]:
        """The items that the budget has room for, in order."""
        if self._budget_usd is None or not items:
            return list(items)
        # Locks the period until the transaction ends.
        spent = self._spend(connection, now, 0.0)
        least = min(item.held_usd for item in items)
        if spent + least > self._budget_usd:
            raise BudgetExhausted(model, spent, self._budget_usd, least)
        held = select(func.coalesce(func.sum(LlmCallRow.held_usd), 0.0)).where(IS_PENDING)
        room = self._budget_usd - spent - connection.execute(held).scalar_one()
        over = set()
        for item in items:
            room -= item.held_usd
            if room < 0:
                over.add(item.key)
        return without(items, over)

    def _claim(
        self,
        connection: Connection,
        batch_id: str,
        model: str,
        items: Sequence[BatchItem],
        dead: set[str],
        now: datetime,
    ) -> None:
        """As ``AnswerCache.claim``; what dead workers left is taken over."""
        left = (LlmCacheRow.state == CLAIMED) & LlmCacheRow.worker.in_(sorted(dead))
        for part in batches([item.key for item in items] if dead else [], ROWS):
            connection.execute(delete(LlmCacheRow).where(left, LlmCacheRow.key.in_(part)))
        rows = [
            {"key": item.key, "state": CLAIMED, "worker": batch_id, "model": model, "profile_id": item.profile_id,
             "created_at": now}
            for item in items
        ]  # fmt: skip
        self._insert_new(connection, LlmCacheRow, "key", rows)

    def _unclaim(self, connection: Connection, batch_id: str, keys: Iterable[str]) -> None:
        mine = (LlmCacheRow.state == CLAIMED) & (LlmCacheRow.worker == batch_id)
        for part in batches(sorted(keys), ROWS):
            connection.execute(delete(LlmCacheRow).where(mine, LlmCacheRow.key.in_(part)))

    def _insert_new(self, connection: Connection, table: Any, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        for part in batches(rows, ROWS):
            statement = make(table).values(part).on_conflict_do_nothing().returning(getattr(table, key))
            if len(connection.execute(statement).all()) < len(part):
                raise _Raced

    def advance(self, batch_id: str, before: str, **values: Any) -> bool:
        """Set columns of a batch in the given state. False when it is no longer in it."""
        mine = update(LlmBatchRow).where(LlmBatchRow.id == batch_id, LlmBatchRow.state == before)
        with self._engine.begin() as connection:
            return bool(connection.execute(mine.values(**values)).rowcount)

    def take(self, batch: Batch) -> bool:
        """Become the one who brings a batch further whose worker died. False while it lives or when another did."""
        if batch.worker == self.worker:
            return True
        if batch.worker in living_workers(self._limits):
            return False
        mine = (LlmBatchRow.id == batch.id, LlmBatchRow.state == batch.state, LlmBatchRow.worker == batch.worker)
        with self._engine.begin() as connection:
            return bool(connection.execute(update(LlmBatchRow).where(*mine).values(worker=self.worker)).rowcount)

    def abandon(self, batch_id: str, reason: str, *, lost: bool = False) -> bool:
        """End a batch before it began: its documents are free, its requests too. ``lost``: it may have begun and cost.

        False when it is not under way any more.
        """
        now = self.now()
        before = LlmBatchRow.state.in_(("prepared", "uploaded"))
        ended = update(LlmBatchRow).where(LlmBatchRow.id == batch_id, before)
        with self._engine.begin() as connection:
            if not connection.execute(ended.values(state="abandoned", reason=reason)).rowcount:
                return False
            keys = select(LlmBatchItemRow.key).where(LlmBatchItemRow.batch_id == batch_id)
            self._unclaim(connection, batch_id, connection.execute(keys).scalars())
            connection.execute(delete(LlmBatchDocumentRow).where(LlmBatchDocumentRow.batch_id == batch_id))
            mine = (LlmCallRow.worker == batch_id) & IS_PENDING
            held = select(func.coalesce(func.sum(LlmCallRow.held_usd), 0.0)).where(mine)
            cost = connection.execute(held).scalar_one() if lost else 0.0
            closed = update(LlmCallRow).where(mine).values(
                outcome=LOST if lost else "unsent", cost_usd=LlmCallRow.held_usd if lost else 0.0,
                cost_estimated=lost, finished_at=now,
            )  # fmt: skip
            connection.execute(closed)
            self._spend(connection, now, cost)
            return True

    def collect(self, batch: Batch, status: BatchStatus, answers: Answers, prices: Prices | None) -> bool:
        """Store answers, outcomes and costs of a batch that ended, all or nothing. False when somebody else did."""
        now = self.now()
        mine = (LlmBatchRow.id == batch.id, LlmBatchRow.state == "submitted")
        pending = select(LlmCallRow.id, LlmCallRow.request_key, LlmCallRow.profile_id, LlmCallRow.held_usd)
        pending = pending.where(LlmCallRow.worker == batch.id, IS_PENDING)
        with self._engine.begin() as connection:
            taken = update(LlmBatchRow).where(*mine).values(state="collected", worker=self.worker, collected_at=now)
            if not connection.execute(taken).rowcount:
                return False
            calls = connection.execute(pending).all()
            outcomes = {
                call.request_key: outcome_of(call.held_usd, answers.get(call.request_key), status, prices)
                for call in calls
            }
            # First the cache rows, then the budget's, as in every transaction.
            self._fill(connection, batch, {call.request_key: call.profile_id for call in calls}, answers, now)
            closed = update(LlmCallRow).where(LlmCallRow.__table__.c.id == bindparam("b_id"))
            rows = [{"b_id": call.id, "finished_at": now} | closing(outcomes[call.request_key]) for call in calls]
            if rows:
                connection.execute(closed.values({name: bindparam(name) for name in rows[0] if name != "b_id"}), rows)
            cost = sum(outcome.cost_usd or 0.0 for outcome in outcomes.values())
            self._spend(connection, now, cost)
            set_outcomes(connection, batch.id, outcomes)
            answered = sum(key in outcomes and answer.reply is not None for key, answer in answers.items())
            totals = {"answered": answered, "failed": len(calls) - answered, "cost_usd": cost if prices else None}
            ended = {"provider_state": status.state[:20], "reason": status.error and status.error[:80]}
            connection.execute(update(LlmBatchRow).where(LlmBatchRow.id == batch.id).values(**totals, **ended))
        return True

    def _fill(
        self, connection: Connection, batch: Batch, keys: Mapping[str, str | None], answers: Answers, now: datetime
    ) -> None:
        """Keep the answers that came, but for those about a person who was erased since; give up the other claims."""
        query = select(LlmCacheRow.key).where(~ERASED)
        claimed = {row.key for row in select_in(connection, query, LlmCacheRow.key, sorted(answers))}
        rows = [
            {
                "key": key, "profile_id": keys[key], "state": ANSWERED, "worker": batch.id, "model": batch.model,
                "answer": answer.reply.text, "finish_reason": answer.reply.finish_reason[:40], "created_at": now,
                "input_tokens": answer.reply.input_tokens, "output_tokens": answer.reply.output_tokens,
                "answered_at": now,
            }
            for key, answer in sorted(answers.items()) if key in keys and key in claimed and answer.reply is not None
        ]  # fmt: skip
        kept = ("state", "worker", "model", "answer", "finish_reason", "input_tokens", "output_tokens", "answered_at")
        upsert(connection, LlmCacheRow, rows, update=kept)
        self._unclaim(connection, batch.id, keys)

    def _spend(self, connection: Connection, now: datetime, cost_usd: float) -> float:
        """Add to what was spent in the period; returns that."""
        period = self._period.key(now)
        upsert(connection, LlmBudgetRow, [{"period": period, "spent_usd": cost_usd}], add=("spent_usd",))
        query = select(LlmBudgetRow.spent_usd).where(LlmBudgetRow.period == period)
        return float(connection.execute(query).scalar_one())

    def load(self, *states: str) -> list[Batch]:
        """Batches in these states, oldest first."""
        return load_batches(self._engine, *states)

    def items(self, batch_id: str) -> list[BatchItem]:
        """A batch's requests in the order they were handed in."""
        query = select(LlmBatchItemRow.__table__).where(LlmBatchItemRow.batch_id == batch_id)
        with reading(self._engine) as connection:
            return [
                BatchItem(
                    row.key, row.profile_id, tuple((d, s, e) for d, s, e in row.passages), (), row.follow_up, 0.0,
                    call_id=row.call_id, outcome=row.outcome,
                )
                for row in connection.execute(query.order_by(LlmBatchItemRow.position))
            ]  # fmt: skip

    def documents(self, batch_id: str) -> set[str]:
        """The documents whose outcome is still to be stored."""
        query = select(LlmBatchDocumentRow.document_id).where(LlmBatchDocumentRow.batch_id == batch_id)
        with reading(self._engine) as connection:
            return set(connection.execute(query).scalars())

    def finish(self, batch_id: str, reason: str | None = None) -> None:
        """All outcomes are stored; documents that have none, because they are gone, are let go."""
        values = {"state": "done"} | ({"reason": reason} if reason else {})
        with self._engine.begin() as connection:
            connection.execute(delete(LlmBatchDocumentRow).where(LlmBatchDocumentRow.batch_id == batch_id))
            connection.execute(update(LlmBatchRow).where(LlmBatchRow.id == batch_id).values(**values))
