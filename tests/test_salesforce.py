"""Salesforce exports give records of the right people, with the right words and days."""

import io
import os
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipeline.documents import Identifier, Item, Record, Rejected, Role, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import HEAD_BYTES, Export, ReadOptions, SourceFile
from ingest_pipeline.sources.salesforce import READER, detect
from ingest_pipeline.sources.salesforce_ids import NULL_ID, checksum, id18

OPTIONS = ReadOptions(internal_domains=frozenset({"vendor.example"}))
REAL = os.environ.get("INGEST_REAL_FIXTURES")


def full(id15: str) -> str:
    return id15 + checksum(id15)


ANNA, BEN, LEAD = full("003Ec00000CyOT7"), full("003Ec00000CyOT8"), full("00QEc00000BBaeX")
ACCOUNT, TASK, EVENT = full("001Ec00000FzlUd"), full("00TEc00000Co1Wh"), full("00UEc00000Co1Wh")
CASE, NOTE, ORG, USER = (
    full("500Ec000009YUY8"),
    full("002Ec000009YUY8"),
    full("00DEc000000aBcD"),
    full("005Ec000004oBPN"),
)
STAMPS = {
    "CreatedDate": "2024-01-10T08:00:00.000+0000",
    "LastModifiedDate": "2024-02-01T09:30:00.000Z",
    "SystemModstamp": "2024-02-02T09:30:00.000Z",
    "OwnerId": USER,
    "CreatedById": USER,
}


def table(*rows: dict[str, str], quote_all: bool = False, stamped: bool = True) -> bytes:
    rows = tuple({**row, **({k: v for k, v in STAMPS.items() if k not in row} if stamped else {})} for row in rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, *([row.get(column, "") for column in columns] for row in rows)]

    def cell(value: str) -> str:
        return '"' + value.replace('"', '""') + '"' if quote_all or any(c in value for c in ',"\n\r') else value

    return "\r\n".join(",".join(map(cell, line)) for line in lines).encode() + b"\r\n"


def source(name: str, data: bytes) -> SourceFile:
    return SourceFile(name, len(data), 0.0, lambda: io.BytesIO(data))


def read(files: dict[str, bytes], options: ReadOptions = OPTIONS) -> list[Item]:
    export = Export("salesforce", Source.CRM, tuple(source(f"crm/{name}", data) for name, data in files.items()))
    items = list(READER.read(export, options))
    check(items)
    return items


def record(
    name: str, *rows: dict[str, str], options: ReadOptions = OPTIONS, others: dict[str, bytes] | None = None
) -> Record:
    (found,) = [item for item in read({name: table(*rows), **(others or {})}, options) if isinstance(item, Record)]
    return found


def outcome(name: str, row: dict[str, str]) -> str:
    (item,) = read({name: table(row)})
    return item.kind if isinstance(item, Record) else item.reason


def check(items: Iterable[Item]) -> None:
    """What holds for every record."""
    for item in items:
        if not isinstance(item, Record):
            continue
        end = 0
        for segment in item.segments:
            assert end <= segment.start < segment.end <= len(item.text)
            end = segment.end
            if segment.role is Role.FIELD:
                label, colon, value = item.text[segment.start : segment.end].partition(": ")
                assert label
                assert colon
                assert value
        assert all(person.key.value for person in item.subjects)


def parts(item: Record) -> list[tuple[str, str]]:
    return [(item.text[s.start : s.end], s.role.value) for s in item.segments]


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


# -- ids ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("003Ec00000CyOT7", "003Ec00000CyOT7IAN"),
        ("003Ec00000CyOT7IAN", "003Ec00000CyOT7IAN"),
        ("0035300000ENofqAAD", "0035300000ENofqAAD"),
        ("", None),
        (NULL_ID, None),
        ("000000000000000", None),
    ],
)
def test_ids_of_15_characters_get_their_checksum(text: str, expected: str | None) -> None:
    assert id18(text) == expected


@pytest.mark.parametrize(
    "text", ["003ec00000cyot7ian", "003Ec00000CyOT7IAM", "003Ec00000CyOT", "003-c00000CyOT7", "É" * 15]
)
def test_an_id_whose_letters_changed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"checksum|not a Salesforce id"):
        id18(text)


@given(st.from_regex(r"\A[A-Za-z0-9]{15}\Z"))
def test_the_checksum_shows_any_change_of_case(id15: str) -> None:
    assert id18(full(id15)) in (full(id15), None)
    swapped = id15.swapcase() + checksum(id15)
    if swapped[:15] != id15:
        with pytest.raises(ValueError, match="checksum"):
            id18(swapped)


def test_a_row_with_a_wrong_id_is_rejected_at_its_line_and_the_rest_is_read() -> None:
    items = read(
        {"Contact.csv": table({"Id": ANNA, "Name": "A\nB"}, {"Id": ANNA.lower(), "Name": "x"}, {"Id": "", "Name": "y"})}
    )
    rejected = [(item.position, item.reason) for item in items if isinstance(item, Rejected)]
    assert rejected == [
        ("row 2 (line 4)", "Id has a wrong checksum: its letters were changed or their case was lost"),
        ("row 3 (line 5)", "Id is empty"),
    ]
    assert sum(isinstance(item, Record) for item in items) == 1


def test_a_lead_in_the_contact_table_is_rejected() -> None:
    assert outcome("Contact.csv", {"Id": LEAD}) == "Id is not that of a contact"


# -- people ------------------------------------------------------------------------------------------------------------


def test_a_contact_is_a_person_with_its_filled_columns_as_lines() -> None:
    found = record(
        "Contact.csv",
        {
            "Id": ANNA, "Name": "Anna Lee", "Email": "Anna@Example.com", "Title": "CTO", "AccountId": ACCOUNT,
            "MailingCity": "Porto", "MailingStreet": "1 Rua", "MailingAddress": '{"city":"Porto"}',
            "Phone": "+351211234567",
            "MobilePhone": "+351 912 345 678", "DoNotCall": "1", "HasOptedOutOfEmail": "0", "PhotoUrl": "/services/x",
            "Preferred_Contact__c": "E-mail", "Driving_License_Number__c": "DL2229373694",
            "Branch__c": "a00Ec000009WFutIAG",
            "Newsletter__c": "true", "Beta__c": "false", "EmailBouncedReason": "bad",
            "Description": "Met in Faro.\r\nLikes maps.",
        },
        others={"Account.csv": table({"Id": ACCOUNT, "Name": "ACME, Inc", "Industry": "Maps"})},
    )  # fmt: skip
    assert found.text == (
        "Name: Anna Lee\nTitle: CTO\nCompany: ACME, Inc\nIndustry: Maps\nCity: Porto\nDo not call: yes\n"
        "Preferred contact: E-mail\nNewsletter: yes\n\nMet in Faro.\nLikes maps."
    )
    assert [s.role for s in found.segments] == [Role.FIELD] * 8 + [Role.NOTE]
    assert found.segments[4].native_id == "MailingCity"
    (person,) = found.subjects
    assert person.key == Identifier("salesforce", ANNA)
    assert (person.name, person.namespace, person.claims, person.same_as) == ("Anna Lee", "salesforce:", True, ())
    assert person.identifiers == (Identifier("email", "anna@example.com"), Identifier("phone", "+351912345678"))
    assert found.occurred_at == datetime(2024, 2, 1, 9, 30, tzinfo=UTC)
    assert found.modified_at == datetime(2024, 2, 2, 9, 30, tzinfo=UTC)
    assert (found.native_id, found.kind, found.file, found.position) == (
        ANNA,
        "contact",
        "crm/Contact.csv",
        "row 1 (line 2)",
    )
    assert found.metadata == {
        "object": "Contact", "id": ANNA, "row": 1, "line": 2, "account_id": ACCOUNT, "date_source": "LastModifiedDate",
        "withheld": 1,
    }  # fmt: skip


@pytest.mark.parametrize("quote_all", [True, False], ids=["weekly export", "API"])
def test_both_styles_of_export_read_alike(quote_all: bool) -> None:
    data = table({"Id": ANNA[:15], "FirstName": "Anna", "LastName": 'Lee "AL"', "Title": "CTO"}, quote_all=quote_all)
    (item,) = read({"contact.CSV": data if quote_all else b"\xef\xbb\xbf" + data})
    assert isinstance(item, Record)
    assert (item.native_id, item.text) == (ANNA, 'Name: Anna Lee "AL"\nTitle: CTO')


def test_header_names_in_capitals_are_read() -> None:
    row = {k.upper(): v for k, v in {"Id": ANNA, "Name": "Anna", "Current_Employer__c": "ACME", **STAMPS}.items()}
    (item,) = read({"contacts-2024.csv": table(row, stamped=False)})
    assert isinstance(item, Record)
    assert item.text == "Name: Anna\nCurrent employer: ACME"


def test_a_phone_identifies_only_when_it_is_a_certain_mobile() -> None:
    row = {"Id": ANNA, "Phone": "+351211234567", "HomePhone": "+351211234568", "MobilePhone": "912 345 678"}
    assert record("Contact.csv", row).subjects[0].identifiers == ()
    here = replace(OPTIONS, phone_region="PT")
    assert record("Contact.csv", row, options=here).subjects[0].identifiers == (Identifier("phone", "+351912345678"),)


def test_a_converted_lead_is_its_contact_and_still_a_record() -> None:
    found = record("Lead.csv", {"Id": LEAD, "Name": "Anna", "Company": "ACME", "ConvertedContactId": ANNA[:15]})
    assert found.subjects[0].same_as == (Identifier("salesforce", ANNA),)
    assert found.text == "Name: Anna\nCompany: ACME"


def test_a_merged_contacts_tombstone_says_only_who_it_became() -> None:
    found = record(
        "Contact.csv", {"Id": BEN, "IsDeleted": "1", "MasterRecordId": ANNA, "Name": "Ben", "Email": "ben@x.org"}
    )
    assert found.text == ""
    assert found.subjects[0].same_as == (Identifier("salesforce", ANNA),)
    assert found.subjects[0].identifiers == ()


def test_a_lead_whose_company_is_an_accounts_id_names_the_account_or_nothing() -> None:
    row = {"Id": LEAD, "Name": "Anna", "Company": ACCOUNT}
    assert record("Lead.csv", row).text == "Name: Anna"
    accounts = table({"Id": ACCOUNT, "Name": "ACME"})
    assert record("Lead.csv", row, others={"Account.csv": accounts}).text == "Name: Anna\nCompany: ACME"


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("Contact.csv", {"Id": ANNA, "IsDeleted": "true"}, "deleted"),
        ("Contact.csv", {"Id": ANNA, "Email": "rep@eu.vendor.example"}, "internal_person"),
        ("Lead.csv", {"Id": LEAD, "Email": "rep@vendor.example"}, "internal_person"),
        ("Task.csv", {"Id": TASK, "Subject": "Call", "WhoId": ""}, "no_person"),
        ("Task.csv", {"Id": TASK, "Subject": "Call", "WhoId": NULL_ID}, "no_person"),
        ("Task.csv", {"Id": TASK, "Subject": "Call", "WhoId": USER}, "no_person"),
        (
            "Task.csv",
            {"Id": TASK, "Subject": "Call", "WhoId": ANNA.lower()},
            "WhoId has a wrong checksum: its letters were",
        ),
        ("Task.csv", {"Id": TASK, "WhoId": ANNA}, "no_text"),
        ("Note.csv", {"Id": NOTE, "ParentId": ACCOUNT, "Body": "x"}, "no_person"),
        ("Case.csv", {"Id": CASE, "Subject": "x"}, "no_person"),
        ("Case.csv", {"Id": CASE, "Subject": "x", "SuppliedEmail": "rep@vendor.example"}, "internal_person"),
        ("Account.csv", {"Id": ACCOUNT, "Name": "ACME"}, "lookup_table"),
        ("User.csv", {"Id": USER, "Name": "Rep"}, "lookup_table"),
        ("CampaignMember.csv", {"Id": full("00vEc000000jeIl"), "Name": "x"}, "table_not_used: CampaignMember"),
    ],
)
def test_rows_without_a_profile_are_counted_by_reason(name: str, row: dict[str, str], reason: str) -> None:
    assert outcome(name, row).startswith(reason)


# -- activities, cases, notes ------------------------------------------------------------------------------------------


def test_a_task_refers_to_its_person_and_is_a_note_about_them() -> None:
    found = record(
        "Task.csv",
        {"Id": TASK, "WhoId": ANNA, "Subject": "Call", "Description": "Wants a demo.", "ActivityDate": "2024-01-20"},
    )
    assert parts(found) == [("Call", "note"), ("Wants a demo.", "note")]
    (person,) = found.subjects
    assert (person.key, person.claims, person.name) == (Identifier("salesforce", ANNA), False, None)
    assert found.metadata["author_id"] == USER


MAIL = "To: anna@x.org \r\nCC: \r\nBCC: \r\nAttachment: a.pptx\r\n\r\nSubject: Hello\r\n\r\nI love Porto.\r\nThe rep"


@pytest.mark.parametrize(
    ("row", "roles"),
    [
        ({"Subject": "Email", "Description": MAIL}, ["note", "staff"]),
        ({"Subject": "Email: Hello", "Description": MAIL.replace("To:", "Additional To:", 1)}, ["staff", "staff"]),
        ({"Subject": "Email: Hello", "Description": "To: a@x.org\nSubject: Hello\nBody:\nHi"}, ["staff", "staff"]),
        ({"Subject": "Hello", "Description": "I love Porto.", "TaskSubtype": "Email"}, ["note", "staff"]),
        ({"Subject": "Call", "Description": "To: do list.\nShe wants a subject: none"}, ["note", "note"]),
    ],
)
def test_a_logged_mail_is_the_reps_and_proves_nothing(row: dict[str, str], roles: list[str]) -> None:
    found = record("Task.csv", {"Id": TASK, "WhoId": LEAD, **row})
    assert [role for _, role in parts(found)] == roles
    assert found.metadata.get("logged_mail", False) is ("staff" in roles)


@pytest.mark.parametrize(
    ("activity", "expected", "column"),
    [
        ("2024-01-20", datetime(2024, 1, 20, 12, tzinfo=UTC), "ActivityDate"),
        ("2024-02-02", datetime(2024, 2, 2, 12, tzinfo=UTC), "ActivityDate"),
        ("2024-03-01", datetime(2024, 1, 10, 8, tzinfo=UTC), "CreatedDate"),
        ("", datetime(2024, 1, 10, 8, tzinfo=UTC), "CreatedDate"),
    ],
    ids=["past", "the day it was changed", "planned", "none"],
)
def test_a_task_happened_on_its_day_unless_that_was_still_to_come(
    activity: str, expected: datetime, column: str
) -> None:
    found = record("Task.csv", {"Id": TASK, "WhoId": ANNA, "Subject": "Call", "ActivityDate": activity})
    assert (found.occurred_at, found.metadata["date_source"]) == (expected, column)


def test_an_event_happened_at_its_start() -> None:
    found = record(
        "Event.csv", {"Id": EVENT, "WhoId": ANNA, "Subject": "Lunch", "StartDateTime": "2024-01-15T11:00:00.000Z"}
    )
    assert found.occurred_at == datetime(2024, 1, 15, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "role"),
    [
        ({"Origin": "Email"}, "subject"),
        ({"Origin": "Web"}, "subject"),
        ({"Origin": "Phone"}, "note"),
        ({"Origin": ""}, "note"),
        ({"Origin": "Email", "SuppliedEmail": "rep@vendor.example"}, "note"),
    ],
)
def test_a_cases_words_are_the_customers_when_they_typed_them(row: dict[str, str], role: str) -> None:
    found = record("Case.csv", {"Id": CASE, "ContactId": ANNA, "Subject": "Broken", "Description": "It fell.", **row})
    assert parts(found) == [("Broken", role), ("It fell.", role)]
    assert not found.subjects[0].claims


def test_a_case_without_a_contact_is_its_senders() -> None:
    found = record(
        "Case.csv", {"Id": CASE, "SuppliedEmail": "Jo@X.org", "SuppliedName": "Jo", "Subject": "", "Origin": "Web"}
    )
    (person,) = found.subjects
    assert (person.key, person.namespace, person.name) == (Identifier("email", "jo@x.org"), "email", "Jo")
    assert person.claims
    assert found.text == ""


def test_a_case_made_from_an_answer_leaves_out_the_mail_it_answers() -> None:
    body = "It works now.\n\nOn Mon, 8 Jan 2024 at 10:00, Rep <rep@vendor.example> wrote:\n> I live in Berlin.\n"
    found = record("Case.csv", {"Id": CASE, "ContactId": ANNA, "Origin": "Email", "Description": body})
    assert parts(found) == [("It works now.", "subject")]
    assert found.metadata["quoted_left_out"] is True


def test_a_note_is_about_the_contact_it_hangs_on() -> None:
    found = record("Note.csv", {"Id": NOTE, "ParentId": LEAD, "Title": "Golf", "Body": "Plays on Sundays."})
    assert parts(found) == [("Golf", "note"), ("Plays on Sundays.", "note")]
    assert found.occurred_at == datetime(2024, 1, 10, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "warning"),
    [("1970-01-01 00:00:00", "1970_or_before"), ("2999-01-01 00:00:00", "in_the_future"), ("01/02/2024", "unreadable")],
)
def test_an_impossible_date_is_none_with_a_warning(value: str, warning: str) -> None:
    row = {
        "Id": NOTE,
        "ParentId": ANNA,
        "Body": "x",
        "CreatedDate": value,
        "LastModifiedDate": "",
        "SystemModstamp": "",
    }
    found = record("Note.csv", row)
    assert (found.occurred_at, found.modified_at) == (None, None)
    assert found.metadata["warnings"] == [f"createddate: {warning}"]


# -- exports -----------------------------------------------------------------------------------------------------------


def test_the_org_is_in_every_id_when_the_export_tells_it() -> None:
    tables = {
        "Contact.csv": table({"Id": ANNA, "Name": "A"}),
        "Organization.csv": table({"Id": ORG[:15], "Name": "Us"}),
    }
    weekly = {f"WE_{ORG}_1.ZIP": zipped({"Contact.csv": tables["Contact.csv"], "Documents/pic.png": b"x"})}
    for files in (tables, weekly, {"backup.zip": zipped(tables)}):
        items = read(files)
        (found,) = [item for item in items if isinstance(item, Record)]
        assert found.native_id == f"{ORG}/{ANNA}"
        assert found.subjects[0].key == Identifier("salesforce", f"{ORG}/{ANNA}")
        assert found.subjects[0].namespace == f"salesforce:{ORG}"
    assert Skipped(f"crm/WE_{ORG}_1.ZIP", "not_a_table") in read(weekly)


def test_a_member_of_a_zip_is_named_in_lineage() -> None:
    (found,) = read({"x.zip": zipped({"data/Contact.csv": table({"Id": ANNA, "Name": "A"})})})
    assert isinstance(found, Record)
    assert (found.file, found.position) == ("crm/x.zip", "data/Contact.csv row 1 (line 2)")
    assert found.metadata["archive_member"] == "data/Contact.csv"


def test_a_table_under_another_name_is_known_by_its_ids() -> None:
    assert outcome("all_my_people.csv", {"Id": ANNA, "Name": "A"}) == "contact"


def test_a_bad_archive_is_rejected_and_the_others_are_read() -> None:
    items = read({"bad.zip": zipped({"../Contact.csv": b"x"}), "Contact.csv": table({"Id": ANNA, "Name": "A"})})
    assert [item.position for item in items if isinstance(item, Rejected)] == ["archive"]
    assert sum(isinstance(item, Record) for item in items) == 1


def test_a_broken_row_of_a_lookup_table_is_rejected_too() -> None:
    accounts = table({"Id": ACCOUNT, "Name": "ACME"}) + b"cut,off\n"
    items = read({"Account.csv": accounts, "Contact.csv": table({"Id": ANNA, "AccountId": ACCOUNT, "Name": "A"})})
    assert [(i.file, i.position) for i in items if isinstance(i, Rejected)] == [("crm/Account.csv", "row 2 (line 3)")]
    assert [item.text for item in items if isinstance(item, Record)] == ["Name: A\nCompany: ACME"]


def test_an_archive_damaged_inside_gives_what_was_read_before() -> None:
    rows = [{"Id": full(f"003Ec00000{n:05}"), "Name": f"P{n * 7919}"} for n in range(9_000)]
    data = bytearray(zipped({"Contact.csv": table(*rows)}))
    data[len(data) * 2 // 3] ^= 0xFF
    items = read({"x.zip": bytes(data)})
    assert sum(isinstance(item, Record) for item in items) > 1_000
    broken = [item for item in items if isinstance(item, Rejected)]
    assert "damaged" in broken[-1].reason
    assert broken[-1].position.startswith("Contact.csv after row ")


def test_an_unreadable_table_is_rejected_and_the_others_are_read() -> None:
    items = read({"Task.csv": b"", "Contact.csv": table({"Id": ANNA, "Name": "A"})})
    assert [(i.file, i.reason) for i in items if isinstance(i, Rejected)] == [
        ("crm/Task.csv", "the table is empty: it has no header")
    ]


@pytest.mark.parametrize(
    "files", [{"Contact.csv": b""}, {"x.zip": b"PK\x03\x04junk"}, {"x.zip": zipped({"a.txt": b""})}]
)
def test_an_export_without_a_readable_table_is_unreadable(files: dict[str, bytes]) -> None:
    with pytest.raises(UnreadableFile, match=r"^crm/"):
        read(files)


def test_an_unterminated_quote_costs_one_row() -> None:
    rows = [{"Id": full(f"003Ec0000000{n:03}"), "Name": f"P{n}"} for n in range(5)]
    data = table(*rows).replace(b"P1", b'"P1')
    items = read({"Contact.csv": data})
    assert [item.position for item in items if isinstance(item, Rejected)] == ["row 2 (lines 3-6)"]
    assert [item.subjects[0].name for item in items if isinstance(item, Record)] == ["P0", "P2", "P3", "P4"]


# -- detection ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("Contact.csv", table({"Id": ANNA}), True),
        ("CampaignMember.csv", table({"Id": ANNA}), True),
        ("x.zip", zipped({"Contact.csv": table({"Id": ANNA})}), True),
        (f"WE_{ORG}_1.ZIP", zipped({"Attachments/x": b""}), True),
        ("slack.zip", zipped({"users.json": b"[]"}), False),
        ("contacts.csv", b"id,_fivetran_synced,property_email,isdeleted,ownerid\n", False),
        ("contacts.csv", b"Record ID,First Name,Create Date\n", False),
        ("contacts.csv", b"Id,Name\n1,x\n", False),
        ("mail.mbox", b"From a@x Mon Jan  1 00:00:00 2024\n", False),
        ("empty", b"", False),
    ],
)
def test_detection(name: str, data: bytes, expected: bool) -> None:
    assert detect(source(name, data), data[:HEAD_BYTES]) is expected


@given(st.binary(max_size=200) | st.text('Id,"\n\rOwnerIsDeltd', max_size=60).map(str.encode))
def test_detection_never_fails(data: bytes) -> None:
    detect(source("Contact.csv", data), data)
    detect(source("x.zip", b"PK\x03\x04" + data), b"PK\x03\x04" + data)


cells = st.sampled_from(["", ANNA, ANNA[:15], LEAD, "1", "a@x.org", '"', "\n", "2024-01-01", "x,y", "\0", "é", "Email"])
kinds = st.sampled_from(["Contact", "Lead", "Account", "Task", "Event", "Case", "Note", "Other"])


@settings(deadline=None)
@given(kinds, st.lists(st.lists(cells, max_size=9), max_size=5), st.binary(max_size=60))
def test_any_content_gives_items_or_unreadable_file(kind: str, rows: list[list[str]], noise: bytes) -> None:
    header = b"Id,IsDeleted,OwnerId,WhoId,ContactId,Email,Description,CreatedDate,Custom__c\n"
    body = "\n".join(",".join(row) for row in rows).encode() + noise
    for data in (header + body, body):
        try:
            read({f"{kind}.csv": data})
        except UnreadableFile:
            continue


# -- real files --------------------------------------------------------------------------------------------------------


def real(folder: str) -> list[Item]:
    if not REAL:
        pytest.skip("INGEST_REAL_FIXTURES is not set")
    paths = sorted((Path(REAL) / "salesforce" / folder / "data").iterdir())
    files = {path.name: path.read_bytes() for path in paths}
    assert all(detect(source(name, data), data[:HEAD_BYTES]) for name, data in files.items())
    return read(files)


def counts(items: list[Item]) -> Counter[str]:
    found: Counter[str] = Counter()
    for item in items:
        found[item.kind if isinstance(item, Record) else item.reason] += (
            item.units if not isinstance(item, Rejected) else 1
        )
    return found


def test_the_workshop_export_gives_its_known_counts() -> None:
    items = real("SFDC-Assets__data-cloud-workshop")
    assert counts(items) == {
        "contact": 102, "lead": 60, "task": 75, "case": 40, "lookup_table": 22, "table_not_used: CampaignMember": 68,
    }  # fmt: skip
    tasks = Counter(
        item.subjects[0].key.value[:3] for item in items if isinstance(item, Record) and item.kind == "task"
    )
    assert tasks == {"003": 60, "00Q": 15}
    people = [p for item in items if isinstance(item, Record) for p in item.subjects if p.claims]
    assert len({p.identifiers for p in people}) == len(people) == 162
    assert not any("DL" in item.text and "icense" in item.text for item in items if isinstance(item, Record))


def test_the_other_export_holds_multi_line_records_and_a_logged_mail() -> None:
    items = real("SFDC-Assets__TLDR-Button")
    assert counts(items) == {"contact": 1, "task": 2, "case": 3, "lookup_table": 1}
    tasks = [item for item in items if isinstance(item, Record) and item.kind == "task"]
    assert [item.metadata.get("logged_mail", False) for item in tasks] == [True, False]
    assert max(len(item.text) for item in tasks) > 5_000
    assert [item.metadata["line"] for item in tasks] == [2, 22]
    cases = [item for item in items if isinstance(item, Record) and item.kind == "case"]
    assert {segment.role for item in cases for segment in item.segments} == {Role.SUBJECT, Role.SIGNATURE}
