"""Merging and splitting in random histories: what is taken back was never there, what is decided survives."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from ingest_pipeline.documents import Record
from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import (
    Profile,
)
from tests.builders import (
    day,
    documents,
    empty,
    facts,
    identifiers_by_profile,
    people,
    record,
    rows,
    save,
    save_text,
)
from tests.merging import merge, shared_store, snapshot, split, sync, undo
from tests.strategies import persons


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with shared_store(request, tmp_path_factory.mktemp("store")) as engine:
        yield engine


@pytest.fixture
def engine(store: Engine) -> Engine:
    empty(store)
    return store


@st.composite
def worlds(draw: st.DrawFn, least: int = 1) -> list[Record]:
    said = draw(st.lists(persons(), min_size=least, max_size=5))
    texts = ("I live in Lisbon.", "I moved to Porto.", "I work at Acme.")
    return [
        record(p, native_id=draw(st.sampled_from("1234567")), text=draw(st.sampled_from(texts)), said=day(n + 1))
        for n, p in enumerate(said)
    ]


Step = tuple[str, Any]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("merge"), st.tuples(st.integers(0, 9), st.integers(0, 9))),
        st.tuples(st.just("split"), st.tuples(st.integers(0, 9), st.integers(1, 9))),
        st.tuples(st.just("undo"), st.integers(0, 9)),
        st.tuples(st.just("sync"), worlds()),
    ),
    max_size=5,
)


def living(engine: Engine) -> list[str]:
    """In an order that does not depend on random ids."""
    keys = identifiers_by_profile(engine)
    external = {row.id: row.external_id or "" for row in rows(engine, Profile)}
    return sorted(keys, key=lambda profile: (sorted(keys[profile]), external[profile]))


def shown(engine: Engine, profile: str) -> list[str]:
    return [i for i in sorted(identifiers_by_profile(engine)[profile]) if not i.startswith("profile:")]


def take(engine: Engine, step: Step) -> None:
    """A step of a history, as far as it makes sense there."""
    kind, what = step
    if kind == "sync":
        sync(engine, *what)
        return
    found = living(engine)
    if not found:
        return
    try:
        if kind == "merge":
            merge(engine, found[what[0] % len(found)], found[what[1] % len(found)])
        elif kind == "split":
            profile = found[what[0] % len(found)]
            names = shown(engine, profile)
            split(engine, profile, *(name for bit, name in enumerate(names) if what[1] >> bit & 1))
        else:
            undo(engine, found[what % len(found)])
    except InvalidInput as error:
        if error.code not in {"already_merged", "nothing_left", "no_merge", "no_identifiers"}:
            raise


def start(engine: Engine, world: Iterable[Record]) -> None:
    empty(engine)
    sync(engine, *world)
    save_text(engine, create_profile(engine, "customer 7"), "I work at Bolt.", None, None, day(1))
    sync(engine)


histories = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


@histories
@given(worlds(), steps, st.integers(0, 9), st.integers(1, 9))
def test_merge_then_split_is_before_after_any_history(
    engine: Engine, world: list[Record], history: list[Step], a: int, b: int
) -> None:
    start(engine, world)
    for step in history:
        take(engine, step)
    found = living(engine)
    if len(found) < 2:
        return
    one, other = found[a % len(found)], found[(a + b % (len(found) - 1) + 1) % len(found)]
    before = snapshot(engine)
    merge(engine, one, other)
    assert find_profile(engine, other) == one
    undo(engine, one)
    assert snapshot(engine) == before


def one_by_one(engine: Engine, records: Iterable[Record]) -> None:
    """Each in a batch of its own, so that no two profiles are of the same age."""
    for item in records:
        save(engine, item)
    sync(engine)


@histories
@given(worlds(least=2), steps, st.integers(0, 9), st.integers(1, 9), st.lists(worlds(), min_size=1, max_size=2))
def test_a_merge_that_is_taken_back_was_never_there(
    engine: Engine, world: list[Record], history: list[Step], a: int, b: int, later: list[list[Record]]
) -> None:
    """Whatever was read while it held."""
    states = []
    for merged in (True, False):
        empty(engine)
        one_by_one(engine, world)
        for step in history:
            take(engine, step)
        found = living(engine)
        if len(found) < 2:
            return
        one, other = found[a % len(found)], found[(a + b % (len(found) - 1) + 1) % len(found)]
        if merged:
            merge(engine, one, other)
        for records in later:
            one_by_one(engine, records)
        if merged:
            undo(engine, one)
        sync(engine)
        keys = identifiers_by_profile(engine)
        ended = [keys[find_profile(engine, profile)] for profile in found if is_known(engine, profile)]
        states.append((people(engine), documents(engine), facts(engine), ended))
    assert states[0] == states[1]


def is_known(engine: Engine, profile: str) -> bool:
    """Profiles of which nothing is left are deleted."""
    with reading(engine) as connection:
        return bool(connection.execute(select(func.count()).where(Profile.id == profile)).scalar_one())


@histories
@given(worlds(least=2), steps, st.integers(0, 9), st.integers(1, 9), st.lists(worlds(), min_size=1, max_size=3))
def test_decisions_survive_every_later_sync(
    engine: Engine, world: list[Record], history: list[Step], a: int, b: int, later: list[list[Record]]
) -> None:
    """What was merged resolves to one profile, what was split to two."""
    start(engine, world)
    for step in history:
        take(engine, step)
    found = living(engine)
    if len(found) < 2:
        return
    one, other = found[a % len(found)], found[(a + b % (len(found) - 1) + 1) % len(found)]
    merge(engine, one, other)
    names = shown(engine, one)
    leaving = [name for bit, name in enumerate(names) if b >> bit & 1]
    apart: list[set[str]] = []
    try:
        done = split(engine, one, *leaving)
        # What leaves may have kept somebody else apart from who stays: then there are more identifiers now.
        now = [set(shown(engine, find_profile(engine, p))) for p in (done.profile, done.other or "")]
        assert now[0] | now[1] >= set(names)
        apart = [side & set(names) for side in now]
    except InvalidInput:
        pass
    for records in later:
        sync(engine, *records)
        if not apart:
            assert len({find_profile(engine, profile) for profile in (one, other)}) == 1
        for group in identifiers_by_profile(engine).values():
            assert not apart or not all(group & side for side in apart)
        for side in apart:
            assert len({profile for profile, group in identifiers_by_profile(engine).items() if group & side}) <= 1
