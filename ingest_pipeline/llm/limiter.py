"""The rate limiter that all threads, processes and machines share.

    acquire ── lease (concurrency, first come first served) ── slot (rate) ── sleep ──▶ Permit ── release

A caller joins the queue and books its slot in one short transaction, then sleeps exactly until the slot is due. While
it sleeps it looks at the shared state at least once a second, because a refusal, an open circuit or a stop flag
moves or ends its wait. The arithmetic is in ``gcra``.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from sqlalchemy import bindparam, delete, func, insert, select, text, update

from ingest_pipeline.llm import gcra
from ingest_pipeline.llm.database import TakenBack, Transaction, given, new
from ingest_pipeline.llm.errors import STOP_ERRORS, RateWaitTooLong
from ingest_pipeline.llm.gcra import Rates, State
from ingest_pipeline.llm.limits import SERVER_CLOCK, LimitsDb, Worker, reap
from ingest_pipeline.llm.tables import leases_table as leases
from ingest_pipeline.llm.tables import limits_table as limits
from ingest_pipeline.llm.turns import LOOK_S, TURN_S, Turns

STOP_S = 300.0
"""How long a stop flag holds. A limiter made later ignores it at once: somebody acted, and its first call tells."""
REAP_S = 1.0

_FIELDS = tuple(field.name for field in fields(State))
_NAMED = limits.c.name == bindparam("row")
_STATE = select(*(limits.c[name] for name in _FIELDS)).where(_NAMED)
_LOCKED = _STATE.with_for_update()
_STATE_AND_TIME = _STATE.add_columns(SERVER_CLOCK)
# The clock is read outside the locking subquery, so after the lock was granted.
_LOCKED_AND_TIME = select(_LOCKED.subquery(), SERVER_CLOCK)
_CREATE = text("INSERT INTO llm_limits (name) VALUES (:row) ON CONFLICT DO NOTHING")
_SAVE = update(limits).where(_NAMED).values(new(_FIELDS))
_QUEUED = leases.c.name == bindparam("row")
_JOIN = insert(leases).values(name=bindparam("row"), worker=bindparam("holder")).returning(leases.c.id)
_AHEAD = select(func.count()).where(_QUEUED, leases.c.id < bindparam("ticket"))
_LEAVE = delete(leases).where(leases.c.id == bindparam("ticket"))
_HOLDERS = select(leases.c.id).where(_QUEUED).order_by(leases.c.id)


class CircuitOpen(TakenBack):
    """The provider has answered with errors for ``seconds`` and the caller would rather not wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"circuit open for {seconds:.0f} s")
        self.seconds = seconds


@dataclass(slots=True)
class Ticket:
    """A caller's place: in the queue for a lease (``start`` is None), then in front of a booked slot.

    ``halted``: it waits because the circuit is open.
    """

    tokens: int
    lease: int | None = None
    start: float | None = None
    halted: bool = False


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one call now. ``epoch`` dates it; ``probing`` makes it the one that tests an open circuit."""

    tokens: int
    lease: int | None
    epoch: int
    probing: bool
    waited_s: float


class Limiter:
    """Admits calls to one model.

    ``name`` is shared by all who share the provider's limit; errors name ``model``. ``probe_lease_s``: how long a
    probe of an open circuit may take before another is sent. ``pause`` sleeps; it may raise to end a wait.
    """

    def __init__(
        self,
        db: LimitsDb,
        worker: Worker,
        name: str,
        rates: Rates,
        *,
        model: str = "",
        probe_lease_s: float = 60.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._db, self._worker, self.name, self.rates = db, worker, name, rates
        self.model = model or name
        self._probe_lease_s = probe_lease_s
        self._pause = pause
        self._turns = Turns()
        self._reaped_at = 0.0
        self._since: float | None = None
        self._opening = threading.Lock()

    def acquire(
        self,
        tokens: int,
        *,
        max_wait_s: float | None = None,
        max_open_s: float | None = None,
        on_halt: Callable[[], None] = lambda: None,
    ) -> Permit:
        """Wait for leave to send one call of about ``tokens`` tokens. ``on_halt`` is called while the circuit is open.

        Raises RateWaitTooLong (nothing is booked then) when it takes longer than ``max_wait_s``, CircuitOpen when the
        circuit has been open for ``max_open_s`` of this limiter's time, and an LlmStopped when the stop flag is up.
        """
        began = time.monotonic()
        ticket = Ticket(tokens)
        try:
            verdict = self.enter(ticket, max_wait_s, max_open_s)
            while not isinstance(verdict, Permit):
                waited = time.monotonic() - began
                if max_wait_s is not None and waited + verdict > max_wait_s:
                    raise RateWaitTooLong(verdict)
                if ticket.halted:
                    on_halt()
                self._sleep(ticket, min(verdict, LOOK_S))
                verdict = self.poll(ticket, max_wait_s and max_wait_s - waited, max_open_s)
        except BaseException:
            self._leave(ticket)
            raise
        return Permit(tokens, verdict.lease, verdict.epoch, verdict.probing, time.monotonic() - began)

    def enter(self, ticket: Ticket, max_wait_s: float | None = None, max_open_s: float | None = None) -> Permit | float:
        """Join the queue, and book a slot when it is this ticket's turn. Returns as ``poll``."""
        self._open()

        def work(tx: Transaction) -> tuple[Ticket, Permit | float]:
            state, now = self._load(tx)
            joined = Ticket(ticket.tokens)
            if self.rates.concurrency is not None:
                joined.lease = int(tx.run(_JOIN, row=self.name, holder=self._worker.id)[0][0])
                if not self._granted(tx, joined.lease):
                    return joined, TURN_S
            return joined, self._book(tx, joined, state, now, max_wait_s, max_open_s)

        # Set when it is stored: the number of a lease that was taken back may be another's next.
        joined, verdict = self._db.commit(work)
        ticket.lease, ticket.start, ticket.halted = joined.lease, joined.start, joined.halted
        return verdict

    def poll(self, ticket: Ticket, max_wait_s: float | None = None, max_open_s: float | None = None) -> Permit | float:
        """A Permit when the ticket's slot is due, else the seconds after which to ask again."""
        if ticket.start is None:
            return self._poll_turn(ticket, max_wait_s, max_open_s)
        with self._db.read() as tx:
            state, now = self._load(tx, lock=False)
        if not state.is_open:
            ticket.halted = False
            return self._verdict(ticket, state, now)
        return self._db.commit(lambda tx: self._verdict_when_open(tx, ticket, *self._load(tx), max_open_s))

    def push_in(self, tokens: int, max_ahead_s: float) -> Permit:
        """Leave to send one call now, for a person who waits for its answer.

        Its slot is booked like any other, so that those who queue wait that much longer, and takes no lease. Raises
        RateWaitTooLong (nothing is booked then) when bookings run further ahead or the provider has us wait, and an
        LlmStopped when the stop flag is up. An open circuit is not waited for: the call tells whether it still holds.
        """
        self._open()
        with self._db.write() as tx:
            state, now = self._load(tx)
            self._check_stop(state, now)
            booked, start = gcra.book(state, self.rates, tokens, now)
            blocked = max(0.0, booked.blocked_until - now)
            ahead = gcra.seconds_until(booked, start, now)
            if blocked or ahead > max_ahead_s:
                raise RateWaitTooLong(blocked or ahead - max_ahead_s)
            self._save(tx, booked, gcra.advance(state, now))
        return Permit(tokens, None, booked.epoch, False, 0.0)

    def succeeded(self, permit: Permit, used_tokens: int | None = None) -> None:
        """End the call: it was answered, and took ``used_tokens``."""
        extra = 0 if used_tokens is None else used_tokens - permit.tokens
        self._end(permit.lease, lambda state, now: gcra.succeeded(state, self.rates, extra, now))

    def refused(self, permit: Permit, retry_after_s: float) -> None:
        """End the call: 429."""
        self._end(permit.lease, lambda state, now: gcra.refused(state, permit.epoch, retry_after_s, now))

    def failed(self, permit: Permit, absent: bool = False) -> None:
        """End the call: the provider has trouble (5xx, no answer in time), or nobody is there (``absent``)."""
        self._end(permit.lease, lambda state, now: gcra.failed(state, now, permit.probing, absent))

    def ended(self, permit: Permit) -> None:
        """End the call with nothing to learn from it."""
        self._end(permit.lease, lambda state, now: state)

    def stopped(self, permit: Permit, code: str) -> None:
        """End the call and raise the stop flag for everybody; ``code`` is a key of ``errors.STOP_ERRORS``."""
        self._end(permit.lease, lambda state, now: gcra.stopped(state, code, now))

    def state(self) -> State:
        """The shared state as it is now."""
        self._open()
        with self._db.read() as tx:
            state, now = self._load(tx, lock=False)
        return gcra.advance(state, now)

    def _book(
        self,
        tx: Transaction,
        ticket: Ticket,
        state: State,
        now: float,
        max_wait_s: float | None,
        max_open_s: float | None,
    ) -> Permit | float:
        self._check_stop(state, now)
        booked, start = gcra.book(state, self.rates, ticket.tokens, now)
        wait = gcra.seconds_until(booked, start, now)
        if max_wait_s is not None and wait > max_wait_s:
            raise RateWaitTooLong(wait)
        ticket.start = start
        if booked.is_open:
            return self._verdict_when_open(tx, ticket, booked, now, max_open_s)
        self._save(tx, booked, gcra.advance(state, now))
        return self._verdict(ticket, booked, now)

    def _poll_turn(self, ticket: Ticket, max_wait_s: float | None, max_open_s: float | None) -> Permit | float:
        assert ticket.lease is not None
        with self._db.read() as tx:
            if not self._granted(tx, ticket.lease):
                state, now = self._load(tx, lock=False)
                self._check_stop(state, now)
                ticket.halted = state.is_open
                due = now - self._reaped_at >= REAP_S
                granted = False
            else:
                due, granted = False, True
        if due:
            self._reaped_at = now
            reap(self._db)
        if not granted:
            return TURN_S
        self._turns.leave(ticket.lease)
        return self._db.commit(lambda tx: self._book(tx, ticket, *self._load(tx), max_wait_s, max_open_s))

    def _verdict(self, ticket: Ticket, state: State, now: float) -> Permit | float:
        self._check_stop(state, now)
        assert ticket.start is not None
        wait = gcra.seconds_until(state, ticket.start, now)
        # A virtual time that is a rounding error away is due.
        return wait if wait > 1e-6 else Permit(ticket.tokens, ticket.lease, state.epoch, False, 0.0)

    def _verdict_when_open(
        self, tx: Transaction, ticket: Ticket, state: State, now: float, max_open_s: float | None
    ) -> Permit | float:
        self._check_stop(state, now)
        probed, is_probe = gcra.probe(state, now, self._probe_lease_s)
        self._save(tx, probed, None)
        ticket.halted = False
        if is_probe:
            return Permit(ticket.tokens, ticket.lease, state.epoch, True, 0.0)
        if not state.is_open:
            return self._verdict(ticket, probed, now)
        # What others waited before this limiter was made is not its callers' wait.
        open_s = now - max(state.opened_at, self._since or 0.0)
        if max_open_s is not None and open_s >= max_open_s:
            raise CircuitOpen(open_s)
        ticket.halted = True
        return max(0.05, min(LOOK_S, state.probe_at - now))

    def _granted(self, tx: Transaction, lease: int) -> bool:
        ahead = int(tx.run(_AHEAD, row=self.name, ticket=lease)[0][0])
        return self.rates.concurrency is None or ahead < self.rates.concurrency

    def _check_stop(self, state: State, now: float) -> None:
        if state.stop_code and state.stopped_at >= (self._since or 0.0) and now - state.stopped_at < STOP_S:
            raise STOP_ERRORS[state.stop_code](self.model)

    def _end(self, lease: int | None, change: Callable[[State, float], State]) -> None:
        def work(tx: Transaction) -> Sequence[int]:
            state, now = self._load(tx)
            self._save(tx, change(state, now), gcra.advance(state, now))
            return () if lease is None else self._free(tx, lease)

        self._turns.call(self._db.commit(work))

    def _leave(self, ticket: Ticket) -> None:
        lease = ticket.lease
        if lease is None:
            return
        self._turns.leave(lease)
        self._turns.call(self._db.commit(lambda tx: self._free(tx, lease)))

    def _free(self, tx: Transaction, lease: int) -> Sequence[int]:
        """End a lease; returns the tickets that have one now, when somebody here waits."""
        tx.run(_LEAVE, ticket=lease)
        if not self._turns or self.rates.concurrency is None:
            return ()
        return [int(row[0]) for row in tx.run(_HOLDERS, row=self.name)[: self.rates.concurrency]]

    def _sleep(self, ticket: Ticket, seconds: float) -> None:
        if ticket.start is None and ticket.lease is not None:
            self._turns.wait(ticket.lease)
            self._pause(0.0)
        else:
            self._pause(seconds)

    def _open(self) -> None:
        if self._since is not None:
            return
        with self._opening:
            if self._since is not None:
                return
            with self._db.write() as tx:
                tx.run(_CREATE, row=self.name)
                self._since = self._db.now(tx)

    def _load(self, tx: Transaction, *, lock: bool = True) -> tuple[State, float]:
        clock = self._db.clock
        if clock is not None:
            (row,) = tx.run(_LOCKED if lock else _STATE, row=self.name)
            return State(*row), clock()
        (row,) = tx.run(_LOCKED_AND_TIME if lock else _STATE_AND_TIME, row=self.name)
        return State(*row[:-1]), float(row[-1])

    def _save(self, tx: Transaction, state: State, unless: State | None) -> None:
        """Write the state, unless only the clock moved."""
        if state != unless:
            tx.run(_SAVE, row=self.name, **given(**{name: getattr(state, name) for name in _FIELDS}))
