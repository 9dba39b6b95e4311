"""Pipedrive exports: persons with lists of addresses, and the notes and activities about them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from ingest_pipeline.documents import Identifier
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.pipedrive import READER
from tests.crm_exports import counts, formats, one, parts, read, records

OWNER = {"id": 1, "name": "Rep", "email": "rep@seller.example"}
PERSON: dict[str, Any] = {
    "id": 7, "company_id": 42, "owner_id": OWNER, "name": "Anna Lee", "first_name": "Anna", "last_name": "Lee",
    "email": [{"label": "work", "value": "Anna@x.org", "primary": True}, {"label": "home", "value": "a@home.example"}],
    "phone": [{"label": "work", "value": "+351211234567"}, {"label": "mobile", "value": "+351912345678"}],
    "org_id": {"name": "ACME", "value": 5}, "job_title": "CTO", "notes": "<p>Likes tea.</p>", "active_flag": True,
    "add_time": "2024-01-10 08:00:00", "update_time": "2024-02-01 09:30:00",
    "dcf558aac1ae4e8c4f849ba5e668430d8df9be12": "hash", "open_deals_count": 2, "favourite_tea": "Oolong",
}  # fmt: skip
NOTE: dict[str, Any] = {
    "id": 3, "content": "<p>Prefers e-mail.</p>", "person_id": 7, "deal_id": None, "user_id": 1,
    "add_time": "2024-01-10 08:00:00", "update_time": "2024-01-11 08:00:00", "active_flag": True,
}  # fmt: skip
CALL: dict[str, Any] = {
    "id": 4, "type": "call", "subject": "Intro", "note": "Wants a demo.", "person_id": 7, "user_id": 1, "done": True,
    "participants": [{"person_id": 7, "primary_flag": True}, {"person_id": 8, "primary_flag": False}],
    "due_date": "2024-01-15", "due_time": "10:00", "marked_as_done_time": "2024-01-15 11:00:00",
    "add_time": "2024-01-10 08:00:00", "update_time": "2024-01-15 11:00:00",
}  # fmt: skip


def data(*values: dict[str, Any]) -> dict[str, Any]:
    """An answer of the interface."""
    return {"success": True, "data": list(values), "additional_data": {}}


def test_a_person_has_all_addresses_and_mobile_numbers() -> None:
    files = {"persons.json": data(PERSON)}
    assert formats("persons.json", files["persons.json"]) == ["pipedrive"]
    found = one(read(READER, files))
    (person,) = found.subjects
    assert (person.key, person.namespace) == (Identifier("pipedrive", "42/7"), "pipedrive:42")
    assert person.identifiers == (
        Identifier("email", "anna@x.org"), Identifier("email", "a@home.example"), Identifier("phone", "+351912345678"),
    )  # fmt: skip
    assert found.text == "Name: Anna Lee\nTitle: CTO\nCompany: ACME\nFavourite tea: Oolong\n\nLikes tea."
    assert found.occurred_at == found.modified_at == datetime(2024, 2, 1, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "table",
    [
        'id,name,email,phone,org_name,add_time,update_time,owner_id\n7,Anna,"[{""label"":""work"",""value"":""a@x.org""}]"'
        ',"[{""label"":""mobile"",""value"":""+351912345678""}]",ACME,2024-01-10 08:00:00,2024-01-10 08:00:00,1\n',
        "Person - ID,Person - Name,Person - Email - Work,Person - Phone - Mobile,Person - Organization\n"
        "7,Anna,a@x.org,+351912345678,ACME\n",
    ],
    ids=["interface", "screen"],
)
def test_a_person_is_read_from_csv(table: str) -> None:
    assert formats("people.csv", table) == ["pipedrive"]
    found = one(read(READER, {"people.csv": table}), "person")
    assert found.text == "Name: Anna\nCompany: ACME"
    assert found.subjects[0].key == Identifier("pipedrive", "7")
    assert found.subjects[0].identifiers == (Identifier("email", "a@x.org"), Identifier("phone", "+351912345678"))


def test_a_note_is_about_its_person_or_its_deals() -> None:
    deal = {"id": 9, "title": "200 seats", "person_id": {"value": 7, "name": "Anna"}, "value": 1, "pipeline_id": 1,
            "add_time": "x", "update_time": "x"}  # fmt: skip
    files = {"notes.json": data(NOTE, {**NOTE, "id": 5, "person_id": None, "deal_id": 9}), "deals.json": data(deal)}
    assert formats("notes.json", files["notes.json"]) == formats("deals.json", files["deals.json"]) == ["pipedrive"]
    first, second = records(read(READER, files), "note")
    for found in (first, second):
        assert [person.key.value for person in found.subjects] == ["7"]
        assert not found.subjects[0].claims
    assert parts(first) == [("Prefers e-mail.", "note")]
    assert first.metadata["author_id"] == "1"


@pytest.mark.parametrize(
    ("change", "expected", "source"),
    [
        ({}, datetime(2024, 1, 15, 11, tzinfo=UTC), "marked_as_done_time"),
        ({"marked_as_done_time": ""}, datetime(2024, 1, 15, 10, tzinfo=UTC), "due_date"),
        ({"marked_as_done_time": "", "done": False}, datetime(2024, 1, 10, 8, tzinfo=UTC), "add_time"),
    ],
    ids=["done", "due", "planned"],
)
def test_an_activity_is_about_all_who_took_part_when_it_was_done(
    change: dict[str, Any], expected: datetime, source: str
) -> None:
    found = one(read(READER, {"activities.json": data({**CALL, **change})}))
    assert [person.key.value for person in found.subjects] == ["7", "8"]
    assert parts(found) == [("Intro", "note"), ("Wants a demo.", "note")]
    assert (found.occurred_at, found.metadata["date_source"]) == (expected, source)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**PERSON, "email": [{"value": "boss@seller.example"}]}, "internal_person"),
        ({**PERSON, "active_flag": False}, "deleted"),
        ({**PERSON, "id": None}, "the person has no id"),
        ({**NOTE, "person_id": None}, "no_person"),
        ({**NOTE, "person_id": None, "person": {"name": "Anna"}, "person_name": "Anna"}, "person_without_id"),
        ({**NOTE, "content": ""}, "no_text"),
    ],
)
def test_rows_of_nobody_are_counted(row: dict[str, Any], reason: str) -> None:
    assert counts(read(READER, {"x.json": data({**row, "owner_id": OWNER})})) == {reason: 1}


def test_columns_can_be_left_out() -> None:
    options = ReadOptions(exclude_columns=frozenset({"title", "notes", "favourite tea"}))
    assert one(read(READER, {"persons.json": data(PERSON)}, options)).text == "Name: Anna Lee\nCompany: ACME"
