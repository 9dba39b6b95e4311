"""Mails, notes, activities and person accounts of Salesforce belong to the right people, in the right words."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest_pipeline.documents import Identifier, Record, Role, Skipped
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.salesforce import READER
from ingest_pipeline.sources.salesforce_activities import note_body
from ingest_pipeline.sources.salesforce_ids import checksum
from tests.crm_exports import OPTIONS, counts, formats, one, parts, read, records, zipped


def full(id15: str) -> str:
    return id15 + checksum(id15)


ANNA, BEN, LEAD = full("003Ec00000CyOT7"), full("003Ec00000CyOT8"), full("00QEc00000BBaeX")
ACCOUNT, CASE, USER, PORTAL = (
    full("001Ec00000FzlUd"),
    full("500Ec000009YUY8"),
    full("005Ec000004oBPN"),
    full("005Ec000004oBPP"),
)
TASK, EVENT = full("00TEc00000Co1Wh"), full("00UEc00000Co1Wh")
MAIL, NOTE, COMMENT = full("02sEc00000Aa1Wh"), full("069Ec00000Aa1Wh"), full("00aEc00000Aa1Wh")
STAMPS = {
    "CreatedDate": "2024-01-10T08:00:00.000+0000",
    "LastModifiedDate": "2024-02-01T09:30:00.000Z",
    "SystemModstamp": "2024-02-02T09:30:00.000Z",
    "OwnerId": USER,
    "CreatedById": USER,
}


def table(*rows: dict[str, str]) -> bytes:
    stamped = [{**STAMPS, **row} for row in rows]
    columns = list(dict.fromkeys(column for row in stamped for column in row))
    lines = [columns, *([row.get(column, "") for column in columns] for row in stamped)]
    quoted = (",".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines)
    return "\r\n".join(quoted).encode() + b"\r\n"


CONTACTS = table({"Id": ANNA, "Name": "Anna", "Email": "anna@x.org"}, {"Id": BEN, "Name": "Ben", "Email": "b@x.org"})


def keys(record: Record) -> list[str]:
    return [person.key.value for person in record.subjects]


# -- mails -------------------------------------------------------------------------------------------------------------


def mail(cells: dict[str, str], **others: Any) -> Record:
    row = {"Id": MAIL, "TextBody": "I moved to Porto.", "MessageDate": "2024-01-09 10:00:00", **cells}
    return one(read(READER, {"EmailMessage.csv": table(row), **others}), "emailmessage")


def test_an_inbound_mail_is_its_senders_own_words() -> None:
    body = "I moved to Porto.\r\n\r\nOn Mon, 8 Jan 2024 at 10:00, Rep <rep@vendor.example> wrote:\r\n> In Berlin?\r\n"
    found = mail(
        {"Incoming": "1", "FromAddress": "Anna@X.org", "FromName": "Anna", "TextBody": body, "Subject": "Re: You"},
        **{"Contact.csv": CONTACTS},
    )
    assert keys(found) == [ANNA]
    assert not found.subjects[0].claims
    assert parts(found) == [("I moved to Porto.", "subject")]
    assert found.occurred_at == datetime(2024, 1, 9, 10, tzinfo=UTC)
    assert found.metadata["subject"] == "Re: You"
    assert found.metadata["quoted_left_out"] is True


def test_an_outbound_mail_is_staffs_and_refers_to_its_recipients() -> None:
    found = mail(
        {"Incoming": "0", "FromAddress": "rep@vendor.example", "ToAddress": "anna@x.org; new@y.org; me@vendor.example"},
        **{"Contact.csv": CONTACTS},
    )
    assert [str(person.key) for person in found.subjects] == [f"salesforce:{ANNA}", "email:new@y.org"]
    assert not any(person.claims for person in found.subjects)
    assert parts(found) == [("I moved to Porto.", "staff")]
    assert found.metadata["author_id"] == USER


def test_a_sender_whom_the_export_does_not_know_is_known_by_address() -> None:
    found = mail({"Incoming": "true", "FromAddress": "jo@y.org", "FromName": "Jo"}, **{"Contact.csv": CONTACTS})
    (person,) = found.subjects
    assert (person.key, person.name, person.claims) == (Identifier("email", "jo@y.org"), "Jo", True)


def test_of_two_contacts_with_one_address_the_cases_is_the_sender_else_nobody_is_chosen() -> None:
    both = table({"Id": ANNA, "Email": "a@x.org"}, {"Id": BEN, "Email": "a@x.org"})
    inbound = {"Incoming": "1", "FromAddress": "a@x.org"}
    files = {"Contact.csv": both, "Case.csv": table({"Id": CASE, "ContactId": BEN, "Subject": "x"})}
    assert keys(mail({**inbound, "ParentId": CASE}, **files)) == [BEN]
    assert keys(mail({**inbound, "RelatedToId": CASE}, **files)) == [BEN]
    assert keys(mail(inbound, **files)) == ["a@x.org"]


def test_a_relation_to_the_mail_names_its_people() -> None:
    relations = table(
        {"Id": full("0XdEc00000Aa1Wh"), "EmailMessageId": MAIL, "RelationId": BEN, "RelationType": "FromAddress"},
        {"Id": full("0XdEc00000Aa1Wi"), "EmailMessageId": MAIL, "RelationId": ANNA, "RelationType": "ToAddress"},
    )
    files = {"EmailMessageRelation.csv": relations}
    assert keys(mail({"Incoming": "1", "FromAddress": "shared@x.org"}, **files)) == [BEN]
    assert keys(mail({"Incoming": "0", "ToAddress": "shared@x.org"}, **files)) == [ANNA]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"Status": "5"}, "draft"),
        ({"FromAddress": ""}, "no_sender"),
        ({"FromAddress": "rep@vendor.example"}, "internal_sender"),
        ({"FromAddress": "no-reply@y.org"}, "automatic_mail"),
        ({"TextBody": "", "FromAddress": "anna@x.org"}, "no_text"),
        ({"Incoming": "0", "ToAddress": "me@vendor.example"}, "no_person"),
    ],
)
def test_mails_without_a_customers_words_are_counted(cells: dict[str, str], reason: str) -> None:
    row = {"Id": MAIL, "Incoming": "1", "TextBody": "Hello", "FromAddress": "a@x.org", **cells}
    items = read(READER, {"EmailMessage.csv": table(row), "Contact.csv": CONTACTS})
    assert counts(items)[reason] == 1


def test_a_mail_without_plain_text_is_read_from_its_html() -> None:
    html = {"TextBody": "", "HtmlBody": "<p>I moved to <b>Porto</b>.</p><script>x</script>"}
    assert parts(mail({"Incoming": "1", "FromAddress": "a@x.org", **html})) == [("I moved to Porto.", "subject")]


# -- notes -------------------------------------------------------------------------------------------------------------


def link(entity: str, number: int = 0) -> dict[str, str]:
    return {"Id": full(f"06AEc00000Aa1W{number}"), "ContentDocumentId": NOTE, "LinkedEntityId": entity}


def test_a_content_note_is_about_everybody_it_is_linked_to() -> None:
    content = base64.b64encode(b"<p>Plays golf &amp; chess.</p>").decode()
    files = {
        "ContentNote.csv": table({"Id": NOTE, "Title": "Golf", "Content": content}),
        "ContentDocumentLink.csv": table(*(link(e, n) for n, e in enumerate([ANNA, LEAD, USER, CASE]))),
        "Case.csv": table({"Id": CASE, "ContactId": BEN}),
    }
    found = one(read(READER, files), "contentnote")
    assert sorted(keys(found)) == sorted([ANNA, BEN, LEAD])
    assert parts(found) == [("Golf", "note"), ("Plays golf & chess.", "note")]


def test_a_notes_file_version_is_the_note_and_other_files_are_counted() -> None:
    version = {"Title": "Golf", "ContentDocumentId": NOTE, "IsLatest": "true"}
    rows = [
        {**version, "Id": full("068Ec00000Aa1Wh"), "FileType": "SNOTE", "VersionData": "<p>Plays golf.</p>"},
        {**version, "Id": full("068Ec00000Aa1Wi"), "FileType": "SNOTE", "IsLatest": "false", "VersionData": "x"},
        {**version, "Id": full("068Ec00000Aa1Wj"), "FileType": "PDF"},
    ]
    items = read(READER, {"ContentVersion.csv": table(*rows), "ContentDocumentLink.csv": table(link(ANNA))})
    assert one(items).native_id == NOTE
    assert counts(items) == {"contentnote": 1, "earlier_version": 1, "not_a_note": 1, "lookup_table": 1}


@pytest.mark.parametrize("body", ["Golf", "Meetinginvestors", "Plays golf.", "<p>Golf</p>", "Zm9v", ""])
def test_a_note_that_is_not_base64_stays_as_it_is(body: str) -> None:
    assert note_body(body) == body.removeprefix("<p>").removesuffix("</p>")


def test_a_note_on_a_case_is_about_the_cases_contact() -> None:
    files = {
        "Note.csv": table({"Id": full("002Ec000009YUY8"), "ParentId": CASE, "Body": "Prefers mornings."}),
        "Case.csv": table({"Id": CASE, "ContactId": ANNA}),
    }
    assert keys(one(read(READER, files), "note")) == [ANNA]


@pytest.mark.parametrize(
    ("author", "published", "role"),
    [(USER, "0", "note"), (USER, "1", "staff"), (PORTAL, "1", "subject")],
    ids=["agents' note", "agent's answer", "customer"],
)
def test_a_case_comments_words_are_whose_user_wrote_them(author: str, published: str, role: str) -> None:
    comment = {"Id": COMMENT, "ParentId": CASE, "CommentBody": "I prefer e-mail.", "IsPublished": published}
    files = {
        "CaseComment.csv": table({**comment, "CreatedById": author}),
        "Case.csv": table({"Id": CASE, "ContactId": ANNA}),
        "User.csv": table({"Id": USER, "Email": "r@vendor.example"}, {"Id": PORTAL, "ContactId": ANNA}),
    }
    found = one(read(READER, files), "casecomment")
    assert (keys(found), parts(found)) == ([ANNA], [("I prefer e-mail.", role)])


# -- activities --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activity", "relation", "prefix"), [("Task", "TaskRelation", "0RT"), ("Event", "EventRelation", "0RE")]
)
def test_an_activity_belongs_to_everybody_it_is_related_to(activity: str, relation: str, prefix: str) -> None:
    native = TASK if activity == "Task" else EVENT
    related = [BEN, LEAD, USER, ACCOUNT]
    rows = [
        {"Id": full(f"{prefix}Ec00000Aa1W{n}"), f"{activity}Id": native, "RelationId": r} for n, r in enumerate(related)
    ]
    rows.append({**rows[0], "RelationId": full("003Ec00000CyOT9"), "IsDeleted": "1"})
    row = {"Id": native, "WhoId": ANNA, "Subject": "Lunch", "Description": "Both like tea."}
    found = one(read(READER, {f"{activity}.csv": table(row), f"{relation}.csv": table(*rows)}))
    assert keys(found) == [ANNA, BEN, LEAD]
    renamed = {f"{activity}.csv": table(row), "export (3).csv": table(*rows)}
    assert keys(one(read(READER, renamed))) == [ANNA, BEN, LEAD]


def test_a_logged_mails_author_is_the_rep_who_owns_the_task() -> None:
    description = "To: anna@x.org\r\nCC: \r\n\r\nSubject: Hello\r\nBody:\r\nI love Porto."
    row = {"Id": TASK, "WhoId": ANNA, "Description": description, "OwnerId": PORTAL, "CreatedById": USER}
    found = one(read(READER, {"Task.csv": table(row)}))
    assert [segment.role for segment in found.segments] == [Role.STAFF]
    assert found.metadata["author_id"] == PORTAL


# -- person accounts ---------------------------------------------------------------------------------------------------

PERSON_ACCOUNT = {
    "Id": ACCOUNT, "IsPersonAccount": "1", "PersonContactId": ANNA, "Name": "Anna Lee", "PersonEmail": "anna@x.org",
    "PersonTitle": "Surgeon", "PersonMailingCity": "Porto", "PersonDoNotCall": "1", "Tea__pc": "Oolong",
    "PersonMobilePhone": "+351 912 345 678",
}  # fmt: skip
COMPANY = {"Id": full("001Ec00000FzlUe"), "IsPersonAccount": "0", "Name": "ACME"}


def test_a_person_account_is_a_person_under_both_its_ids() -> None:
    items = read(READER, {"Account.csv": table(PERSON_ACCOUNT, COMPANY)})
    found = one(items)
    (person,) = found.subjects
    assert (person.key, person.same_as) == (Identifier("salesforce", ANNA), (Identifier("salesforce", ACCOUNT),))
    assert person.identifiers == (Identifier("email", "anna@x.org"), Identifier("phone", "+351912345678"))
    assert found.text == "Name: Anna Lee\nTitle: Surgeon\nCity: Porto\nDo not call: yes\nTea: Oolong"
    assert found.kind == "person_account"
    assert Skipped("crm/acme/Account.csv", "lookup_table", 1) in items


def test_what_hangs_on_a_person_account_is_about_its_person() -> None:
    files = {
        "Account.csv": table(PERSON_ACCOUNT, COMPANY),
        "Contact.csv": table({"Id": ANNA, "Name": "Anna Lee", "AccountId": ACCOUNT, "IsPersonAccount": "1"}),
        "Task.csv": table({"Id": TASK, "WhatId": ACCOUNT, "Subject": "Wants tea."}),
        "Case.csv": table({"Id": CASE, "AccountId": ACCOUNT, "Subject": "Broken"}),
    }
    items = read(READER, files)
    assert [keys(found) for kind in ("task", "case") for found in records(items, kind)] == [[ANNA], [ANNA]]
    contact = one(items, "contact")
    assert contact.subjects[0].same_as == (Identifier("salesforce", ACCOUNT),)
    assert contact.text == "Name: Anna Lee"


def test_a_task_about_a_company_is_nobodys() -> None:
    items = read(READER, {"Account.csv": table(COMPANY), "Task.csv": table({"Id": TASK, "WhatId": COMPANY["Id"]})})
    assert counts(items)["no_person"] == 1


# -- exports -----------------------------------------------------------------------------------------------------------


def test_an_export_split_over_several_zips_is_one() -> None:
    org = full("00DEc000000aBcD")
    files = {
        f"WE_{org}_1.ZIP": zipped({"Contact.csv": CONTACTS, "Account.csv": table(COMPANY)}),
        f"WE_{org}_2.ZIP": zipped({"Task.csv": table({"Id": TASK, "Subject": "Both"}), "Contact_2.csv": CONTACTS}),
        f"WE_{org}_3.ZIP": zipped(
            {"TaskRelation.csv": table({"Id": full("0RTEc00000Aa1W1"), "TaskId": TASK, "RelationId": BEN})}
        ),
    }
    items = read(READER, files)
    assert keys(one(items, "task")) == [f"{org}/{BEN}"]
    assert counts(items)["contact"] == 4


def test_users_and_their_domains_are_staff_customers_users_and_free_mail_are_not() -> None:
    users = table(
        {"Id": USER, "Email": "rep@seller.example", "UserType": "Standard"},
        {"Id": full("005Ec000004oBPQ"), "Email": "owner@gmail.com"},
        {"Id": PORTAL, "Email": "anna@x.org", "ContactId": ANNA},
        {"Id": full("005Ec000004oBPR"), "Email": "auto@salesforce.example", "UserType": "AutomatedProcess"},
    )
    emails = ["a@seller.example", "owner@gmail.com", "other@gmail.com", "b@x.org", "c@salesforce.example"]
    contacts = [{"Id": full(f"003Ec00000CyO{n:02}"), "Name": "N", "Email": email} for n, email in enumerate(emails)]
    items = read(READER, {"User.csv": users, "Contact.csv": table(*contacts)})
    assert [r.subjects[0].identifiers[0].value for r in records(items)] == emails[2:]
    assert counts(items)["internal_person"] == 2


def test_columns_can_be_left_out_by_label_or_name() -> None:
    row = {"Id": ANNA, "Name": "Anna", "Title": "CTO", "Birthdate": "1980-01-01", "Tea__c": "Oolong",
           "Email": "a@x.org", "Description": "Private."}  # fmt: skip
    options = ReadOptions(exclude_columns=frozenset({"birthdate", "tea", "email", "description"}))
    found = one(read(READER, {"Contact.csv": table(row)}, options))
    assert found.text == "Name: Anna\nTitle: CTO"
    assert found.subjects[0].identifiers == ()
    assert (
        one(read(READER, {"Contact.csv": table(row)}, ReadOptions(exclude_columns=frozenset({"name"})))).text[:5]
        == "Title"
    )


def test_the_new_tables_are_nobody_elses() -> None:
    for name in ("EmailMessage", "ContentNote", "TaskRelation", "CaseComment"):
        assert formats(f"{name}.csv", table({"Id": MAIL})) == ["salesforce"]
    assert counts(read(READER, {"Contact.csv": CONTACTS}, OPTIONS)) == {"contact": 2}
