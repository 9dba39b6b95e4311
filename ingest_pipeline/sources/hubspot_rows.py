"""One row of a HubSpot contact or note table to one record: whose it is, what it says, when."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from ingest_pipeline.documents import Identifier, Item, Json, Person, Record, Role, Skipped
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.columns import HUBSPOT_CONTACT, HUBSPOT_SYSTEM, HUBSPOT_UI_NAMES, TRUE
from ingest_pipeline.sources.crm_records import (
    TextBuilder,
    certain_phone,
    clean_name,
    email_addresses,
    filled,
    plan_lines,
    read_moment,
    readable_label,
)
from ingest_pipeline.sources.crm_tables import Lookup, TableFile
from ingest_pipeline.sources.html import html_to_text
from ingest_pipeline.sources.tabular import Row, Table, index_of

EMAIL_COLUMNS = ("email", "hs_additional_emails", "work_email")
MERGE_COLUMNS = ("hs_calculated_merged_vids", "hs_merged_object_ids")
MOMENTS = {
    "contact": ("lastmodifieddate", "createdate", "created_at"),
    "note": ("hs_timestamp", "createdate"),
}
"""Columns that say when a row's content held, best first."""

_NUMBER = re.compile(r"\d{1,20}\Z")
_MARKUP = re.compile(r"<[a-z/!]|&(?:#\d+|#x[0-9a-f]+|[a-z]+);", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Joins:
    """Note id -> contact ids, and contact id -> ids that were merged into it; on disk."""

    contacts_of_note: Lookup
    merged_into: Lookup

    def close_for_writing(self) -> None:
        self.contacts_of_note.close_for_writing()
        self.merged_into.close_for_writing()


@dataclass(frozen=True, slots=True)
class Sheet:
    """An open table and what its rows are read with. ``kind`` is contact or note; ``portal`` is "" when unknown."""

    file: TableFile
    table: Table
    kind: str
    portal: str
    options: ReadOptions
    joins: Joins
    now: datetime


def canonical(column: str) -> str:
    """The property's name: ``property_firstname`` and ``First Name`` are both ``firstname``."""
    name = column.strip().lower().removeprefix("property_")
    return HUBSPOT_UI_NAMES.get(name) or re.sub(r"\W+", "_", name).strip("_")


def contact_id(cell: str) -> str | None:
    """A record id, or None when the cell holds none. Ids are numbers; ``1.5E+10`` is one that a spreadsheet spoiled."""
    return cell.strip() if _NUMBER.match(cell.strip()) else None


class RowReader:
    """Reads the rows of one sheet; the column plan is made once."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._namespace = f"hubspot:{sheet.portal}"
        names = [canonical(column) for column in sheet.table.columns]
        self._at = index_of(names)
        own = {
            name: _label(column)
            for name, column in zip(names, sheet.table.columns, strict=True)
            if not HUBSPOT_SYSTEM.match(name)
        }
        lines = plan_lines(names, HUBSPOT_CONTACT, own)
        self._lines = [replace(line, column=sheet.table.columns[line.place]) for line in lines]
        warehouse = any(column.lower().startswith(("property_", "_fivetran_")) for column in sheet.table.columns)
        self._zone_name = "UTC" if warehouse else sheet.options.timezone
        self._zone: tzinfo = UTC if warehouse else ZoneInfo(sheet.options.timezone)

    def read(self, row: Row) -> Item:
        """The row's Record, or why there is none."""
        file, cells = self._sheet.file, row.cells
        native = contact_id(self._cell(cells, "id"))
        if native is None:
            return file.rejected(row, "the record id is empty or not a number")
        if any(self._cell(cells, column).lower() in TRUE for column in ("fivetran_deleted", "is_deleted")):
            return Skipped(file.file, "deleted")
        metadata: dict[str, Json] = {"object": self._sheet.kind, "id": native}
        if self._sheet.portal:
            metadata["portal"] = self._sheet.portal
        metadata.update(file.lineage(row, self._sheet.table))
        is_contact = self._sheet.kind == "contact"
        subjects, text = self._contact(cells, native) if is_contact else self._note(cells, native, metadata)
        if isinstance(subjects, str):
            return Skipped(file.file, subjects)
        return self._record(row, native, subjects, text, metadata)

    def _contact(self, cells: Sequence[str], native: str) -> tuple[tuple[Person, ...] | str, TextBuilder]:
        text = TextBuilder()
        emails = email_addresses(*(self._cell(cells, column) for column in EMAIL_COLUMNS))
        if any(self._sheet.options.is_internal(email.value) for email in emails):
            return "internal_person", text
        name = clean_name(self._cell(cells, "firstname"), self._cell(cells, "lastname"))
        phone = certain_phone(self._cell(cells, "mobilephone"), self._sheet.options.phone_region)
        merged = {entry.partition(":")[0] for c in MERGE_COLUMNS for entry in _entries(self._cell(cells, c))}
        merged.update(self._sheet.joins.merged_into.all(native))
        same_as = tuple(self._identifier(old) for old in sorted(merged) if contact_id(old) and old != native)
        identifiers = (*emails, *((phone,) if phone else ()))
        if name:
            text.field("Name", name, "name")
        for label, value, column in filled(self._lines, cells):
            text.field(label, value, column)
        for column in HUBSPOT_CONTACT.texts:
            text.text(_plain(self._cell(cells, column)), Role.NOTE, column)
        return (Person(self._identifier(native), self._namespace, name, identifiers, same_as),), text

    def _note(
        self, cells: Sequence[str], native: str, metadata: dict[str, Json]
    ) -> tuple[tuple[Person, ...] | str, TextBuilder]:
        text = TextBuilder()
        listed = _entries(self._cell(cells, "associated_contact_ids"))
        contacts = {found for entry in listed if (found := contact_id(entry))}
        if len(contacts) < len(set(listed)):
            metadata.setdefault("warnings", []).append("associated_contact_ids: not a number")
        contacts.update(self._sheet.joins.contacts_of_note.all(native))
        if not contacts:
            return "no_person", text
        text.text(_plain(self._cell(cells, "hs_note_body")), Role.NOTE, "hs_note_body")
        if not text.build()[0]:
            return "no_text", text
        people = (Person(self._identifier(contact), self._namespace, claims=False) for contact in sorted(contacts))
        return tuple(people), text

    def _record(
        self,
        row: Row,
        native: str,
        subjects: tuple[Person, ...],
        text: TextBuilder,
        metadata: dict[str, Json],
    ) -> Record:
        content, segments = text.build()
        occurred_at = None
        for column in MOMENTS[self._sheet.kind]:
            if occurred_at := self._moment(row.cells, column, metadata):
                metadata |= {"date_source": column, "zone": self._zone_name}
                break
        unit = f"{self._sheet.kind}/{native}"
        return Record(
            origin="hubspot",
            kind=self._sheet.kind,
            native_id=f"{self._sheet.portal}/{unit}" if self._sheet.portal else unit,
            subjects=subjects,
            text=content,
            file=self._sheet.file.file,
            position=self._sheet.file.position(row),
            segments=segments,
            occurred_at=occurred_at,
            modified_at=read_moment(self._cell(row.cells, "lastmodifieddate"), self._sheet.now, self._zone)[0],
            metadata=metadata,
        )

    def _moment(self, cells: Sequence[str], column: str, metadata: dict[str, Json]) -> datetime | None:
        moment, warning = read_moment(self._cell(cells, column), self._sheet.now, self._zone)
        if warning:
            metadata.setdefault("warnings", []).append(f"{column}: {warning}")
        return moment

    def _cell(self, cells: Sequence[str], column: str) -> str:
        place = self._at.get(column)
        return cells[place].strip() if place is not None else ""

    def _identifier(self, native: str) -> Identifier:
        return Identifier("hubspot", f"{self._sheet.portal}/{native}" if self._sheet.portal else native)


def _entries(cell: str) -> list[str]:
    return [entry.strip() for entry in re.split(r"[;,]", cell) if entry.strip()]


def _plain(value: str) -> str:
    """Note bodies are HTML, imported ones plain text, whose line breaks an HTML parser would lose."""
    return html_to_text(value) if _MARKUP.search(value) else value


def _label(column: str) -> str:
    """A screen label as it is, a property's name made readable."""
    name = column.strip()
    if " " in name:
        return name.replace(":", "")
    return readable_label(re.sub(r"\Aproperty_", "", name, flags=re.IGNORECASE))
