"""Tables of any system are read as the mapping beside them says; a wrong mapping is told in one line."""

import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from ingest_pipeline.documents import Identifier, Record, Rejected, Role
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import HEAD_BYTES, ReadOptions
from ingest_pipeline.sources.mapped import READER, detect
from tests.builders import people
from tests.crm_exports import counts, formats, one, parts, read, records, source, zipped
from tests.syncing import sync

DOCS = Path(__file__).parents[1] / "docs" / "sources.md"
CUSTOMERS = "no,mail,first,last,town\n7,Anna@x.org,Anna,Lee,Porto\n"
MAPPING = "files:\n  - {file: customers.csv, id: no, email: mail, name: [first, last], fields: town}\n"


def documented() -> dict[str, str]:
    """The example in the documentation: its mapping and two tables."""
    section = DOCS.read_text(encoding="utf-8").partition("### Any other table")[2]
    mapping, customers, visits = re.findall(r"```(?:yaml|csv)\n(.*?)```", section, re.DOTALL)[:3]
    return {"mapping.yaml": mapping, "customers-2024.csv": customers, "visits.csv": visits}


def test_the_documented_example_is_read_as_it_says() -> None:
    customer, *visits = records(read(READER, documented()))
    (person,) = customer.subjects
    assert (person.key, person.namespace, person.name) == (
        Identifier("mapped", "acme-erp/4711"), "mapped:acme-erp", "Anna Lee",
    )  # fmt: skip
    assert person.identifiers == (Identifier("email", "anna@acme.example"), Identifier("phone", "+351912345678"))
    assert customer.text == "Name: Anna Lee\ntown: Porto\nIndustry: Shipping\n\nPrefers to be called."
    assert (customer.kind, customer.native_id) == ("customer", "acme-erp/customer/acme-erp/4711")
    assert customer.occurred_at == datetime(2024, 2, 1, 10, 30, tzinfo=UTC)
    assert [parts(visit) for visit in visits] == [
        [("Wants to see the new maps.", "note")], [("Has ordered the maps.", "note")],
    ]  # fmt: skip
    assert [visit.occurred_at for visit in visits] == [
        datetime(2024, 1, 23, 12, tzinfo=UTC), datetime(2024, 3, 5, 12, tzinfo=UTC),
    ]  # fmt: skip
    assert {visit.subjects[0].key for visit in visits} == {person.key}
    assert not any(visit.subjects[0].claims for visit in visits)


def test_a_folder_with_a_mapping_is_synced(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "inbox" / "crm" / "acme"
    folder.mkdir(parents=True)
    for name, text in documented().items():
        (folder / name).write_text(text, encoding="utf-8")
    sync(engine, tmp_path / "inbox")
    assert people(engine) == [(["email:anna@acme.example", "mapped:acme-erp/4711", "phone:+351912345678"], "Anna Lee")]


def test_a_mapping_put_beside_a_table_later_takes_it_over(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "inbox" / "crm" / "acme"
    folder.mkdir(parents=True)
    (folder / "customers.csv").write_text(CUSTOMERS, encoding="utf-8")
    (report,) = (report for report in sync(engine, tmp_path / "inbox").read if report.source == "crm")
    assert report.unrecognised == 1
    (folder / "mapping.yaml").write_text(MAPPING, encoding="utf-8")
    sync(engine, tmp_path / "inbox")
    assert people(engine) == [(["email:anna@x.org", "mapped:acme/7"], "Anna Lee")]


def mapped(entry: str, table: str, options: ReadOptions | None = None) -> Record:
    files = {"mapping.yaml": f"files:\n  - {{file: t.csv, {entry}}}\n", "t.csv": table}
    return one(read(READER, files, *([options] if options else [])))


def test_a_person_without_an_id_is_known_by_address() -> None:
    (person,) = mapped("email: mail, text: note", "mail,note\nAnna@x.org,Tea\n").subjects
    assert (person.key, person.namespace) == (Identifier("email", "anna@x.org"), "email")


def test_texts_may_be_the_persons_own_words() -> None:
    assert mapped("id: no, text: note, written_by: person", "no,note\n7,Tea\n").segments[0].role is Role.SUBJECT


def test_entries_without_an_id_are_told_apart_by_time_and_text_and_not_by_their_row() -> None:
    entry = "id: no, text: note, time: day"
    first = "7,Tea,2024-01-01\n"
    again = read(
        READER,
        {"mapping.yaml": f"files: [{{file: t.csv, {entry}}}]", "t.csv": f"no,note,day\n7,Milk,2024-01-02\n{first}"},
    )
    assert mapped(entry, f"no,note,day\n{first}").native_id == records(again)[1].native_id
    assert len({record.native_id for record in records(again)}) == 2


@pytest.mark.parametrize(
    ("cell", "order", "expected"),
    [
        ("23/01/2024", "", datetime(2024, 1, 23, 12, tzinfo=UTC)),
        ("03/04/2024 3:19 PM", "mdy", datetime(2024, 3, 4, 14, 19, tzinfo=UTC)),
        ("03/04/2024 15:19", "dmy", datetime(2024, 4, 3, 13, 19, tzinfo=UTC)),
        ("03/04/2024", "", None),
        ("03/04/24", "dmy", None),
    ],
)
def test_days_are_read_when_their_order_is_certain(cell: str, order: str, expected: datetime | None) -> None:
    options = ReadOptions(date_order=order, timezone="Europe/Berlin")
    found = mapped("id: no, text: note, time: day", f"no,note,day\n7,Tea,{cell}\n", options)
    assert found.occurred_at == expected
    assert ("warnings" in found.metadata) is (expected is None)


def test_columns_can_be_left_out() -> None:
    options = ReadOptions(exclude_columns=frozenset({"town", "name"}))
    assert one(read(READER, {"mapping.yaml": MAPPING, "customers.csv": CUSTOMERS}, options)).text == ""


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ("files: [", "not YAML at line 1"),
        ("- x", "files: a list of tables is needed"),
        ("file: x", "files: a list of tables is needed"),
        ("files: [{id: no}]", "files: each needs file, the name of a table"),
        ("files: [{file: t.csv, ids: no}]", "t.csv: ids: unknown key; known are file, kind, id"),
        ("files: [{file: t.csv, text: x}]", "t.csv: id: name the column with the person's id"),
        ("files: [{file: t.csv, id: [[x]]}]", "t.csv: id: must be a column or a list of columns"),
        ("files: [{file: t.csv, id: no, fields: [[x]]}]", "t.csv: fields: must be columns, or column: label"),
        ("files: [{file: t.csv, id: no, written_by: me}]", "t.csv: written_by: must be staff or person"),
        ("files: [{file: t.csv, id: no, kind: [x]}]", "t.csv: kind: must be a text"),
        ("system: []\nfiles: [{file: t.csv, id: no}]", "system: must be a name"),
        ("zone: x\nfiles: [{file: t.csv, id: no}]", "zone: unknown key; known are system, files"),
    ],
)
def test_a_wrong_mapping_is_told_in_one_line_that_names_the_key(mapping: str, problem: str) -> None:
    with pytest.raises(UnreadableFile) as error:
        read(READER, {"mapping.yaml": mapping, "t.csv": "no\n1\n"})
    assert str(error.value).startswith(f"crm/acme/mapping.yaml: {problem}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("key", "value"), [("id", "nr"), ("time", "day"), ("fields", "[town, day]"), ("text", "day")])
def test_a_missing_column_is_told_with_file_and_key_and_the_other_tables_are_read(key: str, value: str) -> None:
    entry = {"id": "no", key: value}
    described = ", ".join(f"{k}: {v}" for k, v in entry.items())
    mapping = f"{MAPPING}  - {{file: t.csv, {described}}}\n"
    items = read(READER, {"mapping.yaml": mapping, "customers.csv": CUSTOMERS, "t.csv": "no,town\n1,x\n"})
    (rejected,) = [item for item in items if isinstance(item, Rejected)]
    missing = "nr" if key == "id" else "day"
    assert rejected.reason == f"crm/acme/mapping.yaml: t.csv: {key}: no column {missing!r} there"
    assert len(records(items)) == 1


def test_tables_that_are_not_in_the_mapping_are_counted_and_missing_ones_told() -> None:
    items = read(READER, {"mapping.yaml": MAPPING, "other.csv": "a\n1\n2\n"})
    assert counts(items) == {"not_in_mapping: other": 2, "no such table beside the mapping": 1}


def test_a_mapping_goes_before_other_formats_and_reads_zips_and_tsv() -> None:
    contacts = "Record ID,First Name,Email,Create Date\n7,Anna,a@x.org,2024-01-01\n"
    assert formats("contacts.csv", contacts) == ["hubspot"]
    data = contacts.encode()
    assert detect(source("crm/acme/contacts.csv", data, mapped=True), data[:HEAD_BYTES])
    mapping = "files: [{file: '*.tsv', id: no, fields: town}]"
    items = read(READER, {"mapping.yaml": mapping, "a.zip": zipped({"x.tsv": "no\ttown\n7\tPorto\n"})})
    assert one(items).text == "town: Porto"
    assert not detect(source("crm/customers.csv", data), data)


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=120) | st.text("files: [{id}no,-\n ", max_size=60).map(str.encode), st.binary(max_size=60))
def test_any_mapping_and_table_give_items_or_unreadable_file(mapping: bytes, table: bytes) -> None:
    for described in (mapping, MAPPING.encode()):
        with suppress(UnreadableFile):
            read(READER, {"mapping.yaml": described, "customers.csv": b"no,mail,first,last,town\n" + table})
