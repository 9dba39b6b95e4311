"""What all rows of HubSpot tables share, and the rows of contacts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from ingest_pipeline.documents import Identifier, Item, Json, Person, Record, Role, Skipped
from ingest_pipeline.sources import hubspot_columns
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.columns import TRUE
from ingest_pipeline.sources.crm_mail import plain_text
from ingest_pipeline.sources.crm_records import (
    NOBODY,
    Moments,
    Staff,
    clean_name,
    email_addresses,
    is_nobody,
    readable_label,
)
from ingest_pipeline.sources.crm_tables import Lookup, TableFile
from ingest_pipeline.sources.crm_text import Fields, TextBuilder
from ingest_pipeline.sources.phones import certain_phone
from ingest_pipeline.sources.tabular import Places, Row, Table, index_of

EMAIL_COLUMNS = ("email", "hs_additional_emails", "work_email")
NAMING_COLUMNS = ("firstname", "lastname", *EMAIL_COLUMNS, "phone", "mobilephone", "company")
MERGE_COLUMNS = ("hs_calculated_merged_vids", "hs_merged_object_ids")
JOINED_COLUMN = "associated_company_name"

MAX_ID_DIGITS = 20
SPOILED = "?"
"""Stands in joins for an id that is none: somebody is linked, nobody knows who."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """An open table and what its rows are read with. ``portal`` is "" when unknown.

    Spaces of ``joins``: ``engagement``, ``ticket``, ``deal`` (id -> contact ids), ``merged`` (contact -> ids that were
    merged into it), ``company`` (id -> name), ``contact_company`` (contact -> companies), ``address`` (address ->
    contacts).
    """

    file: TableFile
    table: Table
    kind: str
    portal: str
    options: ReadOptions
    staff: Staff
    joins: Lookup
    now: datetime


class Left(Exception):
    """This row holds nothing of a profile; becomes a Skipped with the message."""


class Refused(Exception):
    """This row cannot be used; becomes a Rejected with the message."""


def canonical(column: str) -> str:
    """The property's name: ``property_firstname`` and ``First Name`` are both ``firstname``."""
    name = column.strip().lower().removeprefix("property_")
    return hubspot_columns.SCREEN_NAMES.get(name) or re.sub(r"\W+", "_", name).strip("_")


def contact_id(cell: str) -> str | None:
    """A record id, or None when the cell holds none. Ids are numbers; ``1.5E+10`` is one that a spreadsheet spoiled."""
    stripped = cell.strip()
    return stripped if stripped.isdecimal() and len(stripped) <= MAX_ID_DIGITS else None


class RowReader:
    """Reads the rows of one sheet; the column plan is made once. Subclasses say who and what, in ``_content``."""

    moments: tuple[str, ...] = ()
    """Columns that say when a row's content held, best first."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._namespace = f"hubspot:{sheet.portal}"
        self._names = [canonical(column) for column in sheet.table.columns]
        excluded = sheet.options.exclude_columns
        self._at = Places(
            (name, place)
            for name, place in index_of(self._names).items()
            if name == "id" or not ({name, label_of(sheet.table.columns[place]).lower()} & excluded)
        )
        self._deleted = [self._at[name] for name in ("fivetran_deleted", "is_deleted") if name in self._at]
        warehouse = any(column.lower().startswith(("property_", "_fivetran_")) for column in sheet.table.columns)
        self._zone_name = "UTC" if warehouse else sheet.options.timezone
        zone = UTC if self._zone_name == "UTC" else ZoneInfo(sheet.options.timezone)
        self._moments = Moments(sheet.now, zone, sheet.options.date_order)

    def read(self, row: Row) -> Item:
        """The row's Record, or why there is none."""
        file, cells = self._sheet.file, [*map(str.strip, row.cells), "", ""]  # JOINED_COLUMN; columns there are not
        native = contact_id(cells[self._at["id"]])
        if native is None:
            return file.rejected(row, "the record id is empty or not a number")
        if self._deleted and any(cells[place].lower() in TRUE for place in self._deleted):
            return Skipped(file.file, "deleted")
        metadata: dict[str, Json] = {"object": self._sheet.kind, "id": native}
        if self._sheet.portal:
            metadata["portal"] = self._sheet.portal
        metadata.update(file.lineage(row, self._sheet.table))
        try:
            subjects, text = self._content(cells, native, metadata)
        except Left as reason:
            return Skipped(file.file, str(reason))
        except Refused as refusal:
            return file.rejected(row, str(refusal))
        return self._record(row, cells, native, subjects, text, metadata)

    def _content(
        self, cells: list[str], native: str, metadata: dict[str, Json]
    ) -> tuple[tuple[Person, ...], TextBuilder]:
        """Whom the row is about and what it says. Raises Left and Refused."""
        raise NotImplementedError

    def _record(
        self,
        row: Row,
        cells: Sequence[str],
        native: str,
        subjects: tuple[Person, ...],
        text: TextBuilder,
        metadata: dict[str, Json],
    ) -> Record:
        content, segments = text.finish(metadata)
        occurred_at = None
        for column in self.moments:
            if occurred_at := self._moment(cells, column, metadata):
                metadata |= {"date_source": column, "zone": self._zone_name}
                break
        modified = self._cell(cells, "lastmodifieddate")
        return Record(
            origin="hubspot",
            kind=self._sheet.kind,
            native_id=self._native(f"{self._sheet.kind}/{native}"),
            subjects=subjects,
            text=content,
            file=self._sheet.file.file,
            position=self._sheet.file.position(row),
            segments=segments,
            occurred_at=occurred_at,
            modified_at=self._moments[modified][0],
            metadata=metadata,
        )

    def _moment(self, cells: Sequence[str], column: str, metadata: dict[str, Json]) -> datetime | None:
        moment, warning = self._moments[self._cell(cells, column)]
        if warning:
            metadata.setdefault("warnings", []).append(f"{column}: {warning}")
        return moment

    def _cell(self, cells: Sequence[str], column: str) -> str:
        return cells[self._at[column]]

    def _native(self, native: str) -> str:
        return f"{self._sheet.portal}/{native}" if self._sheet.portal else native

    def _identifier(self, native: str) -> Identifier:
        return Identifier("hubspot", self._native(native))


class ContactReader(RowReader):
    """Rows of contacts."""

    moments = ("lastmodifieddate", "createdate", "created_at")

    def __init__(self, sheet: Sheet) -> None:
        super().__init__(sheet)
        columns = sheet.table.columns
        own = {
            name: label_of(column)
            for name, column in zip(self._names, columns, strict=True)
            if not hubspot_columns.SYSTEM.match(name)
        }
        excluded = sheet.options.exclude_columns
        names = [name if name in self._at else "" for name in self._names]
        self._fields = Fields((*names, JOINED_COLUMN), hubspot_columns.CONTACT, own, excluded, columns)
        self._show_name = "name" not in excluded
        self._emails = [self._at[column] for column in EMAIL_COLUMNS if column in self._at]
        self._texts = [(column, self._at[column]) for column in hubspot_columns.CONTACT.texts if column in self._at]
        self._merges = [self._at[column] for column in MERGE_COLUMNS if column in self._at]
        self._naming = [] if excluded else [column for column in NAMING_COLUMNS if column in self._at]

    def _content(
        self, cells: list[str], native: str, metadata: dict[str, Json]
    ) -> tuple[tuple[Person, ...], TextBuilder]:
        at = self._at
        emails = email_addresses(*[cells[place] for place in self._emails])
        for email in emails:
            if self._sheet.staff.includes(email.value):
                raise Left("internal_person")
        name = clean_name(cells[at["firstname"]], cells[at["lastname"]])
        phone = certain_phone(cells[at["mobilephone"]], self._sheet.options.phone_region)
        text = TextBuilder()
        if name and self._show_name:
            text.field("Name", name, "name")
        cells[-2] = self._company(cells, native)
        self._fields.add(text, cells)
        for column, place in self._texts:
            if cells[place]:
                text.text(plain_text(cells[place]), Role.NOTE, column)
        same_as = self._merged(cells, native)
        identifiers = (*emails, phone) if phone else emails
        person = Person(self._identifier(native), self._namespace, name, identifiers, same_as)
        if name is None and is_nobody(person, text.build()[0], [self._cell(cells, column) for column in self._naming]):
            raise Refused(NOBODY)
        return (person,), text

    def _merged(self, cells: Sequence[str], native: str) -> tuple[Identifier, ...]:
        """The ids that are this contact's too."""
        listed = [entry for place in self._merges for entry in entries(cells[place])]
        joined = self._sheet.joins.all("merged", native)
        if not listed and not joined:
            return ()
        merged = {*joined, *(entry.partition(":")[0] for entry in listed)}
        return tuple(self._identifier(old) for old in sorted(merged) if contact_id(old) and old != native)

    def _company(self, cells: Sequence[str], native: str) -> str:
        """The name of the primary company, or of the only one, for a contact whose own column is empty."""
        companies = [self._cell(cells, "associatedcompanyid")]
        if not companies[0]:
            companies = entries(self._cell(cells, "associated_company_ids"))
            companies += [c for c in self._sheet.joins.all("contact_company", native) if c not in companies]
        return self._sheet.joins.first("company", companies[0]) if len(companies) == 1 else ""


def entries(cell: str) -> list[str]:
    """The parts of a cell that lists several things, each once."""
    return list(dict.fromkeys(entry.strip() for entry in re.split(r"[;,]", cell) if entry.strip())) if cell else []


def label_of(column: str) -> str:
    """A screen label as it is, a property's name made readable."""
    name = column.strip()
    if " " in name:
        return name.replace(":", "")
    return readable_label(re.sub(r"\Aproperty_", "", name, flags=re.IGNORECASE))
