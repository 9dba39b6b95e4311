"""One question to one model, until it is answered or it makes no sense to go on."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ingest_pipeline.llm.accounts import Call, Outcome, new_call_id
from ingest_pipeline.llm.budget import Held
from ingest_pipeline.llm.cache import Busy, CachedReply, Entry
from ingest_pipeline.llm.errors import STOP_ERRORS, CallFailed
from ingest_pipeline.llm.exchange import LlmRequest, Message, ProviderReply
from ingest_pipeline.llm.ledger import Ledger
from ingest_pipeline.llm.limiter import CircuitOpen, Limiter, Permit
from ingest_pipeline.llm.outage import OutageLog
from ingest_pipeline.llm.prices import CALL_OVERHEAD_TOKENS, Prices, estimate_tokens, most_tokens
from ingest_pipeline.llm.settings import AnswerMode, LlmSettings, ModelSettings
from ingest_pipeline.llm.transport import FailureKind, ProviderCall, ProviderFailure, Transport
from ingest_pipeline.llm.usage import Usage

BUSY_WAIT_S = (0.05, 1.0)
"""First and longest pause while another call has the answer, or the budget, in hand."""
DEFAULT_RETRY_AFTER_S = 1.0
MAX_BACKOFF_S = 30.0
_LADDER = (AnswerMode.SCHEMA, AnswerMode.OBJECT, AnswerMode.PROMPT)
_MESSAGES = {
    FailureKind.TOO_LONG: "the request is longer than the model's context",
    FailureKind.REFUSED: "the provider's content filter refuses the request",
    FailureKind.BAD_REQUEST: "the provider refuses the request",
    FailureKind.RATE_LIMITED: "the provider refused too often (429)",
    FailureKind.SERVER_ERROR: "the provider answers with errors",
    FailureKind.TIMEOUT: "the provider does not answer in time",
}


class ModelCaller:
    """Used from several threads. Remembers what the model does not take: an answer mode, a parameter."""

    def __init__(
        self,
        model: ModelSettings,
        prices: Prices | None,
        settings: LlmSettings,
        limiter: Limiter,
        ledger: Ledger,
        transport: Transport,
        worker: str,
        pause: Callable[[float], None],
        rng: random.Random,
    ) -> None:
        self.model, self.prices, self.limiter = model, prices, limiter
        self._settings, self._ledger, self._transport = settings, ledger, transport
        self._worker, self._pause, self._rng = worker, pause, rng
        self._mode = model.answer_mode
        self._omit: frozenset[str] = frozenset()
        self.outage = OutageLog(model)
        self._learning = threading.Lock()

    def ask(
        self, key: str, request: LlmRequest[Any], messages: tuple[Message, ...], usage: Usage, max_open_s: float
    ) -> tuple[CachedReply, str | None]:
        """The answer, and the id of the call that brought it (None: somebody else's call).

        Raises CallFailed, CircuitOpen, or an LlmStopped.
        """
        entry = Entry(key, self.model.name, self._worker, request.profile_id)
        call = self._first_call(entry, request, messages)
        cached = self._claim(entry, call)
        if cached is not None:
            usage.cache_hits += 1
            return cached, None
        return _Asking(self, entry, request, messages, usage, max_open_s, call).run()

    def send(self, messages: tuple[Message, ...], request: LlmRequest[Any]) -> ProviderReply:
        """Send once, as far as this model is known."""
        return self._transport.send(ProviderCall(self.model, messages, request.format, self._mode, self._omit))

    def learn(self, parameter: str | None) -> bool:
        """Go without a parameter that the model rejected. False when there is nothing left to leave out."""
        with self._learning:
            if parameter == "response_format":
                if self._mode is AnswerMode.PROMPT:
                    return False
                self._mode = _LADDER[_LADDER.index(self._mode) + 1]
                return True
            if parameter is None or parameter in self._omit:
                return False
            self._omit = self._omit | {parameter}
            return True

    def estimated_tokens(self, request: LlmRequest[Any], messages: tuple[Message, ...]) -> int:
        """Input and output, for the rate limit."""
        return sum(estimate_tokens(message.content) for message in messages) + request.expected_output_tokens

    def backoff_s(self, failures: int) -> float:
        """Full jitter."""
        return self._rng.uniform(0.0, min(MAX_BACKOFF_S, 0.5 * 2**failures))

    def reopen(self, call: Call) -> None:
        """Hold the next call of a claimed request, waiting for other holds. Raises BudgetExhausted."""
        wait, longest = BUSY_WAIT_S
        while isinstance(self._ledger.reopen(call), Held):
            self._ledger.settle_lost()
            self._pause(wait)
            wait = min(longest, wait * 2)

    @property
    def settings(self) -> LlmSettings:
        return self._settings

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    @property
    def pause(self) -> Callable[[float], None]:
        return self._pause

    def _first_call(self, entry: Entry, request: LlmRequest[Any], messages: tuple[Message, ...]) -> Call:
        return Call(
            id=new_call_id(),
            request_key=entry.key,
            purpose=request.purpose,
            profile_id=request.profile_id,
            document_ids=request.document_ids,
            model=self.model.name,
            attempt=1,
            held_usd=self.most_usd(request, messages),
            worker=self._worker,
        )

    def most_usd(self, request: LlmRequest[Any], messages: tuple[Message, ...]) -> float:
        """The most that a call can cost."""
        if self.prices is None:
            return 0.0
        tokens = CALL_OVERHEAD_TOKENS + sum(most_tokens(message.content) for message in messages)
        if request.format is not None:
            tokens += request.format.most_tokens
        return self.prices.cost(tokens, 0, self.model.max_output_tokens)

    def _claim(self, entry: Entry, call: Call) -> CachedReply | None:
        """Become the one to ask (None), or wait for whoever is asking. Raises BudgetExhausted."""
        wait, longest = BUSY_WAIT_S
        while True:
            result = self._ledger.claim(entry, call)
            if isinstance(result, Busy):
                result = self._ledger.take_over(entry, result, call)
            if isinstance(result, CachedReply):
                return result
            if isinstance(result, Held):
                self._ledger.settle_lost()
            elif not isinstance(result, Busy):
                return None
            self._pause(wait)
            wait = min(longest, wait * 2)


class _Asking:
    """One claimed question: its calls, one after the other, with everything given back however it ends."""

    def __init__(
        self,
        caller: ModelCaller,
        entry: Entry,
        request: LlmRequest[Any],
        messages: tuple[Message, ...],
        usage: Usage,
        max_open_s: float,
        call: Call,
    ) -> None:
        self._caller, self._entry, self._request, self._messages = caller, entry, request, messages
        self._usage, self._max_open_s = usage, max_open_s
        self._call: Call | None = call
        self._following = call
        self._sent = False
        self._permit: Permit | None = None
        self._failures = self._refusals = 0

    def run(self) -> tuple[CachedReply, str]:
        answered = False
        try:
            while True:
                call = self._opened()
                permit = self._admitted()
                reply = self._attempt(call, permit)
                if reply is not None:
                    answered = True
                    return CachedReply(self._entry.key, self._caller.model.name, reply), call.id
        finally:
            if not answered:
                self._give_up()

    def _opened(self) -> Call:
        if self._call is None:
            self._caller.reopen(self._following)
            self._call = self._following
        return self._call

    def _admitted(self) -> Permit:
        outage = self._caller.outage
        try:
            permit = self._caller.limiter.acquire(
                self._caller.estimated_tokens(self._request, self._messages),
                max_wait_s=self._request.max_wait_s,
                max_open_s=self._max_open_s,
                on_halt=lambda: outage.halted(self._max_open_s),
            )
        except CircuitOpen:
            outage.halted(self._max_open_s)
            raise
        self._usage.waited_s += permit.waited_s
        self._permit = permit
        return permit

    def _attempt(self, call: Call, permit: Permit) -> ProviderReply | None:
        """Send once. None: it failed in a way that makes another attempt worthwhile, and the wait for it is over."""
        began = time.monotonic()
        self._sent = True
        self._usage.calls += 1
        self._usage.retries += call.attempt > 1
        try:
            reply = self._caller.send(self._messages, self._request)
        except ProviderFailure as failure:
            self._failed(call, permit, failure, time.monotonic() - began)
            return None
        latency = time.monotonic() - began
        self._caller.outage.answered()
        outcome = self._answered(reply, permit.waited_s, latency)
        # At once, before the lease is given back: a process killed in between would pay for this answer again.
        self._caller.ledger.settle(self._entry, call, outcome, reply)
        self._call = None
        self._release(self._caller.limiter.succeeded, reply.input_tokens + reply.output_tokens)
        return reply

    def _answered(self, reply: ProviderReply, waited_s: float, latency_s: float) -> Outcome:
        prices = self._caller.prices
        cost = None
        if prices is not None:
            cost = prices.cost(reply.input_tokens, reply.cached_tokens, reply.output_tokens)
        usage = self._usage
        usage.input_tokens += reply.input_tokens
        usage.cached_tokens += reply.cached_tokens
        usage.output_tokens += reply.output_tokens
        usage.cost_usd += cost or 0.0
        name = {"length": "truncated", "content_filter": "refused"}.get(reply.finish_reason, "ok")
        return Outcome(
            name,
            cost,
            False,
            200,
            reply.input_tokens,
            reply.cached_tokens,
            reply.output_tokens,
            waited_s,
            latency_s,
        )

    def _failed(self, call: Call, permit: Permit, failure: ProviderFailure, latency_s: float) -> None:
        """Tell the limiter, account the call, and wait before the next; raises when there is to be none."""
        self._caller.outage.failed(failure)
        self._tell_limiter(permit, failure)
        # Whether a provider bills a call that it did not finish in time is not known.
        charged = failure.kind is FailureKind.TIMEOUT
        cost = call.held_usd if charged else 0.0
        outcome = Outcome(
            failure.kind.value, cost, charged, failure.status_code, waited_s=permit.waited_s, latency_s=latency_s
        )
        self._usage.cost_usd += cost
        self._caller.ledger.close(call, outcome)
        self._call = None
        self._sent = False
        self._following = replace(call, id=new_call_id(), attempt=call.attempt + 1)
        self._wait_or_raise(failure)

    def _tell_limiter(self, permit: Permit, failure: ProviderFailure) -> None:
        limiter, kind = self._caller.limiter, failure.kind
        if kind is FailureKind.RATE_LIMITED:
            after = failure.retry_after_s
            self._release(limiter.refused, DEFAULT_RETRY_AFTER_S if after is None else after)
        elif kind in (FailureKind.SERVER_ERROR, FailureKind.TIMEOUT):
            self._release(limiter.failed)
        elif kind is FailureKind.UNREACHABLE:
            self._release(limiter.failed, True)
        elif kind.value in STOP_ERRORS:
            self._release(limiter.stopped, kind.value)
        else:
            self._release(limiter.ended)

    def _wait_or_raise(self, failure: ProviderFailure) -> None:
        kind, settings = failure.kind, self._caller.settings
        if kind.value in STOP_ERRORS:
            raise STOP_ERRORS[kind.value](self._caller.model.name)
        if kind is FailureKind.UNSUPPORTED and self._caller.learn(failure.parameter):
            return
        if kind is FailureKind.RATE_LIMITED and self._refusals < settings.max_refusals:
            self._refusals += 1
            self._usage.rate_limited += 1
            return
        if kind is FailureKind.UNREACHABLE:
            # Nothing was sent, so it says nothing of this request; how long to go on is the circuit's business.
            self._caller.pause(self._caller.backoff_s(0))
            return
        if kind in (FailureKind.SERVER_ERROR, FailureKind.TIMEOUT) and self._failures + 1 < settings.max_attempts:
            after = failure.retry_after_s
            self._caller.pause(self._caller.backoff_s(self._failures) if after is None else min(after, MAX_BACKOFF_S))
            self._failures += 1
            return
        reason = FailureKind.BAD_REQUEST if kind is FailureKind.UNSUPPORTED else kind
        smaller = reason in (FailureKind.TOO_LONG, FailureKind.REFUSED, FailureKind.BAD_REQUEST)
        raise CallFailed(reason.value, _MESSAGES[reason], smaller_may_work=smaller)

    def _release(self, end: Callable[..., None], *arguments: object) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            end(permit, *arguments)

    def _give_up(self) -> None:
        self._release(self._caller.limiter.ended)
        lost = self._sent and self._call is not None
        cost = self._call.held_usd if lost and self._call is not None else 0.0
        outcome = Outcome("lost" if lost else "unsent", cost, lost)
        self._caller.ledger.give_up(self._entry, self._call, outcome)
