"""Documents in the store: one per record and person, the latest version current, whatever was read first."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from ingest_pipeline.documents import Record, Rejected, Role, Segment, content_hash, stable_id
from ingest_pipeline.store.documents import Saved, load_documents, segment_from_json, segment_json
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.files import save_rejections
from ingest_pipeline.store.tables import DocumentRow, Profile, Rejection
from tests.builders import FILE, add_file, contact, day, empty, record, rows, save


def current(engine: Engine) -> list[str]:
    return sorted(row.text for row in rows(engine, DocumentRow) if row.superseded_at is None)


def version(text: str, at: int | None = None) -> Record:
    return record(text=text, modified=day(at) if at else None)


VERSIONS: list[tuple[str, list[tuple[str, int | None]], list[str], Saved]] = [
    ("new", [("A", 1)], ["A"], Saved(new=1)),
    ("read again", [("A", 1), ("A", 1)], ["A"], Saved(unchanged=1)),
    ("changed", [("A", 1), ("B", 2)], ["B"], Saved(replaced=1)),
    ("changed, no times", [("A", None), ("B", None)], ["B"], Saved(replaced=1)),
    ("changed at the same time: the reader was corrected", [("A", 1), ("B", 1)], ["B"], Saved(replaced=1)),
    ("an older export afterwards", [("B", 2), ("A", 1)], ["B"], Saved(new=1)),
    ("no time after a time", [("B", 2), ("A", None)], ["B"], Saved(new=1)),
    ("an older export twice", [("B", 2), ("A", 1), ("A", 1)], ["B"], Saved(unchanged=1)),
    ("as it was before", [("A", 1), ("B", 2), ("A", 3)], ["A"], Saved(replaced=1)),
    ("the one in between afterwards", [("A", 1), ("A", 3), ("B", 2)], ["A"], Saved(new=1)),
    ("the one in between once more", [("A", 1), ("B", 2), ("A", 3), ("B", 2)], ["A"], Saved(unchanged=1)),
    ("emptied", [("A", 1), ("", 2)], [], Saved()),
    ("emptied, then an older export", [("", 2), ("A", 1)], [], Saved(new=1)),
    ("emptied and filled", [("A", 1), ("", 2), ("A", 3)], ["A"], Saved(replaced=1)),
    ("empty, no time: says nothing", [("A", None), ("", None)], ["A"], Saved()),
]


@pytest.mark.parametrize(("read", "expected", "last"), [v[1:] for v in VERSIONS], ids=[v[0] for v in VERSIONS])
def test_the_latest_version_is_the_current_one(
    engine: Engine, read: Sequence[tuple[str, int | None]], expected: list[str], last: Saved
) -> None:
    saved = [save(engine, version(text, at)) for text, at in read]
    assert current(engine) == expected
    assert saved[-1] == last


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from("ABC"), min_size=1, max_size=5).flatmap(
        lambda texts: st.tuples(st.just(texts), st.permutations(range(len(texts))), st.booleans())
    )
)
def test_versions_with_times_come_in_any_order(engine: Engine, case: tuple[list[str], list[int], bool]) -> None:
    """One change a day; the exports are read in any order, one by one or all in one batch."""
    texts, order, together = case
    empty(engine)
    versions = [version(texts[place], place + 1) for place in order]
    for batch in [versions] if together else [[v] for v in versions]:
        save(engine, *batch)
    assert current(engine) == [texts[-1]]


def test_a_note_about_three_people_is_three_documents(engine: Engine) -> None:
    note = record(contact(1), contact(2), contact(3))
    assert save(engine, note) == Saved(new=3)
    assert save(engine, note) == Saved(unchanged=3)
    found = rows(engine, DocumentRow)
    assert len({row.profile_id for row in found}) == 3
    assert {row.native_id for row in found} == {"1"}


def test_the_same_record_twice_in_a_batch_is_one_document(engine: Engine) -> None:
    assert save(engine, record(), record()) == Saved(new=1, unchanged=1)
    assert save(engine, version("A", 1), version("B", 2), version("A", 3), version("B", 2)) == Saved(
        new=1, replaced=1, unchanged=2
    )
    assert current(engine) == ["A"]


def test_nothing_is_written_for_what_is_known(engine: Engine) -> None:
    save(engine, record(modified=day(1)))
    before = rows(engine, DocumentRow), rows(engine, Profile)
    save(engine, record(modified=day(1)))
    assert (rows(engine, DocumentRow), rows(engine, Profile)) == before


def test_a_corrected_speaker_is_another_version(engine: Engine) -> None:
    save(engine, record(role=Role.NOTE, modified=day(1)))
    assert save(engine, record(role=Role.SUBJECT, modified=day(1))) == Saved(replaced=1)
    (row,) = (row for row in rows(engine, DocumentRow) if not row.superseded_at)
    assert row.segments[0]["role"] == "subject"


def test_a_replaced_document_marks_its_profile_for_folding(engine: Engine) -> None:
    save(engine, version("A", 1))
    (before,) = rows(engine, Profile)
    save(engine, version("B", 2))
    assert rows(engine, Profile)[0].changes > before.changes


TEXTS = [
    "plain",
    "",
    "🙂 e\u0301 ﷽",
    "line\nline\u2028line",
    "'; DROP TABLE documents; --",
    "\u202eright to left",
    "x" * 200_000,
]


@pytest.mark.parametrize("text", [t for t in TEXTS if t], ids=range(len(TEXTS) - 1))
def test_documents_come_back_as_they_were(engine: Engine, text: str) -> None:
    save(engine, record(contact(1, name="Zoë"), text=text, said=day(2)))
    (row,) = rows(engine, DocumentRow)
    with reading(engine) as connection:
        (document,) = load_documents(connection, [row.id])
    assert document.text == text
    assert document.segments == (Segment(0, len(text), Role.SUBJECT, occurred_at=day(2)),)
    assert (document.occurred_at, document.subject_name, document.profile_id) == (day(2), "Zoë", row.profile_id)


@given(
    st.builds(
        Segment,
        st.integers(0, 10),
        st.integers(10, 20),
        st.sampled_from(Role),
        st.none() | st.text(),
        st.none() | st.text(),
        st.none() | st.datetimes(timezones=st.just(day(1).tzinfo)),
    )
)
def test_segments_survive_json(segment: Segment) -> None:
    assert segment_from_json(segment_json(segment)) == segment


def test_rejections_are_kept_once_with_where_and_why(engine: Engine) -> None:
    add_file(engine)
    rejected = [Rejected(FILE, "row 3", "no id"), Rejected(FILE, "row 4", "no id"), Rejected(FILE, "row 3", "no id")]
    save_rejections(engine, rejected, "run")
    save_rejections(engine, rejected, "run")
    assert sorted((r.position, r.reason) for r in rows(engine, Rejection)) == [("row 3", "no id"), ("row 4", "no id")]
    add_file(engine)
    assert rows(engine, Rejection) == []


@pytest.mark.parametrize("at", [datetime(1, 1, 1, tzinfo=day(1).tzinfo), datetime(9999, 12, 31, tzinfo=day(1).tzinfo)])
def test_the_strangest_dates_are_stored(engine: Engine, at: datetime) -> None:
    save(engine, record(said=at, modified=at))
    assert rows(engine, DocumentRow)[0].occurred_at == at


def test_ids_follow_from_content() -> None:
    """Written down: a change here would make every stored document another one."""
    assert stable_id("document", "a", "b") == "2098ff74-893a-5a43-b496-54d7e33563b0"
    assert uuid.UUID(stable_id("é")).version == 5
    assert content_hash("A", (Segment(0, 1, Role.NOTE),)) != content_hash("A", (Segment(0, 1, Role.SUBJECT),))
