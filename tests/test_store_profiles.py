"""Profile tables: what a fold writes, what it leaves alone, and who wins when two fold at once."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, delete, event, text, update

from ingest_pipeline.documents import Role
from ingest_pipeline.extraction.base import Extraction, Kind, Observation, Status
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.fold import fold
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.states import Rules
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.extractions import save_extractions
from ingest_pipeline.store.fold_outcomes import Folded, TraitChange
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.people import mark_changed
from ingest_pipeline.store.profiles import Unfolded, count_unfolded, load_unfolded, save_states
from ingest_pipeline.store.tables import (
    DocumentRow,
    Evidence,
    Memory,
    ObservationRow,
    Profile,
    TraitHistory,
    TraitRow,
)
from tests.builders import contact, day, facts, record, rows, save, sender

SCHEMA = load_traits(None)
TEXT = "🙂 J’habite à Liége; I live in Lisbon. I like te\u0301a and go. 👩🏽‍🚀 I own two dogs."
A, B = "a@x.example", "b@x.example"


def observed(
    quote: str, key: str, value: object, number: int = 1, kind: Kind = Kind.TRAIT, **other: object
) -> Observation:
    start = TEXT.index(quote)
    fields: dict[str, object] = {"confidence": 0.9, "importance": 0.5, "retracted": False} | other
    return Observation(
        kind=kind, key=key, value=value, quote=quote, start=start, end=start + len(quote), role=Role.SUBJECT,
        said_at=day(number), effective_at=None, **fields,  # type: ignore[arg-type]
    )  # fmt: skip


LISBON = observed("I live in Lisbon.", "location", "Lisbon")
LIEGE = observed("J’habite à Liége", "location", "Liége", 2)
TEA = observed("te\u0301a", "interests", "te\u0301a")
GO = observed("go", "interests", "go")
DOGS = observed("👩🏽‍🚀 I own two dogs.", "fact", "Owns two dogs.", kind=Kind.MEMORY)


def extract(engine: Engine, *found: Observation, native_id: str = "1", fingerprint: str = "f1") -> None:
    (row,) = rows(engine, DocumentRow, native_id=native_id)
    status = Status.OK if found else Status.EMPTY
    save_extractions(engine, [Extraction(row.id, status, found)], fingerprint, "fake", None)


def refold(engine: Engine, profiles: list[str] | None = None) -> list[Folded]:
    return list(fold_profiles(engine, SCHEMA, profiles))


@pytest.fixture
def stored(engine: Engine) -> Engine:
    """One profile with one document, from which nothing was extracted yet."""
    save(engine, record(contact(1, A), text=TEXT, said=day(1)))
    refold(engine)
    return engine


def table(engine: Engine, of: type[object]) -> list[object]:
    return sorted(rows(engine, of), key=lambda row: str(row.id))


TABLES = (Profile, TraitRow, TraitHistory, Memory, Evidence)


def test_quotes_stand_at_their_place_in_the_database(stored: Engine) -> None:
    """Offsets are code points on both databases, whatever the text is made of."""
    extract(stored, LISBON, LIEGE, TEA, DOGS)
    refold(stored)
    query = text(
        "SELECT substr(d.text, e.start_char + 1, e.end_char - e.start_char) = e.quote "
        "FROM evidence e JOIN documents d ON d.id = e.document_id"
    )
    with reading(stored) as connection:
        equal = list(connection.execute(query).scalars())
    assert len(equal) == 3
    assert all(equal)


def test_every_fact_has_evidence_and_arrays_name_the_element(stored: Engine) -> None:
    extract(stored, LISBON, TEA, GO, DOGS)
    (folded,) = refold(stored)
    assert (folded.traits, folded.memories, folded.evidence) == (2, 1, 4)
    found = facts(stored)
    assert sorted((quote, value) for _, _, _, quote, _, value, _ in found["evidence"]) == [
        ("I live in Lisbon.", None), ("go", "go"), ("te\u0301a", "te\u0301a"), ("👩🏽‍🚀 I own two dogs.", None),
    ]  # fmt: skip


def test_folding_again_writes_nothing(stored: Engine) -> None:
    extract(stored, LISBON, LIEGE, TEA, DOGS)
    refold(stored)
    before = [table(stored, of) for of in TABLES]
    (row,) = rows(stored, Profile)
    assert refold(stored) == []
    (again,) = refold(stored, [row.id])
    assert not again.changed
    assert (again.traits, again.memories) == (2, 1)
    assert [table(stored, of) for of in TABLES] == before


def test_only_what_differs_is_written(stored: Engine) -> None:
    extract(stored, LISBON, TEA, DOGS)
    refold(stored)
    before = {row.key: row for row in rows(stored, TraitRow)}
    (memory,) = rows(stored, Memory)
    extract(stored, LISBON, LIEGE, TEA, DOGS)
    statements: list[str] = []
    event.listen(stored, "before_cursor_execute", lambda *args: statements.append(args[2]))
    (folded,) = refold(stored)
    after = {row.key: row for row in rows(stored, TraitRow)}
    assert folded.trait_changes == {TraitChange("location", "update"): 1}
    assert after["interests"] == before["interests"]
    assert rows(stored, Memory) == [memory]
    assert after["location"].updated_at > before["location"].updated_at
    assert after["location"].created_at == before["location"].created_at
    assert not [statement for statement in statements if statement.startswith("INSERT INTO memories")]


def test_what_is_no_longer_said_goes_and_leaves_history(stored: Engine) -> None:
    extract(stored, LISBON, DOGS)
    refold(stored)
    gone = replace(LISBON, retracted=True, said_at=day(5))
    extract(stored, LISBON, gone)
    (folded,) = refold(stored)
    assert folded.trait_changes == {TraitChange("location", "delete"): 1}
    assert (folded.memories_deleted, folded.traits, folded.evidence) == (1, 0, 0)
    assert [(r.value, r.valid_from, r.valid_to) for r in rows(stored, TraitHistory)] == [("Lisbon", day(1), day(5))]
    extract(stored)
    refold(stored)
    assert facts(stored) == {"traits": [], "history": [], "memories": [], "evidence": []}


def test_a_refused_value_is_marked_on_its_observation_until_it_is_allowed(stored: Engine) -> None:
    extract(stored, observed("go", "detail_preference", "endless"))
    (folded,) = refold(stored)
    assert folded.rejected == {"not_in_enum": 1}
    assert [row.rejected for row in rows(stored, ObservationRow)] == ["not_in_enum"]
    with stored.begin() as connection:
        connection.execute(update(ObservationRow).values(value="brief"))
    refold(stored, [row.id for row in rows(stored, Profile)])
    assert [row.rejected for row in rows(stored, ObservationRow)] == [None]


def test_superseded_documents_and_observations_do_not_count(stored: Engine) -> None:
    extract(stored, LISBON)
    extract(stored, LIEGE, fingerprint="f2")
    refold(stored)
    assert [row.value for row in rows(stored, TraitRow)] == ["Liége"]
    extract(stored, LISBON, fingerprint="f1")
    refold(stored)
    assert [row.value for row in rows(stored, TraitRow)] == ["Lisbon"]
    save(stored, record(contact(1, A), text="Nothing.", said=day(2), modified=day(2)))
    refold(stored)
    assert rows(stored, TraitRow) == []


def test_a_change_while_folding_is_folded_next_time(stored: Engine) -> None:
    """The counter that is set is the one that was read before the observations."""
    extract(stored, LISBON)
    (page,) = load_unfolded(stored)
    extract(stored, LISBON, TEA)
    save_states(
        stored, [(u, fold(u.profile_id, u.observations, u.edits, SCHEMA, Rules(), datetime.now(UTC))) for u in page]
    )
    assert count_unfolded(stored) == 1
    refold(stored)
    assert sorted(row.key for row in rows(stored, TraitRow)) == ["interests", "location"]
    assert count_unfolded(stored) == 0


def states(page: list[Unfolded]) -> list[tuple[Unfolded, object]]:
    return [(u, fold(u.profile_id, u.observations, u.edits, SCHEMA, Rules(), datetime.now(UTC))) for u in page]


def test_an_overtaken_fold_changes_nothing(stored: Engine) -> None:
    extract(stored, LISBON)
    (old,) = load_unfolded(stored)
    extract(stored, TEA)
    refold(stored)
    before = [table(stored, of) for of in TABLES]
    assert save_states(stored, states(old)) == []  # type: ignore[arg-type]
    assert [table(stored, of) for of in TABLES] == before


def test_the_same_fold_twice_at_once_is_one(stored: Engine) -> None:
    extract(stored, LISBON, TEA, DOGS)
    (first,), (second,) = load_unfolded(stored), load_unfolded(stored)
    save_states(stored, states(first))  # type: ignore[arg-type]
    before = [table(stored, of) for of in TABLES]
    save_states(stored, states(second))  # type: ignore[arg-type]
    assert [table(stored, of) for of in TABLES] == before


def test_a_profile_that_is_gone_is_left_out(engine: Engine) -> None:
    save(engine, record(contact(1, A)), record(contact(2, B), native_id="2"))
    (page,) = load_unfolded(engine)
    gone = find_profile(engine, A)
    with engine.begin() as connection:
        connection.execute(delete(DocumentRow).where(DocumentRow.profile_id == gone))
        connection.execute(text("UPDATE identifiers SET profile_id = NULL"))
        connection.execute(delete(Profile).where(Profile.id == gone))
    assert [f.profile_id for f in save_states(engine, states(page))] != [gone]  # type: ignore[arg-type]


def test_a_merged_profile_is_emptied_and_not_reported(engine: Engine) -> None:
    save(engine, record(sender(A), text=TEXT, native_id="1"))
    save(engine, record(sender(B), text=TEXT, native_id="2"))
    extract(engine, LISBON, native_id="1")
    extract(engine, TEA, native_id="2")
    refold(engine)
    save(engine, record(contact(1, A, B), native_id="3", text=""))
    heir = find_profile(engine, A)
    assert [f.profile_id for f in refold(engine)] == [heir]
    assert {row.profile_id for row in rows(engine, TraitRow)} == {heir}
    assert {row.profile_id for row in rows(engine, Evidence)} == {heir}
    assert count_unfolded(engine) == 0


def test_pages_cover_every_profile_once(engine: Engine) -> None:
    save(engine, *(record(contact(n), native_id=str(n)) for n in range(7)))
    pages = list(load_unfolded(engine, page=3))
    assert [len(page) for page in pages] == [3, 3, 1]
    ids = [row.id for row in rows(engine, Profile)]
    assert sorted(u.profile_id for page in pages for u in page) == sorted(ids)
    assert [len(page) for page in load_unfolded(engine, ids[:4], page=3)] == [3, 1]


def test_folding_costs_as_many_statements_for_many_profiles_as_for_one(engine: Engine) -> None:
    counts = []
    refold(engine)
    for start, size in ((0, 1), (100, 100)):
        save(engine, *(record(contact(start + n), native_id=str(start + n), text=TEXT) for n in range(size)))
        for n in range(size):
            extract(engine, LISBON, DOGS, native_id=str(start + n))
        statements: list[str] = []
        listener = lambda *args, log=statements: log.append(args[2])  # noqa: E731
        event.listen(engine, "before_cursor_execute", listener)
        assert len(refold(engine)) == size
        event.remove(engine, "before_cursor_execute", listener)
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_marking_is_never_lost(stored: Engine) -> None:
    (row,) = rows(stored, Profile)
    with stored.begin() as connection:
        for _ in range(3):
            mark_changed(connection, [row.id, None])
    assert rows(stored, Profile)[0].changes == row.changes + 3
