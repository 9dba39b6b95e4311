"""Zendesk exports: a ticket is about its requester, comments are whose they are, private ones are agents' notes."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest_pipeline.documents import Identifier, Record, Rejected
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.zendesk import READER
from tests.crm_exports import counts, formats, one, parts, read, records, zipped

URL = "https://acme.zendesk.com/api/v2"
ANNA = {"id": 7, "name": "Anna", "email": "Anna@x.org", "role": "end-user"}
BEN = {"id": 8, "name": "Ben", "email": "ben@x.org", "role": "end-user"}
AGENT = {"id": 1, "name": "Rep", "email": "rep@seller.example", "role": "agent"}
COMMENTS = [
    {"id": 11, "author_id": 7, "body": "My router is broken.", "public": True, "created_at": "2024-01-10T08:00:00Z"},
    {"id": 12, "author_id": 1, "body": "Where do you live?", "public": True, "created_at": "2024-01-10T09:00:00Z"},
    {"id": 13, "author_id": 1, "body": "She sounds upset.", "public": False, "created_at": "2024-01-10T09:01:00Z"},
    {"id": 14, "author_id": 7, "body": "In Porto.", "public": True, "created_at": "2024-01-11T08:00:00Z"},
]
TICKET: dict[str, Any] = {
    "url": f"{URL}/tickets/3.json", "id": 3, "subject": "Broken", "status": "open", "requester_id": 7,
    "submitter_id": 7, "assignee_id": 1, "created_at": "2024-01-10T08:00:00Z", "updated_at": "2024-01-12T08:00:00Z",
}  # fmt: skip
FULL = {**TICKET, "requester": ANNA, "submitter": ANNA, "assignee": AGENT, "comments": COMMENTS}
WORDS = [
    ("Broken", "subject"), ("My router is broken.", "subject"), ("Where do you live?", "staff"),
    ("She sounds upset.", "note"), ("In Porto.", "subject"),
]  # fmt: skip


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def ticket(files: dict[str, Any], options: ReadOptions | None = None) -> Record:
    return one(read(READER, files, *([options] if options else [])), "ticket")


USERS = {"users": [{**user, "url": f"{URL}/users/x.json", "organization_id": None} for user in (ANNA, BEN, AGENT)]}
CSV = {
    "ticket.csv": "id,requester_id,submitter_id,assignee_id,subject,status,created_at,updated_at\n"
    "3,7,7,1,Broken,open,2024-01-10 08:00:00,2024-01-12 08:00:00\n",
    "ticket_comment.csv": "id,ticket_id,user_id,body,public,created\n"
    + "".join(f"{c['id']},3,{c['author_id']},{c['body']},{c['public']},{c['created_at']}\n" for c in COMMENTS),
    "user.csv": "id,name,email,role,organization_id\n7,Anna,Anna@x.org,end-user,\n1,Rep,rep@seller.example,agent,\n",
}


@pytest.mark.parametrize(
    "files",
    [
        {"tickets.json": lines(FULL)},
        {"tickets.json": json.dumps(FULL, indent=2)},
        {"export.zip": zipped({"tickets.json": lines(FULL)})},
        {"tickets.json": {"tickets": [TICKET], "count": 1}, "comments.json": [{**c, "ticket_id": 3} for c in COMMENTS],
         "users.json": USERS},
        {"all.json": {"tickets": [{**TICKET, "comments": COMMENTS}], **USERS}},
        CSV,
    ],
    ids=["full export", "one object", "zip", "interface", "sideloaded", "tables"],
)  # fmt: skip
def test_a_ticket_is_read_alike_from_every_kind_of_export(files: dict[str, Any]) -> None:
    for name, data in files.items():
        assert formats(name, data) == ["zendesk"]
    found = ticket(files, ReadOptions(workspace="acme"))
    assert parts(found) == WORDS
    assert found.text.startswith("Broken\n\nAnna: My router is broken.\n\nRep: Where do you live?")
    assert [person.key for person in found.subjects] == [Identifier("zendesk", "acme/7")]
    assert found.native_id == "acme/ticket/3"
    assert found.segments[-1].occurred_at == found.occurred_at == datetime(2024, 1, 11, 8, tzinfo=UTC)
    assert found.modified_at == datetime(2024, 1, 12, 8, tzinfo=UTC)
    assert [segment.native_id for segment in found.segments] == ["subject", "11", "12", "13", "14"]


def test_a_requester_of_the_full_export_is_described_by_the_ticket() -> None:
    (person,) = ticket({"tickets.json": lines(FULL)}).subjects
    assert (person.name, person.identifiers, person.claims) == ("Anna", (Identifier("email", "anna@x.org"),), True)
    (person,) = ticket({"tickets.json": lines(FULL), "users.json": USERS}).subjects
    assert (person.name, person.claims) == (None, False)


def test_somebody_else_outside_who_comments_has_a_record_without_the_requesters_words_and_notes() -> None:
    comments = [*COMMENTS, {"id": 15, "author_id": 8, "body": "Same here.", "public": True}]
    items = read(READER, {"tickets.json": lines({**TICKET, "comments": comments}), "users.json": USERS})
    anna, ben = records(items, "ticket")
    assert ben.subjects[0].key == Identifier("zendesk", "acme/8")
    assert ("Same here.", "other") in parts(anna)
    assert ("Same here.", "subject") in parts(ben)
    assert {role for text, role in parts(ben) if text != "Same here."} <= {"other", "staff"}


def test_a_user_is_a_person_and_agents_are_staff() -> None:
    anna = {**ANNA, "phone": "+351 912 345 678", "time_zone": "Lisbon", "organization_id": 5, "tags": ["vip"],
            "details": "Speaks French.", "user_fields": {"favourite_tea": "Oolong", "passport_number": "X1"},
            "updated_at": "2024-01-10T08:00:00Z"}  # fmt: skip
    colleague = {**BEN, "email": "boss@seller.example"}
    gone = {**BEN, "id": 9, "active": False}
    users = {"users": [anna, colleague, gone, AGENT], "organizations": [{"id": 5, "name": "ACME", "domain_names": []}]}
    items = read(READER, {"users.json": users})
    found = one(items)
    assert found.text == (
        "Name: Anna\nCompany: ACME\nTime zone: Lisbon\nTags: vip\nFavourite tea: Oolong\n\nSpeaks French."
    )
    assert found.subjects[0].identifiers == (Identifier("email", "anna@x.org"), Identifier("phone", "+351912345678"))
    assert found.metadata["withheld"] == 1
    assert counts(items) == {"user": 1, "internal_person": 1, "deleted": 1, "staff": 1, "lookup_table": 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"requester_id": 1, "requester": AGENT}, "internal_person"),
        ({"requester_id": None, "requester": None}, "no_person"),
        ({"status": "deleted"}, "deleted"),
        ({"id": None}, "the ticket has no id"),
    ],
)
def test_tickets_of_nobody_are_counted(change: dict[str, Any], reason: str) -> None:
    row = {**FULL, "comments": [COMMENTS[1]], **change}
    assert counts(read(READER, {"tickets.json": [row]})) == {reason: 1}


def test_comments_without_their_ticket_are_counted() -> None:
    comments = [{**COMMENTS[0], "ticket_id": 3}, {**COMMENTS[1], "ticket_id": 4}]
    items = read(READER, {"tickets.json": {"tickets": [TICKET]}, "comments.json": comments})
    assert counts(items) == {"ticket": 1, "joined_to_ticket": 1, "no_ticket": 1}


def test_a_view_from_the_screen_gives_its_subject_and_requester() -> None:
    view = (
        "ID,Requester,Requester id,Requester email,Submitter,Assignee,Subject,Status,Created at,Updated at\n"
        "3,Anna,7,anna@x.org,Anna,Rep,Broken,open,2024-01-10 08:00,2024-01-12 08:00\n"
    )
    found = ticket({"view.csv": view})
    assert parts(found) == [("Broken", "subject")]
    assert found.subjects[0].identifiers == (Identifier("email", "anna@x.org"),)


def test_the_words_under_a_rating_are_the_requesters() -> None:
    rated = {**FULL, "satisfaction_rating": {"score": "bad", "comment": "Too slow."}}
    assert parts(ticket({"tickets.json": lines(rated)}))[-1] == ("Too slow.", "subject")


def test_a_mail_answer_leaves_out_what_it_quotes_and_keeps_the_signature_apart() -> None:
    body = "In Porto.\n\n-- \nAnna Lee\nCTO\n\nOn Mon, 8 Jan 2024, Rep <rep@seller.example> wrote:\n> Berlin?\n"
    found = ticket({"tickets.json": lines({**FULL, "comments": [{**COMMENTS[0], "body": body}]})})
    assert parts(found)[1] == ("In Porto.", "subject")
    assert [role for _, role in parts(found)] == ["subject", "subject", "signature"]
    assert "Berlin" not in found.text
    assert found.metadata["quoted_left_out"] is True


def test_a_broken_line_is_rejected_and_the_rest_is_read() -> None:
    items = read(READER, {"tickets.json": lines(FULL) + '{"id": 4,\n' + lines({**FULL, "id": 5})})
    assert [item.position for item in items if isinstance(item, Rejected)] == ["line 2"]
    assert [item.native_id for item in records(items)] == ["acme/ticket/3", "acme/ticket/5"]


def test_a_file_that_breaks_off_gives_what_was_read_before() -> None:
    cut = json.dumps({"tickets": [FULL, FULL]})[:-200]
    items = read(READER, {"tickets.json": cut})
    assert len(records(items)) == 1
    assert counts(items)["the file is cut off"] == 1
