"""The rate limiter: its arithmetic by properties, its shared state on both databases and across processes."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from ingest_pipeline.llm import gcra
from ingest_pipeline.llm.errors import CredentialsRejected, RateWaitTooLong
from ingest_pipeline.llm.gcra import Rates, State
from ingest_pipeline.llm.limiter import STOP_S, CircuitOpen, Limiter, Permit, Ticket
from ingest_pipeline.llm.limits import LimitsDb, Worker, living_workers, open_limits, reap
from tests.scripted import FakeClock

NO_LIMIT = Rates()


@pytest.fixture
def limits_engine(database_url: str) -> Iterator[Engine]:
    engine = open_limits(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def db(limits_engine: Engine, clock: FakeClock) -> LimitsDb:
    return LimitsDb(limits_engine, clock)


def limiter(db: LimitsDb, clock: FakeClock, rates: Rates = NO_LIMIT, lease_s: float = 30.0) -> Limiter:
    worker = Worker(db, lease_s)
    worker.beat()
    return Limiter(db, worker, "model", rates, probe_lease_s=60.0, pause=clock.sleep)


# The arithmetic.

gaps = st.lists(st.floats(0, 20, allow_nan=False), min_size=1, max_size=80)
rates_of_calls = st.builds(Rates, requests=st.sampled_from([1, 3, 10, 60, 600, 5_000]), burst_s=st.floats(0, 3))


def most_in_window(times: list[float], window: float) -> int:
    """The largest number of times in any half-open window, forgiving what adding floats costs."""
    edge = window - 1e-6
    return max(sum(start <= other < start + edge for other in times) for start in times)


@given(gaps, rates_of_calls)
def test_no_minute_holds_more_than_the_limit(gaps: list[float], rates: Rates) -> None:
    """However callers arrive, at most the configured requests start in any minute, the burst included."""
    state, now, starts = State(), 1_000.0, []
    for gap in gaps:
        now += gap
        state, start = gcra.book(state, rates, 0, now)
        starts.append(now + gcra.seconds_until(state, start, now))
    assert rates.requests is not None
    assert most_in_window(starts, 60) <= rates.requests


@given(gaps, rates_of_calls, st.floats(0.1, 30))
def test_no_window_holds_more_than_rate_times_window_and_burst(gaps: list[float], rates: Rates, window: float) -> None:
    """The bound that the limiter documents, for windows of any length."""
    state, now, starts = State(), 1_000.0, []
    for gap in gaps:
        now += gap / 10
        state, start = gcra.book(state, rates, 0, now)
        starts.append(now + gcra.seconds_until(state, start, now))
    assert rates.requests_per_second is not None
    burst = rates.request_tolerance_s * rates.requests_per_second
    assert most_in_window(starts, window) <= rates.requests_per_second * window + burst + 1 + 1e-6


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 20_000)), min_size=1, max_size=60))
def test_no_minute_holds_more_tokens_than_the_limit_and_one_request(calls: list[tuple[float, int]]) -> None:
    """A request is admitted when the debt before it is paid, so a window may exceed the limit by its last request."""
    rates = Rates(tokens=30_000)
    state, now, starts = State(), 1_000.0, []
    for gap, tokens in calls:
        now += gap
        state, start = gcra.book(state, rates, tokens, now)
        starts.append((now + gcra.seconds_until(state, start, now), tokens))
    for begin, _ in starts:
        inside = [tokens for at, tokens in starts if begin <= at < begin + 60 - 1e-6]
        assert sum(inside) <= 30_000 + max(inside) + 1e-6


events = st.lists(
    st.tuples(st.floats(0, 4), st.sampled_from(["book", "book", "book", "ok", "refused", "failed"])),
    min_size=1,
    max_size=120,
)


def simulate(events: list[tuple[float, str]], rates: Rates) -> list[tuple[int, float]]:
    """(booking number, time it was admitted), with refusals, errors and probes in between, until all are through."""
    state, now, booked = State(), 1_000.0, 0
    waiting: list[tuple[int, float]] = []
    admitted: list[tuple[int, float]] = []

    def run_until(end: float) -> None:
        while waiting and not state.is_open:
            number, start = min(waiting, key=lambda each: gcra.seconds_until(state, each[1], now))
            due = now + gcra.seconds_until(state, start, now)
            if due > end:
                break
            admitted.append((number, due))
            waiting.remove((number, start))

    for gap, event in [*events, (0.0, "ok"), (10_000_000.0, "ok")]:
        run_until(now + gap)
        now += gap
        if event == "book":
            state, start = gcra.book(state, rates, 100, now)
            waiting.append((booked, start))
            booked += 1
        elif event == "ok":
            state = gcra.succeeded(state, rates, 0, now)
        elif event == "refused":
            state = gcra.refused(state, state.epoch, 2.5, now)
        else:
            state = gcra.failed(state, now, probing=state.is_open)
    assert not waiting
    return admitted


@given(events)
def test_everybody_gets_through_in_the_order_of_booking(events: list[tuple[float, str]]) -> None:
    """Refusals, open circuits and changed rates delay all and let nobody overtake."""
    numbers = [number for number, _ in simulate(events, Rates(requests=60, tokens=10_000))]
    assert numbers == sorted(numbers)


@given(events)
def test_trouble_never_admits_more_than_the_limit(events: list[tuple[float, str]]) -> None:
    """A lowered rate that rises, a block that ends, a circuit that closes: no minute exceeds the limit."""
    times = [at for _, at in simulate(events, Rates(requests=60))]
    assert not times or most_in_window(times, 60) <= 60


@given(st.lists(st.floats(-3_600, 3_600), max_size=30))
def test_a_clock_that_is_set_back_stops_nobody_for_long(jumps: list[float]) -> None:
    """After any jumps of the clock the next slot is at most the queue and the longest block away."""
    rates, state, now = Rates(requests=60), State(), 100_000.0
    for jump in jumps:
        now += jump
        state, _ = gcra.book(state, rates, 0, now)
    state, start = gcra.book(state, rates, 0, now)
    assert gcra.seconds_until(state, start, now) <= 1.1 * (len(jumps) + 1)


def test_only_the_first_refusal_of_a_burst_lowers_the_rate() -> None:
    """Calls that were under way when the first 429 came tell nothing new."""
    state = State(virtual=5, at=10)
    for _ in range(8):
        state = gcra.refused(state, epoch=0, retry_after=3, now=10)
    assert state.scale == pytest.approx(0.9)
    assert state.blocked_until == 13
    assert gcra.refused(state, epoch=1, retry_after=1, now=14).scale == pytest.approx(0.81)


def test_a_lowered_rate_rises_quickly_and_then_carefully() -> None:
    """Quickly below 95 % of the rate that was refused, ten times slower above, never over the configured one."""
    state = gcra.refused(State(), epoch=0, retry_after=0, now=1)
    successes = 0
    while state.scale < 1:
        before = state.scale
        state = gcra.succeeded(state, Rates(requests=60), 0, now=1)
        successes += 1
        assert state.scale - before <= (gcra.RECOVERY if before < 0.95 else gcra.PROBING) + 1e-9
    assert state.scale == 1.0
    assert 100 < successes < 130


def test_tokens_are_corrected_after_the_call() -> None:
    """An answer that took fewer tokens than booked brings the next slot nearer by as much."""
    rates = Rates(tokens=60_000, burst_s=0, margin=0)
    state, _ = gcra.book(State(), rates, 10_000, now=100)
    state = gcra.succeeded(state, rates, extra_tokens=-4_000, now=100)
    state, start = gcra.book(state, rates, 1, now=100)
    assert gcra.seconds_until(state, start, now=100) == pytest.approx(6.0)


def test_retry_after_is_obeyed_up_to_a_quarter_of_an_hour() -> None:
    state = gcra.refused(State(), epoch=0, retry_after=1e9, now=100)
    assert gcra.seconds_until(state, 0.0, now=100) == pytest.approx(gcra.MAX_BLOCK_S)


# The shared state.


def test_a_second_limiter_queues_behind_the_first(db: LimitsDb, clock: FakeClock) -> None:
    """Two processes with the same name share one rate, first come first served."""
    rates = Rates(requests=60, burst_s=0, margin=0)
    first, second = limiter(db, clock, rates), limiter(db, clock, rates)
    assert isinstance(first.enter(Ticket(0)), Permit)
    waits = [each.enter(Ticket(0)) for each in (second, first, second)]
    assert waits == [pytest.approx(1.0), pytest.approx(2.0), pytest.approx(3.0)]


def test_acquire_sleeps_exactly_until_its_slot(db: LimitsDb, clock: FakeClock) -> None:
    """Six requests at one per second take five seconds, not more."""
    each = limiter(db, clock, Rates(requests=60, burst_s=0, margin=0))
    for _ in range(6):
        each.succeeded(each.acquire(0))
    assert clock.now == pytest.approx(1_000_005.0)


def test_nothing_is_booked_when_the_wait_is_too_long(db: LimitsDb, clock: FakeClock) -> None:
    """A caller with a deadline is told how long it would take, and takes nobody's place."""
    each = limiter(db, clock, Rates(requests=6, burst_s=0, margin=0))
    each.acquire(0)
    with pytest.raises(RateWaitTooLong) as refusal:
        each.acquire(0, max_wait_s=5)
    assert refusal.value.retry_after_s == pytest.approx(10.0)
    assert each.enter(Ticket(0)) == pytest.approx(10.0)


def test_a_refusal_moves_those_who_sleep_already(db: LimitsDb, clock: FakeClock) -> None:
    """A 429 delays every booked slot by Retry-After and stretches the wait by the lowered rate."""
    each = limiter(db, clock, Rates(requests=60, burst_s=0, margin=0))
    permit = each.acquire(0)
    sleeper = Ticket(0)
    assert each.enter(sleeper) == pytest.approx(1.0)
    each.refused(permit, retry_after_s=4)
    assert each.poll(sleeper) == pytest.approx(4 + 1 / 0.9)


def test_leases_are_given_in_the_order_of_asking(db: LimitsDb, clock: FakeClock) -> None:
    """The third caller gets the first lease that comes free, the fourth the second, whichever process they are in."""
    rates = Rates(concurrency=2)
    here, there = limiter(db, clock, rates), limiter(db, clock, rates)
    held = [here.enter(Ticket(0)), there.enter(Ticket(0))]
    third, fourth = Ticket(0), Ticket(0)
    assert not isinstance(there.enter(third), Permit)
    assert not isinstance(here.enter(fourth), Permit)
    assert isinstance(held[0], Permit)
    here.succeeded(held[0])
    assert not isinstance(here.poll(fourth), Permit)
    assert isinstance(there.poll(third), Permit)
    assert isinstance(held[1], Permit)
    there.ended(held[1])
    assert isinstance(here.poll(fourth), Permit)


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_never_more_calls_at_once_than_allowed(choices: list[int], places: int) -> None:
    """Whatever order callers come, ask again and leave in: the leases in use are at most the limit."""
    clock = FakeClock()
    db = LimitsDb(open_limits("sqlite://"), clock)
    each = limiter(db, clock, Rates(concurrency=places))
    waiting: list[Ticket] = []
    holding: list[Permit] = []
    for choice in choices:
        if choice == 0 and holding:
            each.succeeded(holding.pop())
        elif choice in (1, 2) and waiting:
            ticket = waiting[choice % len(waiting)]
            verdict = each.poll(ticket)
            if isinstance(verdict, Permit):
                assert waiting.index(ticket) < places - len(holding), "those before it have a lease too"
                waiting.remove(ticket)
                holding.append(verdict)
        else:
            ticket = Ticket(0)
            verdict = each.enter(ticket)
            if isinstance(verdict, Permit):
                holding.append(verdict)
            else:
                waiting.append(ticket)
        assert len(holding) <= places


def test_a_dead_holder_blocks_nobody_longer_than_its_lease(db: LimitsDb, clock: FakeClock) -> None:
    """A process that was killed with all leases in hand is reaped once its own lease has run out."""
    dead = limiter(db, clock, Rates(concurrency=1), lease_s=30)
    dead.acquire(0)
    living = limiter(db, clock, Rates(concurrency=1), lease_s=300)
    ticket = Ticket(0)
    assert not isinstance(living.enter(ticket), Permit)
    clock.sleep(29)
    assert not isinstance(living.poll(ticket), Permit)
    clock.sleep(2)
    living.poll(ticket)
    assert isinstance(living.poll(ticket), Permit)


def test_a_worker_lives_as_long_as_it_renews(db: LimitsDb, clock: FakeClock) -> None:
    """Also when the clock is set back by an hour: what was written before does not make the dead live on."""
    worker, other = Worker(db, 30), Worker(db, 30)
    worker.beat()
    other.beat()
    clock.sleep(20)
    worker.beat()
    clock.sleep(20)
    assert living_workers(db) == {worker.id}
    clock.sleep(-2 * 3_600)
    assert living_workers(db) == set()
    reap(db)


def test_server_errors_in_a_row_let_one_probe_through(db: LimitsDb, clock: FakeClock) -> None:
    """The sixth error opens the circuit; after a second exactly one caller may try; its answer lets all go on."""
    each = limiter(db, clock)
    for _ in range(gcra.OPEN_AFTER):
        each.failed(each.acquire(0))
    tickets = [Ticket(0), Ticket(0), Ticket(0)]
    assert not any(isinstance(each.enter(ticket), Permit) for ticket in tickets)
    clock.sleep(1.01)
    verdicts = [each.poll(ticket) for ticket in tickets]
    probes = [verdict for verdict in verdicts if isinstance(verdict, Permit)]
    assert len(probes) == 1
    assert probes[0].probing
    each.succeeded(probes[0])
    assert all(isinstance(each.poll(ticket), Permit) for ticket in tickets[1:])


def test_a_failed_probe_doubles_the_pause(db: LimitsDb, clock: FakeClock) -> None:
    each = limiter(db, clock)
    for _ in range(gcra.OPEN_AFTER):
        each.failed(each.acquire(0))
    for pause in (1, 2, 4, 8, 16, 30, 30):
        assert each.state().probe_at - clock.now == pytest.approx(pause)
        clock.sleep(pause)
        each.failed(each.acquire(0))


def test_a_probe_that_dies_is_followed_by_another(db: LimitsDb, clock: FakeClock) -> None:
    """A killed prober keeps the circuit open for no longer than a probe may take."""
    each = limiter(db, clock)
    for _ in range(gcra.OPEN_AFTER):
        each.failed(each.acquire(0))
    clock.sleep(1)
    assert each.acquire(0).probing
    waiting = Ticket(0)
    assert not isinstance(each.enter(waiting), Permit)
    clock.sleep(61)
    assert isinstance(each.poll(waiting), Permit)


def test_an_open_circuit_is_not_waited_for_when_there_is_a_fallback(db: LimitsDb, clock: FakeClock) -> None:
    each = limiter(db, clock)
    for _ in range(gcra.OPEN_AFTER):
        each.failed(each.acquire(0))
    with pytest.raises(CircuitOpen):
        each.acquire(0, max_open_s=0.0)


def test_an_address_where_nobody_answers_opens_the_circuit_sooner(db: LimitsDb, clock: FakeClock) -> None:
    """No document can be the cause. Whoever waits is told, also who waits for a turn."""
    each = limiter(db, clock, Rates(concurrency=1))
    for _ in range(gcra.OPEN_WHEN_ABSENT):
        assert not each.state().is_open
        each.failed(each.acquire(0), absent=True)
    first, second = Ticket(0), Ticket(0)
    each.enter(first)
    each.enter(second)
    each.poll(second)
    assert (first.halted, second.halted) == (True, True)
    each.poll(first)
    clock.sleep(1)
    probe = each.poll(first)
    assert isinstance(probe, Permit)
    assert (probe.probing, first.halted) == (True, False)


def test_who_comes_later_has_a_wait_of_their_own(db: LimitsDb, clock: FakeClock) -> None:
    """What an outage lasted before a run began is not charged to the run."""
    early = limiter(db, clock)
    for _ in range(gcra.OPEN_AFTER):
        early.failed(early.acquire(0))
    clock.sleep(3_600)
    early.failed(early.acquire(0))
    with pytest.raises(CircuitOpen) as charged:
        early.acquire(0, max_open_s=300)
    assert charged.value.seconds == pytest.approx(3_600)
    late = limiter(db, clock)
    late.state()
    began = clock.now

    def go_on() -> None:
        while True:
            late.failed(late.acquire(0, max_open_s=300))

    with pytest.raises(CircuitOpen) as own:
        go_on()
    assert own.value.seconds == pytest.approx(clock.now - began)
    assert 300 <= clock.now - began < 335


def test_the_stop_flag_ends_all_waits(db: LimitsDb, clock: FakeClock) -> None:
    """A rejected key stops those who sleep before a slot and those who come later, in every process."""
    here, there = limiter(db, clock, Rates(requests=6)), limiter(db, clock, Rates(requests=6))
    permit = here.acquire(0)
    sleeper = Ticket(0)
    there.enter(sleeper)
    here.stopped(permit, "auth")
    with pytest.raises(CredentialsRejected):
        there.poll(sleeper)
    with pytest.raises(CredentialsRejected):
        here.acquire(0)


def test_the_stop_flag_is_forgotten_by_a_new_start_and_in_time(db: LimitsDb, clock: FakeClock) -> None:
    """Someone who starts again has done something about it; a server that keeps running tries again later."""
    old = limiter(db, clock)
    old.stopped(old.acquire(0), "quota")
    clock.sleep(1)
    new = limiter(db, clock)
    assert isinstance(new.enter(Ticket(0)), Permit)
    clock.sleep(STOP_S)
    old.succeeded(old.acquire(0))
    assert old.state().stop_code == ""


def test_threads_wait_for_leases_without_asking_the_database_all_the_time(limits_engine: Engine) -> None:
    """Forty calls of eight threads on two leases: all served, in real time."""
    db = LimitsDb(limits_engine)
    worker = Worker(db)
    worker.start()
    each = Limiter(db, worker, "model", Rates(concurrency=2))
    at_once, most = 0, 0
    lock = threading.Lock()

    def call() -> None:
        nonlocal at_once, most
        for _ in range(5):
            permit = each.acquire(0)
            with lock:
                at_once += 1
                most = max(most, at_once)
            with lock:
                at_once -= 1
            each.succeeded(permit)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    worker.close()
    assert not any(thread.is_alive() for thread in threads)
    assert most <= 2


CALLER = """
import json, sys, time
from ingest_pipeline.llm.gcra import Rates
from ingest_pipeline.llm.limiter import Limiter
from ingest_pipeline.llm.limits import LimitsDb, Worker, open_limits
db = LimitsDb(open_limits(sys.argv[1]))
worker = Worker(db)
worker.start()
limiter = Limiter(db, worker, "model", Rates(requests=1800, concurrency=3, burst_s=0, margin=0))
times = []
for _ in range(15):
    permit = limiter.acquire(10)
    times.append(time.time())
    limiter.succeeded(permit, 10)
worker.close()
print(json.dumps(times))
"""


def test_processes_share_one_rate_exactly(database_url: str) -> None:
    """Three processes, 45 calls at 30 per second: no faster, hardly slower, and everyone is served."""
    open_limits(database_url).dispose()
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", CALLER, database_url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    times = sorted(at for output in outputs for at in json.loads(output))
    assert len(times) == 45
    # Jitter of the machine moves a call after its slot; twenty slots cannot shrink by more than that.
    assert min(times[n + 20] - times[n] for n in range(25)) > 20 / 30 - 0.15


def test_opening_twice_at_once_creates_the_tables_once(empty_database_url: str) -> None:
    """Workers that start together all find the limiter's tables."""
    with ThreadPoolExecutor(4) as pool:
        for engine in pool.map(open_limits, [empty_database_url] * 4):
            engine.dispose()


def test_state_and_table_agree() -> None:
    """Every field of the state is a column, so none is lost between calls."""
    from ingest_pipeline.llm.tables import limits_table

    assert {column.name for column in limits_table.columns} == {"name", *replace(State()).__dataclass_fields__}
