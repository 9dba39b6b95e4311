"""Extractions in the store: what is pending, what an outcome changes, what a failure leaves in force."""

import pytest
from sqlalchemy import Engine, event, select

from ingest_pipeline.documents import Role, Source
from ingest_pipeline.extraction.base import Extraction, Kind, Observation, Status, Usage
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.extractions import (
    PartitionKey,
    Reextract,
    Selection,
    count_pending,
    load_pending,
    save_extractions,
)
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow, ObservationRow, Profile
from tests.builders import contact, day, record, rows, save

A, B = "a@x.example", "b@x.example"
TEXT = "I live in Lisbon. I like tea."


def claim(key: str, value: str, quote: str = "I like tea.", **other: object) -> Observation:
    start = TEXT.index(quote)
    return Observation(
        Kind.TRAIT, key, value, 0.9, None, quote, start, start + len(quote), Role.SUBJECT, day(1), None, **other  # type: ignore[arg-type]
    )  # fmt: skip


LISBON, TEA = claim("location", "Lisbon", "I live in Lisbon."), claim("interests", "tea")


def document(engine: Engine, native_id: str = "1") -> str:
    (row,) = rows(engine, DocumentRow, native_id=native_id)
    return str(row.id)


def done(engine: Engine, *found: Observation, by: str = "f1", native_id: str = "1", run: str | None = None) -> None:
    status = Status.OK if found else Status.EMPTY
    save_extractions(engine, [Extraction(document(engine, native_id), status, found)], by, "fake", run)


def failed(engine: Engine, by: str = "f1", native_id: str = "1", reason: str = "timeout") -> None:
    usage = Usage(calls=2, input_tokens=100, cost_usd=0.01)
    extraction = Extraction(document(engine, native_id), Status.FAILED, reason=reason, usage=usage)
    save_extractions(engine, [extraction], by, "fake", None)


def in_force(engine: Engine) -> list[str]:
    return sorted(row.value for row in rows(engine, ObservationRow) if not row.superseded)


def pending(engine: Engine, selection: Selection) -> dict[str, int]:
    """key → documents."""
    found = {key.key: len(ids) for page in load_pending(engine, selection) for key, ids in page}
    assert count_pending(engine, selection) == (sum(found.values()), len(found))
    return found


@pytest.fixture
def two(engine: Engine) -> Engine:
    """Two people: one with a note and a mail, one with a note."""
    save(engine, record(contact(1, A), text=TEXT, native_id="1"), record(contact(2, B), text=TEXT, native_id="2"))
    save(engine, record(contact(1, A), text=TEXT, native_id="3"), source=Source.EMAIL)
    return engine


def key(engine: Engine, email: str, source: Source) -> str:
    (row,) = rows(engine, Profile, id=find_profile(engine, email))
    return PartitionKey(row.id, source, row.partition_key).key


def test_everything_new_is_pending_by_profile_and_source(two: Engine) -> None:
    crm, mail, other = key(two, A, Source.CRM), key(two, A, Source.EMAIL), key(two, B, Source.CRM)
    assert pending(two, Selection("f1")) == {crm: 1, mail: 1, other: 1}
    assert pending(two, Selection("f1", sources=frozenset({Source.EMAIL}))) == {mail: 1}
    assert pending(two, Selection("f1", profiles=frozenset({find_profile(two, B)}))) == {other: 1}
    nobody = frozenset({"00000000-0000-0000-0000-000000000000"})
    assert pending(two, Selection("f1", profiles=nobody)) == {}


@pytest.mark.parametrize(
    ("reextract", "expected"),
    [
        (Reextract.MISSING, {"failed", "new"}),
        (Reextract.STALE, {"failed", "new", "stale"}),
        (Reextract.ALL, {"failed", "new", "stale", "done"}),
    ],
)
def test_missing_stale_all(engine: Engine, reextract: Reextract, expected: set[str]) -> None:
    save(engine, *(record(contact(1), text=TEXT, native_id=name) for name in ("new", "failed", "stale", "done")))
    failed(engine, by="now", native_id="failed")
    done(engine, LISBON, by="before", native_id="stale")
    done(engine, by="now", native_id="done")
    names = {document(engine, name): name for name in ("new", "failed", "stale", "done")}
    found = [i for page in load_pending(engine, Selection("now", reextract)) for _, ids in page for i in ids]
    assert {names[i] for i in found} == expected


def test_old_versions_and_what_is_nobodys_is_not_pending(engine: Engine) -> None:
    save(engine, record(contact(1), text="A", modified=day(1)), record(contact(9, claims=False), native_id="2"))
    save(engine, record(contact(1), text="B", modified=day(2)))
    assert sum(pending(engine, Selection("f1")).values()) == 1


def test_the_oldest_document_comes_first(engine: Engine) -> None:
    save(engine, *(record(contact(1), native_id=str(n), said=day(n)) for n in (3, 1, 2)))
    ((_, ids),) = next(load_pending(engine, Selection("f1")))
    assert ids == [document(engine, n) for n in "123"]


def test_pages_are_bounded_in_profiles(engine: Engine) -> None:
    save(engine, *(record(contact(n), native_id=str(n)) for n in range(7)))
    pages = list(load_pending(engine, Selection("f1"), page=3))
    assert [len(page) for page in pages] == [3, 3, 1]
    keys = [key for page in pages for key, _ in page]
    assert keys == sorted(set(keys))


def test_a_failed_document_is_met_once_per_run_and_pending_again_after(two: Engine) -> None:
    for page in load_pending(two, Selection("f1"), page=1):
        for _, ids in page:
            save_extractions(two, [Extraction(i, Status.FAILED, reason="x") for i in ids], "f1", "fake", None)
    assert count_pending(two, Selection("f1")) == (3, 3)


def test_a_failure_leaves_what_was_observed_in_force(two: Engine) -> None:
    done(two, LISBON, by="f1")
    failed(two, by="f2")
    assert in_force(two) == ["Lisbon"]
    (row,) = rows(two, DocumentRow, native_id="1")
    assert (row.state, row.fingerprint) == ("failed", "f2")
    assert count_pending(two, Selection("f2"))[0] == 3


def test_a_newer_extraction_supersedes_and_an_older_one_may_come_back(two: Engine) -> None:
    done(two, LISBON, TEA, by="f1")
    done(two, TEA, by="f2")
    assert in_force(two) == ["tea"]
    assert len(rows(two, ObservationRow)) == 3
    done(two, LISBON, TEA, by="f1")
    assert in_force(two) == ["Lisbon", "tea"]
    assert len(rows(two, ObservationRow)) == 3
    done(two, by="f3")
    assert in_force(two) == []


def test_the_same_outcome_again_is_one_and_costs_add_up(two: Engine) -> None:
    failed(two)
    failed(two)
    done(two, LISBON)
    done(two, LISBON)
    (row,) = rows(two, ExtractionRow)
    assert (row.status, row.reason, row.n_observations, row.attempts) == ("ok", None, 1, 4)
    assert (row.calls, row.input_tokens, round(row.cost_usd, 4)) == (4, 200, 0.02)
    assert in_force(two) == ["Lisbon"]


def test_a_profile_is_to_be_folded_when_its_observations_changed_and_only_then(two: Engine) -> None:
    def changes() -> dict[str, int]:
        return {row.id: row.changes for row in rows(two, Profile)}

    first, second = find_profile(two, A), find_profile(two, B)
    before = changes()
    done(two, LISBON)
    after = changes()
    assert after[first] > before[first]
    assert after[second] == before[second]
    failed(two, native_id="2")
    done(two, native_id="2")
    assert changes() == after
    done(two)
    assert changes()[first] > after[first]


def test_one_batch_may_hold_documents_of_many(two: Engine) -> None:
    outcomes = [Extraction(document(two, n), Status.OK, (LISBON,)) for n in "321"]
    save_extractions(two, [*outcomes, Extraction(document(two, "1"), Status.OK, (LISBON,))], "f1", "fake", "run 1")
    assert in_force(two) == ["Lisbon"] * 3
    assert {row.run_id for row in rows(two, ExtractionRow)} == {"run 1"}
    save_extractions(two, [], "f1", "fake", None)


def test_looking_for_pending_documents_uses_their_index(two: Engine) -> None:
    """It costs as much as there are pending, not as there are documents."""
    if two.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's planner rightly scans so small a table")
    selection = Selection("f1")
    statements: list[tuple[str, object]] = []
    with two.connect() as connection:
        event.listen(two, "before_cursor_execute", lambda *args: statements.append((args[2], args[3])))
        connection.execute(select(DocumentRow.profile_id).where(*selection.conditions()).distinct()).all()
        statement, parameters = statements[-1]
    with reading(two) as connection:
        plan = "".join(str(row) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))  # type: ignore[arg-type]
    assert "ix_documents_pending" in plan


def test_partition_keys_read_as_dagster_writes_them() -> None:
    assert PartitionKey("id", Source.CRM, "0123abcd").key == "0123abcd|crm"
