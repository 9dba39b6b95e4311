"""Intercom exports: conversations are about their contacts; only the current version of each object counts."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingest_pipeline.documents import Identifier, Record
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.intercom import READER
from tests.crm_exports import counts, formats, one, parts, read, records

REAL = os.environ.get("INGEST_REAL_FIXTURES")
START = 1_700_000_000
ANNA = {"type": "user", "id": "5ed93b", "name": "Anna", "email": "Anna@x.org"}
REP = {"type": "admin", "id": "407", "name": "Rep", "email": "rep@seller.example"}
BOT = {"type": "bot", "id": "9", "name": "Fin"}


def part(number: int, author: dict[str, Any], body: str | None, kind: str = "comment") -> dict[str, Any]:
    return {"type": "conversation_part", "id": str(number), "part_type": kind, "body": body, "author": author,
            "created_at": START + 60 * number}  # fmt: skip


CONVERSATION: dict[str, Any] = {
    "type": "conversation", "id": "123", "created_at": START, "updated_at": START + 900, "state": "closed",
    "source": {"type": "conversation", "id": "403", "body": "<p>Hi, I moved to Porto.</p>", "author": ANNA},
    "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": "5ed93b"}]},
    "conversation_parts": {"type": "conversation_part.list", "conversation_parts": [
        part(1, BOT, "<p>A human will come.</p>"), part(2, REP, "<p>When?</p>"),
        part(3, REP, "<p>Sounds happy.</p>", "note"), part(4, ANNA, "<p>In May.</p>"), part(5, REP, None, "close"),
    ]},
}  # fmt: skip
WORDS = [
    ("Hi, I moved to Porto.", "subject"), ("A human will come.", "assistant"), ("When?", "staff"),
    ("Sounds happy.", "note"), ("In May.", "subject"),
]  # fmt: skip
ACTIVE = "_fivetran_active"
TABLES = {
    "conversation_history.csv": f"id,updated_at,created_at,source_author_id,source_author_type,source_body,{ACTIVE}\n"
    "123,2023-11-14 22:00:00,2023-11-14 22:13:20,5ed93b,user,Old,false\n"
    '123,2023-11-14 22:28:20,2023-11-14 22:13:20,5ed93b,user,"Hi, I moved to Porto.",true\n',
    "conversation_part_history.csv": "id,updated_at,author_id,author_type,conversation_id,created_at,part_type,body,"
    f"{ACTIVE}\n"
    "1,2023-11-14,9,bot,123,2023-11-14 22:14:20,comment,A human will come.,true\n"
    "2,2023-11-14,407,admin,123,2023-11-14 22:15:20,comment,When?,true\n"
    "3,2023-11-14,407,admin,123,2023-11-14 22:16:20,note,Sounds happy.,true\n"
    "4,2023-11-13,5ed93b,user,123,2023-11-14 22:17:20,comment,In June.,false\n"
    "4,2023-11-14,5ed93b,user,123,2023-11-14 22:17:20,comment,In May.,true\n"
    "5,2023-11-14,407,admin,123,2023-11-14 22:18:20,close,,true\n",
}


def conversation(files: dict[str, Any]) -> Record:
    return one(read(READER, files), "conversation")


@pytest.mark.parametrize(
    "files",
    [
        {"conversations.json": {"type": "conversation.list", "pages": {}, "conversations": [CONVERSATION]}},
        {"conversations.json": [CONVERSATION]},
        {"one.json": CONVERSATION},
        TABLES,
    ],
    ids=["interface", "list", "one", "warehouse"],
)
def test_a_conversation_is_read_alike_from_every_kind_of_export(files: dict[str, Any]) -> None:
    for name, data in files.items():
        assert formats(name, data) == ["intercom"]
    found = conversation(files)
    assert parts(found) == WORDS
    assert [person.key for person in found.subjects] == [Identifier("intercom", "5ed93b")]
    assert found.native_id == "conversation/123"
    assert found.occurred_at == datetime(2023, 11, 14, 22, 17, 20, tzinfo=UTC)
    assert found.segments[0].occurred_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


def test_what_a_warehouse_table_holds_besides_is_counted() -> None:
    assert counts(read(READER, TABLES)) == {
        "conversation": 1, "earlier_version": 2, "joined_to_conversation": 4, "system_part": 1,
    }  # fmt: skip


def test_an_author_describes_a_contact_that_the_export_does_not_hold() -> None:
    (person,) = conversation({"c.json": [CONVERSATION]}).subjects
    assert (person.name, person.identifiers, person.claims) == ("Anna", (Identifier("email", "anna@x.org"),), True)


def test_two_customers_in_one_conversation_have_a_record_each() -> None:
    ben = {"type": "lead", "id": "6a", "name": "Ben"}
    several = {**CONVERSATION, "conversation_parts": {"conversation_parts": [
        part(1, ben, "<p>I live in Faro.</p>"), part(2, REP, "<p>A note.</p>", "note"),
    ]}}  # fmt: skip
    anna, second = records(read(READER, {"c.json": [several]}))
    assert ("I live in Faro.", "other") in parts(anna)
    assert ("I live in Faro.", "subject") in parts(second)
    assert "note" not in {role for record in (anna, second) for _, role in parts(record)}


CONTACT: dict[str, Any] = {
    "type": "contact", "id": "5ed93b", "workspace_id": "abc", "role": "user", "email": "Anna@x.org", "name": "Anna",
    "phone": "+351912345678", "signed_up_at": START, "updated_at": START, "unsubscribed_from_emails": True,
    "location": {"type": "location", "country": "Portugal", "region": None, "city": "Porto"},
    "custom_attributes": {"job_title": "CTO", "favourite_tea": "Oolong", "iban": "DE89370400440532013000"},
    "companies": {"type": "list", "data": [{"type": "company", "id": "c1"}]},
}  # fmt: skip


def test_a_contact_is_a_person() -> None:
    files = {
        "contacts.json": {"type": "list", "data": [CONTACT, {**CONTACT, "id": "7", "email": "me@seller.example"}]},
        "companies.json": {"type": "list", "companies": [{"id": "c1", "name": "ACME", "session_count": 1,
                                                          "monthly_spend": 1}]},
        "admins.json": {"type": "admin.list", "admins": [{**REP, "away_mode_enabled": False, "has_inbox_seat": True}]},
    }  # fmt: skip
    for name, data in files.items():
        assert formats(name, data) == ["intercom"]
    items = read(READER, files)
    found = one(items)
    assert found.text == (
        "Name: Anna\nTitle: CTO\nCompany: ACME\nCity: Porto\nCountry: Portugal\nOpted out of e-mail: yes\n"
        "Favourite tea: Oolong"
    )
    assert found.subjects[0].identifiers == (Identifier("email", "anna@x.org"), Identifier("phone", "+351912345678"))
    assert found.subjects[0].namespace == "intercom:abc"
    assert found.metadata["withheld"] == 1
    assert counts(items) == {"contact": 1, "internal_person": 1, "lookup_table": 1, "staff": 1}


def test_columns_can_be_left_out() -> None:
    options = ReadOptions(exclude_columns=frozenset({"city", "favourite tea", "name"}))
    assert one(read(READER, {"c.json": {"data": [CONTACT]}}, options)).text == (
        "Title: CTO\nCountry: Portugal\nOpted out of e-mail: yes"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": ""}, "the conversation has no id"),
        ({"source": {}, "contacts": {}, "conversation_parts": {}}, "no_person"),
    ],
)
def test_conversations_of_nobody_are_counted(change: dict[str, Any], reason: str) -> None:
    assert counts(read(READER, {"c.json": {"conversations": [{**CONVERSATION, **change}]}})) == {reason: 1}


def test_the_real_tables_give_their_known_counts() -> None:
    if not REAL:
        pytest.skip("INGEST_REAL_FIXTURES is not set")
    files = {path.name: path.read_bytes() for path in sorted(Path(REAL).glob("intercom/**/*.csv"))}
    for name, data in files.items():
        assert formats(name, data) == ["intercom"]
    found = {}
    for name in files:
        items = [item for item in read(READER, files) if item.file == f"crm/acme/{name}"]
        found[name.removesuffix("_data.csv")] = dict(counts(items))
    assert found["contact_history"] == {"contact": 9}
    assert found["conversation_history"] == {"conversation": 2, "earlier_version": 7}
    assert found["conversation_part_history"] == {"system_part": 8, "no_conversation": 1}
    assert found["admin"] == {"staff": 4}
