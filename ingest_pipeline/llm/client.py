"""The LLM client: every call of every thread, process and machine goes through it, or through one like it.

    complete ─▶ cache ─▶ claim + hold ─▶ rate slot ─▶ provider ─▶ answer + settlement + cache entry ─▶ parse
                  ▲                          └── 429, 5xx, time-out: account, wait, next slot ──┘       │
                  └────────────────────── invalid: ask again, at most max_reasks times ─────────────────┘

Every single question is cached under its own key, follow-ups to invalid answers too. A run that was killed therefore
walks through the same questions again and pays only for those whose answers had not arrived.
"""

import random
import sys
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import Engine

from ingest_pipeline.llm.attempts import ModelCaller
from ingest_pipeline.llm.cache import CachedReply, load_answered
from ingest_pipeline.llm.errors import CallFailed, ClientClosed, PricesMissing, ProviderUnavailable
from ingest_pipeline.llm.exchange import InvalidAnswer, LlmAnswer, LlmRequest, Message, request_key
from ingest_pipeline.llm.ledger import Ledger
from ingest_pipeline.llm.limiter import CircuitOpen, Limiter
from ingest_pipeline.llm.limits import Clock, LimitsDb, Worker
from ingest_pipeline.llm.prices import Prices
from ingest_pipeline.llm.settings import LlmSettings, ModelSettings
from ingest_pipeline.llm.transport import LitellmTransport, Transport
from ingest_pipeline.llm.usage import Usage

T = TypeVar("T")

SWITCH_INTERVAL_S = 0.002
TRUNCATED_REASONS = frozenset({"length", "max_tokens"})
REFUSED_REASONS = frozenset({"content_filter", "refusal"})


class LlmClient:
    """Blocking and thread-safe; make one per process and ``close`` it at the end.

    ``engine``: the store's database. ``limits_engine``: from ``open_limits``. Do not call ``complete`` while the
    calling thread holds a write transaction on a SQLite store: the client writes there too.
    """

    def __init__(
        self,
        settings: LlmSettings,
        engine: Engine,
        limits_engine: Engine,
        *,
        transport: Transport | None = None,
        clock: Clock | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.settings, self._engine = settings, engine
        self._transport: Transport = transport or LitellmTransport()
        self._limits = LimitsDb(limits_engine, clock)
        self._worker = Worker(self._limits, settings.lease_s)
        self._closing = threading.Event()
        self._sleep = sleep or self._closing.wait
        self.ledger = Ledger(engine, self._limits, settings.budget_usd, settings.budget_period, now)
        self._rng = rng or random.Random()
        self._callers: dict[str, ModelCaller] = {}
        self._expect_cached = True
        self._opening = threading.Lock()

    def check(self) -> None:
        """Import the transport, look the models up and become a live worker; the first ``complete`` does it as well.

        Raises ModelNotFound, or PricesMissing when a budget is set and a model has no price.
        """
        if self._callers:
            return
        with self._opening:
            if self._callers:
                return
            # SQLite's driver lets go of the interpreter at every statement, and each waits so long behind litellm's
            # computing in other threads. Measured: with 0.5 ms a tenth fewer calls per second, for changing hands takes
            # time, too; with Python's 5 ms as many for one process, and answers wait longer to be stored.
            sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
            for model in self.settings.models:
                self._transport.check(model)
            prices = [self._prices(model) for model in self.settings.models]
            self._worker.start()
            self.ledger.settle_lost()
            callers = zip(self.settings.models, prices, strict=True)
            self._callers = {model.name: self._caller(model, price) for model, price in callers}

    def stop_waiting(self) -> None:
        """End all waits (they raise ClientClosed); calls under way are still settled."""
        self._closing.set()

    def close(self) -> None:
        """End all waits (they raise ClientClosed), give up what this process holds, close ``limits_engine``.

        Call it when no thread uses the client any more. Idempotent.
        """
        self.stop_waiting()
        self._worker.close()
        self._limits.close()
        self._transport.close()

    def complete(self, request: LlmRequest[T]) -> LlmAnswer[T]:
        """Ask until there is a valid answer.

        Raises CallFailed for this request alone, an LlmStopped when no request makes sense any more, ClientClosed.
        """
        usage = Usage()
        try:
            return self._complete(request, usage)
        except CallFailed as error:
            error.usage = usage
            raise

    def _complete(self, request: LlmRequest[T], usage: Usage) -> LlmAnswer[T]:
        self.check()
        messages = request.messages
        asked: list[str] = []
        for _ in range(1 + self.settings.max_reasks):
            answer, call_id = self._ask(request, messages, usage)
            asked.append(answer.key)
            if answer.reply.finish_reason in TRUNCATED_REASONS:
                raise CallFailed("truncated", "the answer is longer than the limit", smaller_may_work=True)
            if answer.reply.finish_reason in REFUSED_REASONS:
                raise CallFailed("refused", "the provider's content filter ended the answer", smaller_may_work=True)
            try:
                return LlmAnswer(request.parse(answer.reply.text), answer.model, usage)
            except InvalidAnswer as error:
                if call_id is not None:
                    self.ledger.mark_invalid(call_id)
                messages = request.reask(messages, answer.reply.text, str(error))
        self.ledger.forget(asked)
        raise CallFailed("invalid_answer", "no answer fits the schema", smaller_may_work=True)

    def _ask(
        self, request: LlmRequest[T], messages: tuple[Message, ...], usage: Usage
    ) -> tuple[CachedReply, str | None]:
        """The answer of the first model that has one, from the cache or new; the id of the call when it is new."""
        keys = {model.name: request_key(model, messages, request.format) for model in self.settings.models}
        # Where the last answer was new, this one probably is, and claiming it will tell.
        if self._expect_cached or len(keys) > 1:
            cached = self.ledger.find(list(keys.values()))
            self._expect_cached = cached is not None
            if cached is not None:
                usage.cache_hits += 1
                return cached, None
        for model in self.settings.models:
            has_next = model is not self.settings.models[-1]
            try:
                answer, call_id = self._callers[model.name].ask(
                    keys[model.name], request, messages, usage, 0.0 if has_next else self.settings.outage_s
                )
                self._expect_cached = call_id is None
                return answer, call_id
            except CircuitOpen as error:
                if not has_next:
                    raise ProviderUnavailable(model.name, error.seconds, model.place) from error
            except CallFailed as error:
                if not has_next or error.reason not in ("server_error", "timeout"):
                    raise
        raise AssertionError("settings have no model")

    def answered(self, keys: Iterable[str]) -> set[str]:
        """Those of the request keys whose answers are stored: asking them costs nothing."""
        return load_answered(self._engine, keys)

    def prices(self, model: ModelSettings) -> Prices | None:
        """Configured or listed prices; None when neither is known."""
        return model.prices or self._transport.prices(model)

    def _prices(self, model: ModelSettings) -> Prices | None:
        prices = self.prices(model)
        if prices is None and self.settings.budget_usd is not None:
            raise PricesMissing(model.name)
        return prices

    def _caller(self, model: ModelSettings, prices: Prices | None) -> ModelCaller:
        limiter = Limiter(
            self._limits,
            self._worker,
            model.limiter_name,
            model.rates,
            model=model.name,
            probe_lease_s=model.timeout_s + 5,
            pause=self._pause,
        )
        return ModelCaller(
            model, prices, self.settings, limiter, self.ledger, self._transport, self._worker.id, self._pause, self._rng
        )

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._sleep(seconds)
        if self._closing.is_set():
            raise ClientClosed("the LLM client was closed while a request waited")
