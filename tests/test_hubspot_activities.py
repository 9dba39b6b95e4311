"""HubSpot's activities, tickets and deals belong to the associated contacts, in the right words and at their time."""

from datetime import UTC, datetime

import pytest

from ingest_pipeline.documents import Record
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.hubspot import READER
from tests.crm_exports import counts, formats, one, parts, read, records

CONTACTS = "id,property_email,property_firstname\n501,anna@x.org,Anna\n502,ben@x.org,Ben\n"
PAIRS = "contact_id,engagement_id,engagement_type\n501,9,X\n502,9,X\n501,8,X\n"


def keys(record: Record) -> list[str]:
    return [person.key.value for person in record.subjects]


def activity(name: str, table: str, pairs: str = PAIRS) -> Record:
    kind = name.removeprefix("engagement_")
    files = {"contact.csv": CONTACTS, "engagement_contact.csv": pairs, f"{name}.csv": table}
    return one(read(READER, files), kind)


@pytest.mark.parametrize(
    ("kind", "columns", "cells", "expected"),
    [
        ("call", "property_hs_call_title,property_hs_call_body", "Intro,<p>Wants a demo.</p>",
         [("Intro", "note"), ("Wants a demo.", "note")]),
        ("meeting", "property_hs_meeting_title,property_hs_meeting_body,property_hs_internal_meeting_notes",
         "Lunch,At noon,Likes tea", [("Lunch", "note"), ("At noon", "note"), ("Likes tea", "note")]),
        ("task", "property_hs_task_subject,property_hs_task_body", "Call back,In May",
         [("Call back", "note"), ("In May", "note")]),
        ("communication", "property_hs_communication_body", "Hi Anna", [("Hi Anna", "staff")]),
        ("email", "property_hs_email_subject,property_hs_email_text", "Offer,I live in Berlin",
         [("I live in Berlin", "staff")]),
    ],
)  # fmt: skip
def test_an_activity_is_about_its_contacts(
    kind: str, columns: str, cells: str, expected: list[tuple[str, str]]
) -> None:
    table = (
        f"engagement_id,{columns},property_hs_timestamp,property_hs_createdate,type\n"
        f"9,{cells},2014-08-27 20:50:44.778000,2022-03-01 19:37:03,{kind.upper()}\n"
    )
    found = activity(f"engagement_{kind}", table)
    assert keys(found) == ["501", "502"]
    assert not any(person.claims for person in found.subjects)
    assert parts(found) == expected
    assert found.occurred_at == datetime(2014, 8, 27, 20, 50, 44, 778000, tzinfo=UTC)


def test_a_meeting_of_an_older_warehouse_happened_when_it_began() -> None:
    table = "engagement_id,start_time,end_time,meeting_outcome,body,title\n8,2019-09-26 13:00:00,x,,Likes tea,Lunch\n"
    found = activity("engagement_meeting", table)
    assert (keys(found), found.occurred_at) == (["501"], datetime(2019, 9, 26, 13, tzinfo=UTC))


MAIL = "engagement_id,property_hs_email_direction,property_hs_email_from_email,property_hs_email_text\n"


@pytest.mark.parametrize(
    ("row", "who", "role"),
    [
        ("9,INCOMING_EMAIL,Anna@x.org,I moved.", ["501"], "subject"),
        ("9,INCOMING_EMAIL,new@y.org,I moved.", ["new@y.org"], "subject"),
        ("8,INCOMING_EMAIL,,I moved.", ["501"], "subject"),
        ("9,EMAIL,rep@vendor.example,I moved.", ["501", "502"], "staff"),
        ("9,FORWARDED_EMAIL,anna@x.org,I moved.", ["501", "502"], "staff"),
    ],
)
def test_a_mails_words_are_its_senders(row: str, who: list[str], role: str) -> None:
    found = activity("engagement_email", f"{MAIL}{row}\n")
    assert (keys(found), parts(found)) == (who, [("I moved.", role)])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("9,INCOMING_EMAIL,,I moved.", "no_sender"),
        ("9,INCOMING_EMAIL,rep@vendor.example,I moved.", "internal_sender"),
        ("9,INCOMING_EMAIL,noreply@y.org,I moved.", "automatic_mail"),
        ("9,DRAFT_EMAIL,rep@vendor.example,I moved.", "draft"),
        ("7,EMAIL,rep@vendor.example,I moved.", "no_person"),
    ],
)
def test_other_mails_are_counted(row: str, reason: str) -> None:
    files = {"contact.csv": CONTACTS, "engagement_contact.csv": PAIRS, "engagement_email.csv": f"{MAIL}{row}\n"}
    assert counts(read(READER, files))[reason] == 1


def test_the_sender_may_stand_in_the_headers_and_the_body_in_html() -> None:
    table = (
        "engagement_id,type,property_hs_email_headers,property_hs_email_html\n"
        '9,INCOMING_EMAIL,"{""from"":{""email"":""ben@x.org""}}",<div>I moved.</div>\n'
    )
    found = activity("engagement_email", table)
    assert (keys(found), parts(found)) == (["502"], [("I moved.", "subject")])


@pytest.mark.parametrize(
    ("origin", "pairs", "role"),
    [("EMAIL", "501,3\n", "subject"), ("PHONE", "501,3\n", "note"), ("FORM", "501,3\n502,3\n", "other")],
)
def test_a_tickets_words_are_the_customers_when_they_typed_them(origin: str, pairs: str, role: str) -> None:
    files = {
        "ticket.csv": "id,property_subject,property_content,property_source_type,property_hs_pipeline_stage\n"
        f"3,Help,It fell.,{origin},1\n",
        "ticket_contact.csv": f"contact_id,ticket_id\n{pairs}",
    }
    found = one(read(READER, files), "ticket")
    assert parts(found) == [("Help", "note"), ("It fell.", role)]


def test_a_deal_is_told_of_its_contacts() -> None:
    columns = "Record ID,Deal Name,Deal Stage,Amount,Deal description,Associated Contact IDs"
    deals = f"{columns}\n4,200 seats,Won,9000,Fast.,501;502\n"
    found = one(read(READER, {"all-deals.csv": deals}), "deal")
    assert found.text == "Deal: 200 seats\nDeal stage: Won\nDeal amount: 9000\n\nFast."
    assert keys(found) == ["501", "502"]


@pytest.mark.parametrize(
    ("contacts", "pairs", "company"),
    [
        ("id,property_email,property_associatedcompanyid\n501,a@x.org,90\n", "501,91\n", "ACME"),
        ("id,property_email\n501,a@x.org\n", "501,91\n", "Bolt"),
        ("id,property_email\n501,a@x.org\n", "501,90\n501,91\n", None),
        ("Record ID,Email,Associated Company IDs\n501,a@x.org,90\n", "", "ACME"),
        ("id,property_email,property_company\n501,a@x.org,Own\n", "501,91\n", "Own"),
    ],
    ids=["primary", "associated", "several", "screen", "own"],
)
def test_a_contact_without_a_company_has_that_of_its_association(
    contacts: str, pairs: str, company: str | None
) -> None:
    files = {
        "contact.csv": contacts,
        "company.csv": "id,property_name,property_domain\n90,ACME,acme.example\n91,Bolt,bolt.example\n",
        "contact_company.csv": f"contact_id,company_id\n{pairs}",
    }
    assert one(read(READER, files), "contact").text == (f"Company: {company}" if company else "")


def test_owners_and_their_domains_are_staff() -> None:
    files = {
        "owner.csv": "owner_id,portal_id,email\n1,2,rep@seller.example\n2,2,me@gmail.com\n",
        "contact.csv": "id,property_email\n1,x@seller.example\n2,me@gmail.com\n3,you@gmail.com\n",
    }
    items = read(READER, files)
    assert counts(items)["internal_person"] == 2
    assert keys(one(items, "contact")) == ["2/3"]


def test_activities_from_the_screen_are_read_alike() -> None:
    columns = "Record ID,Call Title,Call notes,Activity date,Associated Contact IDs"
    calls = f"{columns}\n9,Intro,Wants a demo.,2024-02-01 10:30,501\n"
    options = ReadOptions(timezone="Europe/Berlin")
    found = one(read(READER, {"hubspot-calls.csv": calls}, options), "call")
    assert parts(found) == [("Intro", "note"), ("Wants a demo.", "note")]
    assert found.occurred_at == datetime(2024, 2, 1, 9, 30, tzinfo=UTC)
    assert formats("hubspot-calls.csv", calls) == ["hubspot"]


def test_a_planned_task_is_as_old_as_its_entry() -> None:
    columns = "engagement_id,property_hs_task_subject,property_hs_timestamp,property_hs_createdate"
    row = "8,Call,2999-01-01 00:00:00,2024-01-01 00:00:00"
    assert activity("engagement_task", f"{columns}\n{row}\n").occurred_at == datetime(2024, 1, 1, tzinfo=UTC)


def test_columns_can_be_left_out_by_label_or_property() -> None:
    contacts = "Record ID,Email,First Name,Job Title,Date of birth,Message\n501,a@x.org,Anna,CTO,1980-01-01,Private\n"
    options = ReadOptions(exclude_columns=frozenset({"date of birth", "message", "email"}))
    (found,) = records(read(READER, {"contacts.csv": contacts}, options))
    assert found.text == "Name: Anna\nTitle: CTO"
    assert found.subjects[0].identifiers == ()
