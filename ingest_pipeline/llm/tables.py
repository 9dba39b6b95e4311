"""The LLM client's tables, in two databases.

    store database     llm_cache    what was asked and what was answered, and who is asking right now
                       llm_calls    one row per call sent: the accounts, and the budget's holds while it is under way
                       llm_budget   spent so far
                       llm_batches  with llm_batch_items, llm_batch_documents: what a provider's batch API works on
    limits database    llm_limits   the rate limiter's state, one row per model
                       llm_leases   who holds or waits for a concurrent call
                       llm_workers  which processes are alive
                       api_rates    how much of its allowance each caller of the HTTP server has used

An answer, its settlement and its cache entry are one transaction, so the first three live together in the store. The
limiter's tables are apart because on SQLite a bulk write to the store must not delay a slot that is due.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from ingest_pipeline.store.base import Base, Id, JsonType

_PENDING = "outcome = 'pending'"


class LlmCacheRow(Base):
    """One request to one model: claimed by a worker, then answered. Holds personal text in ``answer``.

    ``key`` is the SHA-256 of everything that decides the answer. While ``state`` is ``claimed``, ``worker`` is the
    only one to send it; the claim of a dead worker is taken over. Rows of ``profile_id`` go when it is forgotten.
    """

    __tablename__ = "llm_cache"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(10))
    worker: Mapped[str] = mapped_column(String(36))
    model: Mapped[str] = mapped_column(Text)
    profile_id: Mapped[str | None] = mapped_column(Id, index=True)
    answer: Mapped[str | None] = mapped_column(Text)
    finish_reason: Mapped[str | None] = mapped_column(String(40))
    input_tokens: Mapped[int | None] = mapped_column(Integer)
    output_tokens: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]


class LlmCallRow(Base):
    """One call that was sent, or is about to be. No text of it, neither way.

    ``outcome``: ``pending`` while under way; ``ok``, ``invalid`` (answered, not usable), ``truncated``, ``refused``;
    ``rate_limited``, ``server_error``, ``timeout``, ``bad_request``, ``unsupported``, ``too_long``, ``auth``,
    ``not_found``, ``quota``; ``unsent`` (given up before it was sent); ``lost`` (its process died or was stopped);
    ``batch_failed``, ``batch_expired``, ``batch_cancelled`` (its batch ended before its turn).
    ``cost_usd`` is null when the model's price is unknown; ``cost_estimated`` marks calls without an answer that may
    have been billed: they are charged at ``held_usd``, the most they can cost, so that a budget holds in any case.
    """

    __tablename__ = "llm_calls"
    __table_args__ = (
        Index("ix_llm_calls_pending", "worker", sqlite_where=text(_PENDING), postgresql_where=text(_PENDING)),
    )

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    request_key: Mapped[str] = mapped_column(String(64))
    purpose: Mapped[str] = mapped_column(String(40))
    profile_id: Mapped[str | None] = mapped_column(Id, index=True)
    document_id: Mapped[str | None] = mapped_column(Id, index=True)
    """The document asked about; the first one of a pack."""
    document_ids: Mapped[list[Any] | None] = mapped_column(JsonType)
    """All documents of a pack of several, else null."""
    model: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(Integer)
    """1 for the first call of a request to this model."""
    outcome: Mapped[str] = mapped_column(String(20))
    status_code: Mapped[int | None] = mapped_column(Integer)
    held_usd: Mapped[float] = mapped_column(Double)
    cost_usd: Mapped[float | None] = mapped_column(Double)
    cost_estimated: Mapped[bool] = mapped_column(default=False)
    input_tokens: Mapped[int] = mapped_column(Integer, default=0)
    cached_tokens: Mapped[int] = mapped_column(Integer, default=0)
    """The part of the input tokens that the provider had in its prompt cache."""
    output_tokens: Mapped[int] = mapped_column(Integer, default=0)
    waited_s: Mapped[float] = mapped_column(Double, default=0.0)
    """Seconds between asking for a slot and sending."""
    latency_s: Mapped[float] = mapped_column(Double, default=0.0)
    """Seconds between sending and the answer."""
    worker: Mapped[str] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(index=True)
    finished_at: Mapped[datetime | None]


class LlmBudgetRow(Base):
    """What was spent in a period: ``total``, ``2026-11`` or ``2026-11-23``. Equals the sum of the calls' costs."""

    __tablename__ = "llm_budget"

    period: Mapped[str] = mapped_column(String(20), primary_key=True)
    spent_usd: Mapped[float] = mapped_column(Double)


class LlmBatchRow(Base):
    """Requests handed to a provider's batch API together. A batch is under way from ``prepared`` to ``collected``.

    ``prepared``: stored with all it needs, nothing sent yet. ``uploaded``: the provider has the file and may or may not
    have the batch. ``submitted``: the provider works on it. ``collected``: answers and costs are stored. ``done``: the
    documents' outcomes are too. ``abandoned``: never started. ``worker`` is the process that takes it further.
    """

    __tablename__ = "llm_batches"

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    model: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(128))
    """The extractor's."""
    state: Mapped[str] = mapped_column(String(12), index=True)
    worker: Mapped[str] = mapped_column(String(36))
    file_id: Mapped[str | None] = mapped_column(Text)
    provider_id: Mapped[str | None] = mapped_column(Text)
    provider_state: Mapped[str | None] = mapped_column(String(20))
    """As the provider calls it: ``validating``, ``in_progress``, ``completed``, ``expired`` …"""
    reason: Mapped[str | None] = mapped_column(String(80))
    """Why the provider, or this program, ended it early."""
    requests: Mapped[int] = mapped_column(Integer)
    documents: Mapped[int] = mapped_column(Integer)
    answered: Mapped[int] = mapped_column(Integer, default=0)
    failed: Mapped[int] = mapped_column(Integer, default=0)
    held_usd: Mapped[float] = mapped_column(Double)
    cost_usd: Mapped[float | None] = mapped_column(Double)
    created_at: Mapped[datetime]
    submitted_at: Mapped[datetime | None]
    collected_at: Mapped[datetime | None]


class LlmBatchItemRow(Base):
    """One request of a batch, by its request key, which is also its ``custom_id`` at the provider. Holds no text.

    ``passages``: what it asks about, ``[document id, start, end]`` each. ``outcome``: as in ``llm_calls``, null while
    under way.
    """

    __tablename__ = "llm_batch_items"

    batch_id: Mapped[str] = mapped_column(Id, ForeignKey("llm_batches.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    call_id: Mapped[str] = mapped_column(Id)
    profile_id: Mapped[str | None] = mapped_column(Id, index=True)
    passages: Mapped[list[Any]]
    follow_up: Mapped[bool]
    """A further question, after an answer that did not fit the schema."""
    outcome: Mapped[str | None] = mapped_column(String(20))


class LlmBatchDocumentRow(Base):
    """A document that a batch under way is about: nobody else extracts it. Its row goes with its outcome."""

    __tablename__ = "llm_batch_documents"

    document_id: Mapped[str] = mapped_column(Id, primary_key=True)
    batch_id: Mapped[str] = mapped_column(Id, ForeignKey("llm_batches.id"), index=True)


limits_metadata = MetaData()
"""Not migrated by Alembic: ``limiter.open_limits`` creates these tables where they are missing."""

limits_table = Table(
    "llm_limits",
    limits_metadata,
    Column("name", Text, primary_key=True),
    # The fields of gcra.State, by the same names.
    Column("virtual", Double, nullable=False, server_default="0"),
    Column("at", Double, nullable=False, server_default="0"),
    Column("blocked_until", Double, nullable=False, server_default="0"),
    Column("requests_at", Double, nullable=False, server_default="0"),
    Column("tokens_at", Double, nullable=False, server_default="0"),
    Column("last_start", Double, nullable=False, server_default="0"),
    Column("scale", Double, nullable=False, server_default="1"),
    Column("refused_scale", Double, nullable=False, server_default="2"),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("openings", Integer, nullable=False, server_default="0"),
    Column("opened_at", Double, nullable=False, server_default="0"),
    Column("probe_at", Double, nullable=False, server_default="0"),
    Column("stop_code", Text, nullable=False, server_default=""),
    Column("stopped_at", Double, nullable=False, server_default="0"),
)

leases_table = Table(
    "llm_leases",
    limits_metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("name", Text, nullable=False),
    Column("worker", String(36), nullable=False, index=True),
    Index("ix_llm_leases_name_id", "name", "id"),
    # An id is never used again, so a late release cannot end someone else's lease.
    sqlite_autoincrement=True,
)

workers_table = Table(
    "llm_workers",
    limits_metadata,
    Column("id", String(36), primary_key=True),
    Column("expires_at", Double, nullable=False),
)

api_rates_table = Table(
    "api_rates",
    limits_metadata,
    # SHA-256 of the caller: neither keys nor addresses are stored.
    Column("name", String(64), primary_key=True),
    Column("whole_at", Double, nullable=False),
)
"""The server's own callers; see ``api.rates``."""
