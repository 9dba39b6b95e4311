"""HubSpot exports, from the screen and from a warehouse, give records of the right people."""

import io
import os
import zipfile
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest_pipeline.documents import Identifier, Item, Record, Rejected, Role, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources import salesforce
from ingest_pipeline.sources.base import HEAD_BYTES, Export, ReadOptions, SourceFile
from ingest_pipeline.sources.hubspot import READER, detect

OPTIONS = ReadOptions(internal_domains=frozenset({"vendor.example"}), timezone="Europe/Berlin")
REAL = os.environ.get("INGEST_REAL_FIXTURES")

SCREEN_CONTACTS = (
    "Record ID,First Name,Last Name,Email,Additional email addresses,Mobile Phone Number,Phone Number,Job Title,"
    "Company name,City,Country/Region,Preferred language,Preferred channels,Lifecycle Stage,Contact owner,"
    "Create Date,Last Modified Date,Last Activity Date,Number of Pageviews,Associated Company IDs,"
    "Unsubscribed from all email,Opted out of email: Offers,Favourite Tea,Passport Number,Message\n"
)
ANNA = (
    '101,Anna,Lee,Anna@X.org,anna@home.example,"+351 912 345 678",+351211234567,CTO,'
    "ACME,Porto,Portugal,pt,Email,customer,Rep Name,"
    "2024-01-10 09:00,2024-02-01 10:30,2024-02-01 10:30,17,900,"
    'true,false,Oolong,X123,"Met in Faro.\r\nLikes maps."\n'
)


def source(name: str, data: bytes) -> SourceFile:
    return SourceFile(name, len(data), 0.0, lambda: io.BytesIO(data))


def read(files: dict[str, str | bytes], options: ReadOptions = OPTIONS) -> list[Item]:
    raw = {name: data.encode() if isinstance(data, str) else data for name, data in files.items()}
    export = Export("hubspot", Source.CRM, tuple(source(f"crm/{name}", data) for name, data in raw.items()))
    items = list(READER.read(export, options))
    for item in items:
        if isinstance(item, Record):
            check(item)
    return items


def check(item: Record) -> None:
    """What holds for every record."""
    assert item.subjects
    for segment in item.segments:
        assert 0 <= segment.start < segment.end <= len(item.text)
        if segment.role is Role.FIELD:
            label, _, value = item.text[segment.start : segment.end].partition(": ")
            assert label
            assert value


def one(files: dict[str, str | bytes], options: ReadOptions = OPTIONS) -> Record:
    (item,) = [item for item in read(files, options) if isinstance(item, Record)]
    return item


# -- contacts ----------------------------------------------------------------------------------------------------------


def test_a_contact_from_the_screen_is_a_person_with_its_filled_columns_as_lines() -> None:
    found = one({"hubspot-crm-exports-all-contacts.csv": SCREEN_CONTACTS + ANNA})
    assert found.text == (
        "Name: Anna Lee\nTitle: CTO\nCompany: ACME\nCity: Porto\nCountry: Portugal\nPreferred language: pt\n"
        "Preferred contact: Email\nLifecycle stage: customer\nOpted out of e-mail: yes\nFavourite Tea: Oolong\n\n"
        "Met in Faro.\nLikes maps."
    )
    assert [segment.role for segment in found.segments] == [Role.FIELD] * 10 + [Role.NOTE]
    assert found.segments[1].native_id == "Job Title"
    (person,) = found.subjects
    assert person.key == Identifier("hubspot", "101")
    assert (person.name, person.namespace, person.claims) == ("Anna Lee", "hubspot:", True)
    assert person.identifiers == (
        Identifier("email", "anna@x.org"),
        Identifier("email", "anna@home.example"),
        Identifier("phone", "+351912345678"),
    )
    assert (found.native_id, found.kind, found.position) == ("contact/101", "contact", "row 1 (line 2)")


def test_times_from_the_screen_are_in_the_settings_zone_and_it_is_recorded() -> None:
    found = one({"c.csv": SCREEN_CONTACTS + ANNA})
    assert found.occurred_at == found.modified_at == datetime(2024, 2, 1, 9, 30, tzinfo=UTC)
    assert found.metadata["zone"] == "Europe/Berlin"


def test_a_contact_from_a_warehouse_reads_alike_in_utc() -> None:
    found = one(
        {
            "contact.csv": "id,_fivetran_deleted,_fivetran_synced,property_firstname,property_lastname,property_email,"
            "property_jobtitle,property_favourite_tea,property_hs_analytics_source,property_lastmodifieddate\n"
            "101,FALSE,2024-03-01 00:00:00,Anna,Lee,Anna@X.org,CTO,Oolong,DIRECT,2024-02-01 9:30:00\n"
        }
    )
    assert found.text == "Name: Anna Lee\nTitle: CTO\nFavourite tea: Oolong"
    assert found.segments[1].native_id == "property_jobtitle"
    assert found.occurred_at == datetime(2024, 2, 1, 9, 30, tzinfo=UTC)
    assert found.metadata["zone"] == "UTC"


def test_merged_ids_resolve_to_the_survivor_from_the_row_and_from_the_merge_table() -> None:
    found = one(
        {
            "contact.csv": "id,property_email,property_hs_calculated_merged_vids\n7,a@x.org,5:1661707291575;6:1;7:1\n",
            "contact_merge_audit.csv": "canonical_vid,contact_id,vid_to_merge\n7,7,4\n8,8,3\n",
        }
    )
    assert found.subjects[0].same_as == tuple(Identifier("hubspot", old) for old in ("4", "5", "6"))


def test_all_columns_of_addresses_and_merged_ids_count() -> None:
    found = one(
        {
            "contact.csv": "id,property_email,property_hs_additional_emails,property_work_email,"
            "property_hs_merged_object_ids\n7,a@x.org,b@x.org;C@x.org,d@x.org,3;4\n"
        }
    )
    assert [one.value for one in found.subjects[0].identifiers] == ["a@x.org", "b@x.org", "c@x.org", "d@x.org"]
    assert [old.value for old in found.subjects[0].same_as] == ["3", "4"]


def test_the_portal_is_in_every_id_when_the_tables_agree_on_it() -> None:
    contact = "id,property_email\n7,a@x.org\n"
    found = one({"contact.csv": contact, "engagement.csv": "id,portal_id,type\n1,4703379,NOTE\n"})
    assert (found.native_id, found.subjects[0].key.value) == ("4703379/contact/7", "4703379/7")
    assert found.subjects[0].namespace == "hubspot:4703379"
    two: dict[str, str | bytes] = {
        "contact.csv": contact,
        "engagement.csv": "id,portal_id,type\n1,1,NOTE\n",
        "owner.csv": "owner_id,portal_id\n1,2\n",
    }
    assert one(two).subjects[0].namespace == "hubspot:"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("7,TRUE,a@x.org", "deleted"),
        ("7,false,rep@vendor.example", "internal_person"),
        ("1.5E+10,false,a@x.org", "the record id is empty or not a number"),
        (",false,a@x.org", "the record id is empty or not a number"),
    ],
)
def test_rows_without_a_profile_are_counted_by_reason(row: str, reason: str) -> None:
    (item,) = read({"contact.csv": f"id,_fivetran_deleted,property_email\n{row}\n"})
    assert not isinstance(item, Record)
    assert item.reason == reason


# -- notes -------------------------------------------------------------------------------------------------------------


def test_a_note_about_several_people_is_one_record_with_several_subjects() -> None:
    found = one(
        {
            "notes.csv": "Record ID,Note body,Activity date,Associated Contact IDs,Create Date\n"
            '55,"<p>Both prefer e-mail.</p><p>Call in May</p>",2014-08-27 20:50,102; 101;102,2022-01-01 00:00\n'
        }
    )
    assert [person.key.value for person in found.subjects] == ["101", "102"]
    assert not any(person.claims for person in found.subjects)
    assert "<p>" not in found.text
    assert found.text.split() == ["Both", "prefer", "e-mail.", "Call", "in", "May"]
    assert [segment.role for segment in found.segments] == [Role.NOTE]
    assert found.occurred_at == datetime(2014, 8, 27, 18, 50, tzinfo=UTC)
    assert found.native_id == "note/55"


def test_a_warehouses_note_finds_its_people_in_the_association_table() -> None:
    note = (
        "engagement_id,_fivetran_deleted,property_hs_note_body,property_hs_timestamp,property_hs_createdate\n"
        '9,false,"line one\nline & two",2014-08-27 20:50:44.778000,2022-03-01 19:37:03\n'
    )
    pairs = "contact_id,engagement_id,engagement_type\n501,9,NOTE\n502,9,NOTE\n503,8,CALL\n"
    items = read({"engagement_contact.csv": pairs, "engagement_note.csv": note})
    (found,) = [item for item in items if isinstance(item, Record)]
    assert [person.key.value for person in found.subjects] == ["501", "502"]
    assert found.text == "line one\nline & two"
    assert found.occurred_at == datetime(2014, 8, 27, 20, 50, 44, 778000, tzinfo=UTC)
    assert Skipped("crm/engagement_contact.csv", "lookup_table", 3) in items
    assert [item.reason for item in read({"engagement_note.csv": note}) if isinstance(item, Skipped)] == ["no_person"]


def test_an_empty_note_is_counted() -> None:
    (item,) = read({"n.csv": "Record ID,Note body,Associated Contact IDs\n5,<p> </p>,101\n"})
    assert item == Skipped("crm/n.csv", "no_text")


# -- other tables, zips, detection -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        (
            "all-companies",
            "Record ID,Company name,Company Domain Name,Create Date\n1,ACME,a.example,x\n",
            "lookup_table",
        ),
        ("owner", "owner_id,portal_id,email,first_name\n1,2,a@x.org,Rep\n", "lookup_table"),
        ("users", "id,primary_team_id,role_id,email,first_name\n1,2,3,a@x.org,Rep\n", "lookup_table"),
        ("engagement", "id,portal_id,type\n1,2,CALL\n", "table_not_used: engagement"),
        ("all-deals", "Record ID,Deal Name,Contact owner,Email\n1,Big,Rep,a@x.org\n", "no_person"),
        ("ticket", "id,property_subject,property_content,property_email\n1,Help,Please,a@x.org\n", "no_person"),
        ("engagement_call", "engagement_id,property_hs_timestamp,type\n1,x,CALL\n", "no_person"),
    ],
)
def test_other_tables_are_recognised_and_counted(name: str, data: str, reason: str) -> None:
    assert detect(source(f"{name}.csv", data.encode()), data.encode())
    assert read({f"{name}.csv": data}) == [Skipped(f"crm/{name}.csv", reason, 1)]


def test_a_zip_is_read_like_its_tables() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hubspot-crm-exports-all-contacts-2024.csv", SCREEN_CONTACTS + ANNA)
    data = buffer.getvalue()
    assert detect(source("export.zip", data), data)
    found = one({"export.zip": data})
    assert found.position == "hubspot-crm-exports-all-contacts-2024.csv row 1 (line 2)"


def test_a_broken_row_is_rejected_at_its_line_and_the_rest_is_read() -> None:
    items = read({"c.csv": SCREEN_CONTACTS + ANNA + "102,short\n" + ANNA.replace("101", "103", 1)})
    assert [item.position for item in items if isinstance(item, Rejected)] == ["row 2 (line 4)"]
    assert [item.native_id for item in items if isinstance(item, Record)] == ["contact/101", "contact/103"]


@pytest.mark.parametrize(
    "header",
    [
        "Id,IsDeleted,CreatedById,SystemModstamp,Email",
        "Record Id,First Name,Email",
        "id,_fivetran_active,_fivetran_synced,email,name",
        "contact_id,conversation_id,_fivetran_synced",
        "Name,Email",
        "",
    ],
)
def test_tables_of_others_are_not_taken(header: str) -> None:
    assert not detect(source("Contact.csv", header.encode()), header.encode())


@given(st.lists(st.sampled_from(
    ["Id", "id", "OwnerId", "CreatedById", "IsDeleted", "Record ID", "Email", "First Name", "property_email",
     "engagement_id", "hs_object_id", "_fivetran_synced", "SystemModstamp"]
), max_size=8))  # fmt: skip
@example(["Id", "OwnerId", "CreatedById", "engagement_id"])
def test_a_table_is_never_taken_for_both_crms(columns: list[str]) -> None:
    data = ",".join(columns).encode() + b"\n"
    file = source("Contact.csv", data)
    assert not (detect(file, data) and salesforce.detect(file, data))


cells = st.sampled_from(
    ["", "101", "7", "TRUE", "a@x.org", '"', "\n", "<p>x</p>", "5:1;6", "2024-01-01", "\0", "é", "x,y"]
)
headers = st.sampled_from(
    [
        "id,_fivetran_deleted,property_email,property_firstname,property_hs_calculated_merged_vids",
        "Record ID,Note body,Associated Contact IDs,Activity date",
        "contact_id,engagement_id,type",
        "canonical_vid,vid_to_merge",
        "Record ID,Email,First Name,Create Date",
    ]
)


@settings(deadline=None)
@given(headers, st.lists(st.lists(cells, max_size=6), max_size=5), st.binary(max_size=60))
def test_any_content_gives_items_or_unreadable_file(header: str, rows: list[list[str]], noise: bytes) -> None:
    body = "\n".join(",".join(row) for row in rows).encode() + noise
    for data in (header.encode() + b"\n" + body, body):
        detect(source("x.csv", data), data)
        try:
            read({"x.csv": data}, replace(OPTIONS, phone_region="US"))
        except UnreadableFile:
            continue


# -- real files --------------------------------------------------------------------------------------------------------


def test_the_real_tables_give_their_known_counts() -> None:
    if not REAL:
        pytest.skip("INGEST_REAL_FIXTURES is not set")
    seeds = Path(REAL) / "hubspot" / "fivetran__dbt_hubspot_source" / "integration_tests" / "seeds"
    files: dict[str, str | bytes] = {path.name: path.read_bytes() for path in sorted(seeds.iterdir())}
    for name, data in files.items():
        assert isinstance(data, bytes)
        assert detect(source(name, data), data[:HEAD_BYTES])
        assert not salesforce.detect(source(name, data), data[:HEAD_BYTES])
    items = read(files)
    counted: Counter[str] = Counter()
    for item in items:
        assert not isinstance(item, Rejected)
        name = item.file.removeprefix("crm/").removesuffix("_data.csv")
        counted[f"{name} {item.kind if isinstance(item, Record) else item.reason}"] += item.units
    assert counted["contact contact"] == 22
    assert counted["company lookup_table"] == 24
    assert counted["owner lookup_table"] == 100
    assert counted["contact_merge_audit lookup_table"] == 4
    assert sum(count for name, count in counted.items() if name.startswith("ticket ")) == 25
    # They are about companies, deals and tickets, or their contacts are not in the association table.
    assert counted["engagement_meeting no_person"] == 100
    assert counted["engagement_note no_person"] == 1
    assert counted["engagement_call no_text"] == 1


def test_no_other_crms_real_tables_are_taken() -> None:
    if not REAL:
        pytest.skip("INGEST_REAL_FIXTURES is not set")
    others = [*Path(REAL).glob("salesforce/**/*.csv"), *Path(REAL).glob("intercom/**/*.csv")]
    assert others
    for path in others:
        data = path.read_bytes()
        assert not detect(source(path.name, data), data[:HEAD_BYTES])
