"""The rate limiter's arithmetic: pure functions on one row of state, with the time as an argument.

Slots are booked on a *virtual clock* that runs at ``scale`` (1 = the configured rate) and stands still while the
provider has us blocked or the circuit is open. A 429 therefore slows and delays everybody who waits without changing
their order, and nobody books twice. Per dimension the generic cell rate algorithm keeps one number, the virtual time
at which the next unit fits; a booking moves it on, whatever its size.

Bound: in any window of W seconds at most ``Rates.per_second * W + burst`` requests start, and the tokens of at most
``tokens_per_second * W + token burst`` plus those of one request.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import floor

MAX_BLOCK_S = 900.0
"""Longest Retry-After that is obeyed; anything beyond is a wrong clock or a provider that is down."""

MIN_SCALE = 0.02
BACKOFF = 0.9
"""What a burst of 429s leaves of the rate."""
RECOVERY, PROBING = 0.005, 0.0005
"""What each success adds to the scale, below and above 95 % of the scale at which the provider last refused."""

OPEN_AFTER = 6
"""Server errors in a row that open the circuit."""
OPEN_WHEN_ABSENT = 2
"""Failures in a row that open it when nobody answers at the address: no document can be the cause of that."""
OPEN_BASE_S, OPEN_MAX_S = 1.0, 30.0


@dataclass(frozen=True)
class Rates:
    """Limits of one model; None = no limit. ``requests`` and ``tokens`` are per minute.

    Providers count in windows of up to a minute, whose edges meet ours after a network's jitter. So that no window
    of a minute ever holds more than the limit, the burst and ``margin`` (a share of the limit) come off the rate.
    """

    requests: float | None = None
    tokens: float | None = None
    concurrency: int | None = None
    burst_s: float = 0.5
    margin: float = 0.005

    @cached_property
    def requests_per_second(self) -> float | None:
        if self.requests is None:
            return None
        return (self.requests * (1 - self.margin) - floor(self.requests * self.burst_s / 60)) / 60

    @cached_property
    def tokens_per_second(self) -> float | None:
        if self.tokens is None:
            return None
        return (self.tokens * (1 - self.margin) - self.tokens * self.burst_s / 60) / 60

    @cached_property
    def request_tolerance_s(self) -> float:
        """Virtual seconds by which a request may be early."""
        if self.requests is None or self.requests_per_second is None:
            return 0.0
        return floor(self.requests * self.burst_s / 60) / self.requests_per_second

    @cached_property
    def token_tolerance_s(self) -> float:
        if self.tokens is None or self.tokens_per_second is None:
            return 0.0
        return self.tokens * self.burst_s / 60 / self.tokens_per_second


@dataclass(frozen=True, slots=True)
class State:
    """What the callers of one model share. Real times are seconds of the database's clock.

    virtual, at: the virtual clock read ``virtual`` at time ``at``.
    requests_at, tokens_at, last_start: virtual times: the next request fits, the next token fits, the last slot given.
    epoch: counts refusals; a 429 of a call that was sent in an earlier epoch tells nothing new.
    failures: server errors in a row. openings, opened_at, probe_at: the open circuit; 0 when closed.
    """

    virtual: float = 0.0
    at: float = 0.0
    blocked_until: float = 0.0
    requests_at: float = 0.0
    tokens_at: float = 0.0
    last_start: float = 0.0
    scale: float = 1.0
    refused_scale: float = 2.0
    epoch: int = 0
    failures: int = 0
    openings: int = 0
    opened_at: float = 0.0
    probe_at: float = 0.0
    stop_code: str = ""
    stopped_at: float = 0.0

    @property
    def is_open(self) -> bool:
        """True while server errors keep everybody waiting for one probe."""
        return self.probe_at > 0


def advance(state: State, now: float) -> State:
    """The same state with its clock read at ``now``. A clock that was set back stands still, then goes on."""
    blocked = min(state.blocked_until, now + MAX_BLOCK_S)
    if state.is_open:
        return replace(state, at=now, blocked_until=blocked, probe_at=min(state.probe_at, now + MAX_BLOCK_S))
    start = max(state.at, blocked)
    elapsed = max(0.0, now - start) if now >= state.at else 0.0
    return replace(state, virtual=state.virtual + elapsed * state.scale, at=now, blocked_until=blocked)


def seconds_until(state: State, start: float, now: float) -> float:
    """Seconds from ``now`` to the slot at virtual time ``start``, as things stand. Nothing when it is due."""
    current = advance(state, now)
    return max(0.0, current.blocked_until - now) + max(0.0, start - current.virtual) / current.scale


def book(state: State, rates: Rates, tokens: int, now: float) -> tuple[State, float]:
    """Take the next slot. Returns the new state and the virtual time at which the slot is due."""
    state = advance(state, now)
    per_request, per_token = rates.requests_per_second, rates.tokens_per_second
    if per_request is None and per_token is None:
        return state, state.virtual
    start = max(state.virtual, state.last_start)
    if per_request is not None:
        start = max(start, state.requests_at - rates.request_tolerance_s)
    if per_token is not None:
        start = max(start, state.tokens_at - rates.token_tolerance_s)
    if per_request is not None:
        state = replace(state, requests_at=max(state.requests_at, start) + 1 / per_request)
    if per_token is not None:
        state = replace(state, tokens_at=max(state.tokens_at, start) + tokens / per_token)
    return replace(state, last_start=start), start


def succeeded(state: State, rates: Rates, extra_tokens: int, now: float) -> State:
    """After an answer: correct the tokens (used - booked), close the circuit, let a lowered rate rise."""
    state = advance(state, now)
    if rates.tokens_per_second is not None and extra_tokens:
        state = replace(state, tokens_at=state.tokens_at + extra_tokens / rates.tokens_per_second)
    state = replace(state, failures=0, openings=0, opened_at=0.0, probe_at=0.0, stop_code="", stopped_at=0.0)
    if state.scale < 1.0:
        step = RECOVERY if state.scale < 0.95 * state.refused_scale else PROBING
        state = replace(state, scale=min(1.0, state.scale + step))
    return state


def refused(state: State, epoch: int, retry_after: float, now: float) -> State:
    """After a 429: everybody waits; the first one of its epoch lowers the rate."""
    state = advance(state, now)
    until = now + min(max(retry_after, 0.0), MAX_BLOCK_S)
    state = replace(state, blocked_until=max(state.blocked_until, until), failures=0)
    if state.is_open:
        # A provider that refuses is alive.
        state = replace(state, openings=0, opened_at=0.0, probe_at=0.0)
    if epoch != state.epoch:
        return state
    scale = max(MIN_SCALE, state.scale * BACKOFF)
    return replace(state, epoch=epoch + 1, refused_scale=state.scale, scale=scale)


def failed(state: State, now: float, probing: bool, absent: bool = False) -> State:
    """After a server error, or when there was no connection (``absent``). Several in a row, or a failed probe, open the
    circuit for 1, 2, 4 … 30 seconds."""
    state = advance(state, now)
    state = replace(state, failures=state.failures + 1)
    if not probing and (state.is_open or state.failures < (OPEN_WHEN_ABSENT if absent else OPEN_AFTER)):
        return state
    pause = min(OPEN_MAX_S, OPEN_BASE_S * 2**state.openings)
    opened_at = state.opened_at or now
    return replace(state, openings=min(state.openings + 1, 10), opened_at=opened_at, probe_at=now + pause)


def probe(state: State, now: float, lease_s: float) -> tuple[State, bool]:
    """Try to be the one that probes an open circuit. A probe that never reports is followed by another."""
    state = advance(state, now)
    if not state.is_open or state.probe_at > now:
        return state, False
    return replace(state, probe_at=now + lease_s), True


def stopped(state: State, code: str, now: float) -> State:
    """After an answer that no further call would change (wrong key, unknown model, spent quota)."""
    return replace(advance(state, now), stop_code=code, stopped_at=now)
