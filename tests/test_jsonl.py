"""The JSON Lines reader: one record per line, for whoever ``profile`` names; a bad line costs only itself."""

import codecs
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from ingest_pipeline.documents import Identifier, Item, Record, Role, Source
from ingest_pipeline.editing import Editor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.merging import merge_profiles, plan_merge
from ingest_pipeline.sources import registry
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.jsonl import READERS
from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import DocumentRow
from tests.builders import add_file, rows
from tests.builders import save as save_records
from tests.chats import OPTIONS, is_detected, read, records, rejections, skips, source, texts

READER = READERS[-1]


def lines(*entries: Any) -> bytes:
    return "\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries).encode()


def read_lines(*entries: Any, options: ReadOptions = OPTIONS, folder: Source = Source.CHAT) -> list[Item]:
    return read(READER, lines(*entries), options, "chat/texts.jsonl", folder)


def save(engine: Engine, *found: Record) -> None:
    add_file(engine, "chat/texts.jsonl")
    save_records(engine, *found)


def test_a_line_becomes_a_record() -> None:
    """With its own time, source and metadata; the whole text is evidence."""
    (found,) = records(
        read_lines({
            "profile": "Kim@X.example", "text": " I live in Lisbon. ", "occurred_at": "2024-01-10T10:00:00+02:00",
            "source": "survey 3", "metadata": {"question": 4},
        })
    )  # fmt: skip
    assert (found.text, found.origin, found.kind, found.position) == ("I live in Lisbon.", "jsonl", "text", "line 1")
    assert found.occurred_at == datetime(2024, 1, 10, 8, tzinfo=UTC)
    assert found.metadata == {"source": "survey 3", "metadata": {"question": 4}, "time_zone": "as in the file"}
    assert [(s.start, s.end, s.role) for s in found.segments] == [(0, 17, Role.SUBJECT)]


PEOPLE = [
    ("Kim@X.example", Identifier("email", "kim@x.example"), True),
    ("+49 151 23456789", Identifier("phone", "+4915123456789"), True),
    ("0151 23456789", Identifier("phone", "+4915123456789"), True),
    ("slack:T1/U1", Identifier("slack", "T1/U1"), False),
    ("salesforce:0035e00000AbCdEAAV", Identifier("salesforce", "0035e00000AbCdEAAV"), False),
    ("cust-42", Identifier("external", "cust-42"), True),
    ("external:cust-42", Identifier("external", "cust-42"), True),
    ("shop:42", Identifier("external", "shop:42"), True),
    (42, Identifier("external", "42"), True),
]


@pytest.mark.parametrize(("profile", "key", "claims"), PEOPLE)
def test_who_is_meant(profile: Any, key: Identifier, claims: bool) -> None:
    """Addresses and numbers join; ids of other systems only refer; anything else is a key of its own."""
    (found,) = records(read_lines({"profile": profile, "text": "x"}, options=replace(OPTIONS, phone_region="DE")))
    assert (found.subjects[0].key, found.subjects[0].claims) == (key, claims)


TIMES = [
    ("2024-01-10T10:00:00", datetime(2024, 1, 10, 9, tzinfo=UTC), None),
    ("2024-01-10", datetime(2024, 1, 9, 23, tzinfo=UTC), None),
    (1_704_880_800, datetime(2024, 1, 10, 10, tzinfo=UTC), None),
    (1_704_880_800_000, datetime(2024, 1, 10, 10, tzinfo=UTC), None),
    ("03/04/2024", None, "unreadable"),
    ("1970-01-01T00:00:00Z", None, "implausible"),
    ("2924-01-10T10:00:00Z", None, "implausible"),
    ("9999-12-31T23:59:59-23:59", None, "unreadable"),
    (True, None, "unreadable"),
    ({}, None, "unreadable"),
    (None, None, None),
]


@pytest.mark.parametrize(("written", "moment", "problem"), TIMES)
def test_times(written: Any, moment: datetime | None, problem: str | None) -> None:
    """Naive ones are in the folder's zone; what is no plausible time is dropped and said."""
    line = {"profile": "a@b.example", "text": "x", "occurred_at": written}
    (found,) = records(read_lines(line, options=replace(OPTIONS, timezone="Europe/Berlin")))
    assert (found.occurred_at, found.metadata.get("date_problem")) == (moment, problem)


def test_bad_lines_cost_only_themselves() -> None:
    """They are rejected by number, without their content."""
    good = {"profile": "a@b.example", "text": "fine"}
    found = read_lines(
        good, "{broken", "[]", '{"profile": [1], "text": "x"}', "", '{"profile": "", "text": "x"}',
        {"profile": "x" * 300, "text": "y"}, {"profile": "a@b.example", "text": 5}, "[" * 100_000,
        '{"profile": "a", "text": "x", "metadata": {"a": ' + "[" * 30 + "]" * 30 + "}}", good | {"text": " "}, good,
        {"profile": "a@b.example", "txt": "misspelt"},
    )  # fmt: skip
    assert texts(found) == ["fine", "fine"]
    assert [position for position, _ in rejections(found)] == [f"line {n}" for n in (2, 3, 4, 6, 7, 8, 9, 10, 13)]
    assert skips(found) == {"empty": 1}


def test_what_no_database_takes_is_taken_out() -> None:
    """NUL, half a surrogate pair, NaN; of duplicate keys the last holds."""
    (found,) = records(
        read_lines(
            r'{"profile": "b", "profile": "a\u0000", "text": "x\u0000y\ud800", "metadata": {"n": NaN, "m": "\u0000"}}'
        )
    )
    assert (found.subjects[0].key.value, found.text) == ("a", "xy?")
    assert found.metadata["metadata"] == {"n": None, "m": ""}


def test_a_line_that_is_too_long_is_passed_over() -> None:
    options = replace(OPTIONS, max_message_bytes=100)
    found = read_lines({"profile": "a", "text": "x" * 500}, {"profile": "a", "text": "y"}, options=options)
    assert (texts(found), rejections(found)) == (["y"], [("line 1", "longer than 100 bytes")])


def test_staff() -> None:
    """By domain, or as the folder names them."""
    options = replace(OPTIONS, internal_domains=frozenset({"acme.example"}), staff=frozenset({"emp-1"}))
    found = read_lines(
        {"profile": "a@acme.example", "text": "x"}, {"profile": "Emp-1", "text": "x"}, {"profile": "c", "text": "y"},
        options=options,
    )  # fmt: skip
    assert (texts(found), skips(found)) == (["y"], {"internal_sender": 2})


def test_in_the_crm_folder_texts_are_about_the_person() -> None:
    (found,) = records(read_lines({"profile": "a", "text": "Moved to Lisbon."}, folder=Source.CRM))
    assert found.segments[0].role is Role.NOTE


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(encoding: str) -> None:
    data = '{"profile": "a", "text": "é🙂"}\n{"profile": "b", "text": "ü"}\n'.encode(encoding)
    assert data.startswith(codecs.BOM) or encoding in {"utf-8-sig", "utf-16-le", "utf-32"}
    assert texts(read(READER, data)) == ["é🙂", "ü"]


@pytest.mark.parametrize("folder", [Source.CRM, Source.EMAIL, Source.CHAT])
def test_it_is_found_in_every_folder(folder: Source) -> None:
    """By its content."""
    data = lines("", "{broken", {"profile": "a", "text": "x"})
    found = registry.detect(folder, source(data, f"{folder.value}/x.txt"), data)
    assert found is not None
    assert found.format == "jsonl"
    assert not is_detected(READER, source({"messages": [{"profile": 1}, {"text": 2}]}))
    assert not is_detected(READER, source(b'{"text": "x"}\n'))


def test_the_same_line_twice_is_one_document(engine: Engine) -> None:
    line = {"profile": "a@b.example", "text": "I live in Lisbon.", "occurred_at": "2024-01-10"}
    save(engine, *records(read_lines(line)))
    save(engine, *records(read_lines({"profile": "z", "text": "x"}, line)))
    assert len(rows(engine, DocumentRow)) == 2


def test_external_and_internal_ids_mean_their_profile(engine: Engine) -> None:
    """Profiles that a caller made; any other key makes one that can be found by it."""
    made = create_profile(engine, "cust-42")
    save(engine, *records(read_lines({"profile": "cust-42", "text": "x"}, {"profile": made.upper(), "text": "y"})))
    save(engine, *records(read_lines({"profile": "cust-43", "text": "z"}, {"profile": "cust-42", "text": "again"})))
    owners = {row.text: row.profile_id for row in rows(engine, DocumentRow)}
    assert owners["x"] == owners["y"] == owners["again"] == made
    assert owners["z"] == find_profile(engine, "cust-43") == find_profile(engine, "external:cust-43")
    assert create_profile(engine, "cust-42") == made


def test_a_key_stays_bound_however_its_profile_changes(engine: Engine) -> None:
    """Ids and addresses of one profile in one batch are one person, before and after it is merged by hand."""
    made = create_profile(engine, "kim@x.example")
    other = create_profile(engine, "cust-7")
    save(engine, *records(read_lines({"profile": made, "text": "x"}, {"profile": "kim@x.example", "text": "y"})))
    merge_profiles(Editor(engine, load_traits(None), "kim", Via.CLI), plan_merge(engine, other, made))
    save(engine, *records(read_lines({"profile": "cust-7", "text": "z"}, {"profile": made, "text": "again"})))
    assert {row.profile_id for row in rows(engine, DocumentRow)} == {find_profile(engine, "cust-7")}
    assert find_profile(engine, made) == find_profile(engine, "cust-7")


def test_an_id_of_another_system_waits_for_its_person(engine: Engine) -> None:
    """It creates nobody."""
    save(engine, *records(read_lines({"profile": "slack:T1/U1", "text": "x"})))
    assert [row.profile_id for row in rows(engine, DocumentRow)] == [None]
