"""What the proxy's calls take of the limits and the budget that extraction has.

A call with the configured key is accounted (``llm_calls``, purpose ``proxy``) and counts against the budget. When it
goes to a model that texts are extracted with, it also counts against that model's rate limit, at once: a person waits
for it, so it does not queue, and the others queue that much longer. Callers with a key of their own pay themselves.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine

from ingest_pipeline.documents import Json
from ingest_pipeline.extraction.models import llm_settings, model_settings
from ingest_pipeline.llm.accounts import LOST, Call, Outcome, new_call_id
from ingest_pipeline.llm.budget import Held
from ingest_pipeline.llm.errors import STOP_ERRORS, BudgetExhausted, LlmStopped, PricesMissing, RateWaitTooLong
from ingest_pipeline.llm.ledger import Ledger
from ingest_pipeline.llm.limiter import Limiter, Permit
from ingest_pipeline.llm.limits import LimitsDb, Worker, open_limits
from ingest_pipeline.llm.prices import CALL_OVERHEAD_TOKENS, Prices, estimate_tokens, most_tokens
from ingest_pipeline.llm.settings import BudgetPeriod, ModelSettings
from ingest_pipeline.llm.transport import FailureKind, LitellmTransport, classify
from ingest_pipeline.proxy.errors import NoRoom, UpstreamFailed
from ingest_pipeline.proxy.request import ChatRequest, carried
from ingest_pipeline.proxy.upstream import Upstream
from ingest_pipeline.settings import Settings

PURPOSE = "proxy"
MAX_AHEAD_S = 60.0
"""How far the shared rate limit may be booked ahead before proxied calls are turned away: a minute's worth."""
EXPECTED_OUTPUT_TOKENS = 1_000
"""Held and booked for an answer without a limit of its own."""
RETRY_AFTER_S = 30.0
_MOST = 10_000_000
"""Tokens: no number from outside gets larger than this."""
_STOP_STATUS = {"auth": 401, "not_found": 404, "quota": 429}


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call under way. ``limiter`` is the shared one, if there is one."""

    call: Call
    prices: Prices | None
    limiter: Limiter | None
    permit: Permit | None
    input_tokens: int
    began: float


class Accounts:
    """Used from several threads. Opened by the first call."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._limits = LimitsDb(open_limits(settings.limits_url))
        self._worker = Worker(self._limits)
        self._ledger = Ledger(engine, self._limits, settings.budget_usd, BudgetPeriod.TOTAL, lambda: datetime.now(UTC))
        models = () if settings.model == "offline" else llm_settings(settings).models
        self._limiters = {model.name: self._limiter(model) for model in models}
        self._opening = threading.Lock()
        self._is_open = False

    def open(self, upstream: Upstream, request: ChatRequest, profile_id: str) -> Ticket | None:
        """Book and hold what the call may take. None when the caller pays.

        Raises NoRoom, UpstreamFailed when the provider has refused the like of it just now, PricesMissing.
        """
        if upstream.is_callers:
            return None
        self._start()
        name = upstream.model(request.model)
        tokens, most = _input_tokens(request)
        output = _output_limit(request)
        prices = self._prices(name)
        if prices is None and self._settings.budget_usd is not None:
            raise PricesMissing(name)
        limiter = self._shared(upstream, request.model)
        permit = _admitted(limiter, tokens + output) if limiter else None
        held = prices.cost(most, 0, output) if prices else 0.0
        call_id = new_call_id()
        call = Call(call_id, call_id, PURPOSE, profile_id, (), name, 1, held, self._worker.id)
        self._hold(call)
        return Ticket(call, prices, limiter, permit, tokens, time.monotonic())

    def answered(self, ticket: Ticket, usage: Json, events: int) -> None:
        """Settle a call that was answered, whole or in part. Without the upstream's ``usage`` tokens are estimated:
        a streamed event is about one token."""
        known = usage if isinstance(usage, dict) else {}
        taken = _count(known, "prompt_tokens") or ticket.input_tokens
        given = _count(known, "completion_tokens") or events
        details = known.get("prompt_tokens_details")
        cached = min(taken, _count(details, "cached_tokens") if isinstance(details, dict) else 0)
        cost = ticket.prices.cost(taken, cached, given) if ticket.prices else None
        latency = time.monotonic() - ticket.began
        self._ledger.close(ticket.call, Outcome("ok", cost, not known, 200, taken, cached, given, 0.0, latency))
        if ticket.limiter and ticket.permit:
            ticket.limiter.succeeded(ticket.permit, taken + given)

    def failed(self, ticket: Ticket, failure: UpstreamFailed) -> None:
        """Settle a call that brought no answer, and tell those who share the limit."""
        headers = {"retry-after": failure.retry_after} if failure.retry_after else {}
        # A provider's quota is told by its code.
        found = classify(failure.status, f"{failure.upstream_code} {failure}", headers)
        latency = time.monotonic() - ticket.began
        self._ledger.close(ticket.call, Outcome(found.kind.value, status_code=failure.status, latency_s=latency))
        limiter, permit = ticket.limiter, ticket.permit
        if limiter is None or permit is None:
            return
        if found.kind is FailureKind.RATE_LIMITED:
            limiter.refused(permit, 1.0 if found.retry_after_s is None else found.retry_after_s)
        elif found.kind in (FailureKind.SERVER_ERROR, FailureKind.TIMEOUT):
            limiter.failed(permit)
        elif found.kind.value in STOP_ERRORS:
            limiter.stopped(permit, found.kind.value)
        else:
            limiter.ended(permit)

    def lost(self, ticket: Ticket) -> None:
        """Settle a call of which nobody knows how it ended, at the most that it can have cost."""
        self._ledger.close(ticket.call, Outcome(LOST, ticket.call.held_usd, estimated=True))

    def close(self) -> None:
        """Idempotent."""
        self._worker.close()
        self._limits.close()

    def _start(self) -> None:
        with self._opening:
            if not self._is_open:
                self._worker.start()
                self._ledger.settle_lost()
                self._is_open = True

    def _limiter(self, model: ModelSettings) -> Limiter:
        return Limiter(self._limits, self._worker, model.limiter_name, model.rates, model=model.name)

    def _shared(self, upstream: Upstream, model: str) -> Limiter | None:
        if not upstream.is_extractions:
            return None
        return self._limiters.get(upstream.model(model)) or self._limiters.get(model)

    def _prices(self, name: str) -> Prices | None:
        model = model_settings(name, self._settings)
        return model.prices or LitellmTransport().prices(model)

    def _hold(self, call: Call) -> None:
        try:
            held = self._ledger.reopen(call)
        except BudgetExhausted as error:
            raise NoRoom("budget_exhausted", str(error), RETRY_AFTER_S) from None
        if isinstance(held, Held):
            raise NoRoom("budget_exhausted", "calls under way may use up the rest of the budget", 5.0)


def _admitted(limiter: Limiter, tokens: int) -> Permit:
    try:
        return limiter.push_in(tokens, MAX_AHEAD_S)
    except RateWaitTooLong as error:
        raise NoRoom("rate_limited", "the rate limit of this model is used up", error.retry_after_s) from None
    except LlmStopped as error:
        raise UpstreamFailed(_STOP_STATUS[error.code], str(error), error.code) from None


def _input_tokens(request: ChatRequest) -> tuple[int, int]:
    """About how many, and the most that there can be."""
    texts = [carried(message) for message in request.messages]
    return sum(map(estimate_tokens, texts)), CALL_OVERHEAD_TOKENS + sum(map(most_tokens, texts))


def _output_limit(request: ChatRequest) -> int:
    limit = (
        _count(request.body, "max_completion_tokens") or _count(request.body, "max_tokens") or EXPECTED_OUTPUT_TOKENS
    )
    return min(limit * (_count(request.body, "n") or 1), _MOST)


def _count(values: Mapping[str, Json], name: str) -> int:
    value = values.get(name)
    return min(value, _MOST) if isinstance(value, int) and value > 0 else 0
