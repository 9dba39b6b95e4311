"""Documents about people whom a record no longer names end; what does not tell of everybody ends nothing."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from ingest_pipeline.changes import ReadReport
from ingest_pipeline.sources import registry
from ingest_pipeline.store.engine import write
from ingest_pipeline.store.tables import DocumentRow, FileRow, IdentifierRow
from tests.builders import rows
from tests.format_samples import Files, table
from tests.placing import Place


@pytest.fixture
def inbox(engine: Engine, tmp_path: Path) -> Place:
    return Place(engine, str(tmp_path / "inbox"))


def note(*contacts: int, said: str = "Moved to Porto.", at: str = "2024-02-01 10:00") -> Files:
    """A HubSpot note about these contacts, who are 1, 2 and 3."""
    people = "".join(f"{n},Kim,kim{n}@x.example,2024-01-10 09:00\n" for n in (1, 2, 3))
    listed = ";".join(map(str, contacts))
    return {
        "contacts.csv": f"Record ID,First Name,Email,Create Date\n{people}".encode(),
        "notes.csv": (
            "Record ID,Note body,Activity date,Associated Contact IDs,Last Modified Date\n"
            f"9,{said},2024-02-01 09:00,{listed},{at}\n8,Likes tea.,2024-02-01 09:00,3,{at}\n"
        ).encode(),
    }


def about(engine: Engine) -> dict[str, list[str]]:
    """Text of a note → whom its current documents are about."""
    identifiers = {row.id: row.value for row in rows(engine, IdentifierRow)}
    found: dict[str, list[str]] = {}
    for row in rows(engine, DocumentRow):
        if row.kind == "note" and row.superseded_at is None:
            found.setdefault(row.text, []).append(identifiers[row.identifier_id])
    return {text: sorted(people) for text, people in found.items()}


PORTO, TEA = "Moved to Porto.", {"Likes tea.": ["3"]}
BOTH = {PORTO: ["1", "2"]}
EXPORTED_AGAIN: dict[str, tuple[Files, str, dict[str, list[str]], int]] = {
    "with fewer people": (note(1), "acme", {PORTO: ["1"]}, 1),
    "with others": (note(3), "acme", {PORTO: ["3"]}, 2),
    "with fewer people and another text": (note(2, said="In Faro."), "acme", {"In Faro.": ["2"]}, 1),
    "under another name": ({"new.csv": note(1)["notes.csv"]}, "acme", {PORTO: ["1"]}, 1),
    "with an empty row": (note(1) | {"contacts.csv": note()["contacts.csv"] + b"4,,,\n"}, "acme", {PORTO: ["1"]}, 1),
    "older": (note(1, at="2024-01-15 10:00"), "acme", BOTH, 0),
    "without anybody": (note(), "acme", BOTH, 0),
    "without the note": ({"notes.csv": b"Record ID,Note body,Associated Contact IDs\n"}, "acme", BOTH, 0),
    "elsewhere": (note(1), "other", BOTH, 0),
    "with a spoiled id": ({"notes.csv": note(1)["notes.csv"].replace(b",1,", b",1;1.5E+10,")}, "acme", BOTH, 0),
    "damaged": ({"notes.csv": note(1)["notes.csv"] + b'7,"never closed\n'}, "acme", BOTH, 0),
}


@pytest.mark.parametrize(("files", "folder", "expected", "withdrawn"), EXPORTED_AGAIN.values(), ids=EXPORTED_AGAIN)
def test_a_record_about_other_people_than_before(
    inbox: Place, files: Files, folder: str, expected: dict[str, list[str]], withdrawn: int
) -> None:
    """It ends for those whom the new version of the same export no longer names, and goes on when they are back."""
    reader = registry.BY_FORMAT["hubspot"]
    inbox.put(reader, note(1, 2))
    inbox.read(reader)
    assert about(inbox.engine) == BOTH | TEA
    if "new.csv" in files:
        inbox.take_away(reader)
    inbox.put(reader, files, folder)
    assert inbox.read(reader).withdrawn == withdrawn
    assert about(inbox.engine) == expected | TEA
    inbox.put(reader, note(1, 2, at="2024-03-01 10:00"), folder)
    inbox.read(reader)
    assert about(inbox.engine) == BOTH | TEA


def test_rows_and_people_of_one_record_end_nothing_of_each_other(inbox: Place) -> None:
    """Two rows about one visit, a ticket with two customers: read again they are what they were."""
    visits = b"visit,nr,text\n1,5,Was there.\n1,6,Was there.\n2,5,Came back.\n"
    mapping = b"files:\n  - {file: visits.csv, id: nr, record_id: visit, text: text, email: nr}\n"
    people = [{"id": n, "name": f"Kim {n}", "email": f"kim{n}@x.example", "role": "end-user"} for n in (7, 8)]
    comments = [
        {"id": n, "author_id": n, "body": "Hello.", "public": True, "created_at": "2024-01-10T08:00:00Z"}
        for n in (7, 8)
    ]
    ticket = {
        "id": 3,
        "requester_id": 7,
        "subject": "Maps",
        "requester": people[0],
        "collaborator": people[1:],
        "comments": comments,
    }
    for name, files in {
        "mapped": {"visits.csv": visits, "mapping.yaml": mapping},
        "zendesk": {"tickets.json": json.dumps({"tickets": [ticket]}).encode()},
    }.items():
        reader = registry.BY_FORMAT[name]
        inbox.put(reader, files, name)
        first = inbox.read(reader)
        assert first.saved.new >= 2
        inbox.put(reader, {file: content + b"\n" for file, content in files.items()}, name)
        again = inbox.read(reader)
        assert (again.saved.new, again.saved.replaced, again.withdrawn) == (0, 0, 0)


HUBSPOT = registry.BY_FORMAT["hubspot"]
LATER = {"later.csv": note(1, at="2024-02-05 10:00")["notes.csv"]}


def read_again(inbox: Place, name: str) -> ReadReport:
    """As after an upgrade: with another version of the reader."""
    write(inbox.engine, lambda connection: connection.execute(update(FileRow).values(read_with="")))
    return inbox.read(registry.BY_FORMAT[name])


def changed(report: ReadReport) -> tuple[int, int, int]:
    return report.saved.new, report.saved.replaced, report.withdrawn


@pytest.mark.parametrize("at_once", [True, False])
def test_of_two_exports_side_by_side_the_later_says_whom_a_record_is_about(inbox: Place, at_once: bool) -> None:
    """Whether they are read one after the other or together; reading both again changes nothing."""
    inbox.put(HUBSPOT, note(1, 2))
    if not at_once:
        inbox.read(HUBSPOT)
    inbox.put(HUBSPOT, LATER)
    assert inbox.read(HUBSPOT).withdrawn == 1
    assert about(inbox.engine) == {PORTO: ["1"]} | TEA
    assert changed(read_again(inbox, "hubspot")) == (0, 0, 0)
    assert about(inbox.engine) == {PORTO: ["1"]} | TEA


@pytest.mark.parametrize("at_once", [True, False])
def test_a_later_export_with_less_beside_the_earlier_ends_nothing(inbox: Place, at_once: bool) -> None:
    """A page of tickets without their comments, after one with them."""
    reader = registry.BY_FORMAT["zendesk"]
    first, later = ({**TICKET, "updated_at": f"2024-0{month}-01T08:00:00Z"} for month in (1, 2))
    inbox.put(reader, {"users.json": USERS, "1.json": json.dumps([first]).encode()})
    if not at_once:
        inbox.read(reader)
    inbox.put(reader, {"2.json": without(later, "comments")})
    assert inbox.read(reader).withdrawn == 0
    assert len({row.identifier_id for row in rows(inbox.engine, DocumentRow) if row.kind == "ticket"}) == 2


def test_an_earlier_export_that_is_read_later_brings_nobody_back(inbox: Place) -> None:
    inbox.put(HUBSPOT, note(1, 2))
    inbox.read(HUBSPOT)
    inbox.put(HUBSPOT, note(1, at="2024-02-05 10:00"))
    inbox.read(HUBSPOT)
    inbox.put(HUBSPOT, note(1, 2), "older")
    inbox.read(HUBSPOT)
    assert about(inbox.engine) == {PORTO: ["1"]} | TEA


def test_exports_that_contradict_each_other_come_to_rest(inbox: Place) -> None:
    """What is current again is from the export that says it, and another one does not end it."""
    inbox.put(HUBSPOT, note(1, 2))
    inbox.put(HUBSPOT, note(1, 2), "second")
    inbox.read(HUBSPOT)
    inbox.put(HUBSPOT, note(1))
    assert inbox.read(HUBSPOT).withdrawn == 1
    read_again(inbox, "hubspot")
    assert about(inbox.engine) == BOTH | TEA
    assert changed(read_again(inbox, "hubspot")) == (0, 0, 0)


STAMPS = "SystemModstamp,CreatedById,OwnerId"
STAMPED = ["2024-01-10 08:00:00", "005A00000000001", "005A00000000001"]
TASK = {
    "Task.csv": table(f"Id,WhoId,Description,{STAMPS}", ["00TA00000000001", "003A00000000001", "Moved.", *STAMPED]),
    "TaskRelation.csv": table(
        f"Id,TaskId,RelationId,{STAMPS}", ["0RTA00000000001", "00TA00000000001", "003A00000000002", *STAMPED]
    ),
}
KIM = {"id": 7, "name": "Kim", "email": "kim@x.example", "role": "end-user"}
JO = {"id": 8, "name": "Jo", "email": "jo@x.example", "role": "end-user"}
USERS = json.dumps({"users": [user | {"organization_id": None} for user in (KIM, JO)]}).encode()
TICKET = {
    "id": 3, "requester_id": 7, "subject": "Maps", "description": "Hello.",
    "comments": [
        {"id": n, "author_id": n, "body": "Hello.", "public": True, "created_at": "2024-01-10T08:00:00Z"}
        for n in (7, 8)
    ],
}  # fmt: skip
SPOKEN = {
    "type": "conversation", "id": "5", "created_at": 1704873600, "updated_at": 1704873600,
    "source": {"body": "Hello.", "author": KIM | {"type": "user", "id": "7"}},
    "conversation_parts": {"conversation_parts": [
        {"id": "6", "part_type": "comment", "body": "Me too.", "author": JO | {"type": "user", "id": "8"}}
    ]},
}  # fmt: skip
MET = {
    "id": 4, "subject": "Lunch", "note": "Met.", "due_date": "2024-01-10", "person_id": 7,
    "add_time": "2024-01-10 08:00:00", "marked_as_done_time": "", "participants": [{"person_id": 7}, {"person_id": 8}],
}  # fmt: skip
VISITS = b"files:\n  - {file: visits*.csv, id: customer, record_id: visit, text: text, time: day}\n"


def without(values: dict[str, object], key: str) -> bytes:
    return json.dumps([{name: value for name, value in values.items() if name != key}]).encode()


LESS: dict[str, tuple[str, Files, Files]] = {
    "links": (
        "hubspot",
        note(1) | {"links.csv": b"contact_id,engagement_id\n1,9\n2,9\n"},
        note(1, at="2024-03-01 10:00"),
    ),
    "a spoiled link": (
        "hubspot",
        note(1) | {"links.csv": b"contact_id,engagement_id\n1,9\n2,9\n"},
        note(1, at="2024-03-01 10:00") | {"links.csv": b"contact_id,engagement_id\n1,9\n2.0E+0,9\n"},
    ),
    "relations": ("salesforce", TASK, {"Task.csv": TASK["Task.csv"] + b"\n"}),
    "comments": (
        "zendesk",
        {"tickets.json": json.dumps([TICKET]).encode(), "users.json": USERS},
        {"tickets.json": without(TICKET, "comments"), "users.json": USERS},
    ),
    "users": (
        "zendesk",
        {"tickets.json": json.dumps([TICKET]).encode(), "users.json": USERS},
        {"tickets.json": json.dumps([TICKET]).encode()},
    ),
    "parts": (
        "intercom",
        {"conversations.json": json.dumps({"conversations": [SPOKEN]}).encode()},
        {"conversations.json": json.dumps({"conversations": [SPOKEN | {"conversation_parts": {}}]}).encode()},
    ),
    "participants": (
        "pipedrive",
        {"activities.json": json.dumps([MET]).encode()},
        {"activities.json": without(MET, "participants")},
    ),
    "customers": (
        "mapped",
        {
            "mapping.yaml": VISITS,
            "visits1.csv": b"customer,visit,text,day\n7,1,Hello.,2024-01-10\n8,1,Hi.,2024-01-10\n",
        },
        {"mapping.yaml": VISITS, "visits2.csv": b"customer,visit,text,day\n7,1,Hello.,2024-01-11\n"},
    ),
}


@pytest.mark.parametrize(("name", "whole", "part"), LESS.values(), ids=LESS)
def test_an_export_with_less_ends_nothing(inbox: Place, name: str, whole: Files, part: Files) -> None:
    """Without a table of links, its comments, its users; with other customers, whose entries are numbered alike."""
    reader = registry.BY_FORMAT[name]
    inbox.put(reader, whole)
    inbox.read(reader)
    before = {row.identifier_id for row in rows(inbox.engine, DocumentRow)}
    assert len(before) >= 2
    inbox.take_away(reader)
    inbox.put(reader, part)
    assert inbox.read(reader).withdrawn == 0
    again = read_again(inbox, name)
    assert (again.files, again.withdrawn) == (len(part), 0)
    assert {row.identifier_id for row in rows(inbox.engine, DocumentRow) if row.superseded_at is None} == before
