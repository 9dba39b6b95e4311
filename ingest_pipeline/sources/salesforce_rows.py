"""One row of a Salesforce table to one record: whose it is, what it says, whose words they are, when."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ingest_pipeline.documents import Identifier, Item, Json, Person, Record, Role, Skipped
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.columns import SALESFORCE_CONTACT, SALESFORCE_LEAD, TRUE, Layout
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
from ingest_pipeline.sources.replies import split_reply
from ingest_pipeline.sources.salesforce_ids import PEOPLE, PREFIXES, id18
from ingest_pipeline.sources.tabular import Row, Table, index_of

JOINED = "\x1f"
"""Between an account's name and its industry in the lookup."""

JOINED_COLUMNS = ("Account.Name", "Account.Industry")
EMAIL_COLUMNS = ("email", "npe01__homeemail__c", "npe01__workemail__c", "npe01__alternateemail__c")
"""The person's own addresses; the ``npe01`` ones are those of the Nonprofit Success Pack."""

LAYOUTS: dict[str, Layout] = {"contact": SALESFORCE_CONTACT, "lead": SALESFORCE_LEAD}

CUSTOMER_ORIGINS = frozenset({"web", "email", "e-mail", "chat", "community", "portal", "messaging", "whatsapp", "sms"})
"""Case origins (lower case) in which the customer typed the text; in all others an agent did."""

_OWN_COLUMN = re.compile(r".+__(?:c|pc)\Z", re.IGNORECASE)
_LOGGED_MAIL = re.compile(
    r"\s*(?:(?:Additional )?To|From):[^\n]*\n(?:[^\n]*\n){0,12}?\s*(?:Subject|Body):", re.IGNORECASE
)
_MAIL_SUBJECT = re.compile(r"\s*(?:e-?mail|(?:<<|>>)\s*e-?mail)\s*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Sheet:
    """An open table and what its rows are read with. ``object`` is lower case; ``org`` is "" when unknown."""

    file: TableFile
    table: Table
    object: str
    org: str
    options: ReadOptions
    accounts: Lookup
    now: datetime


@dataclass(slots=True)
class _Dates:
    occurred_at: datetime | None = None
    modified_at: datetime | None = None
    source: str = ""


class _Refused(Exception):
    """This row cannot be read; becomes a Rejected with the message."""


class _Left(Exception):
    """This row holds nothing of a profile; becomes a Skipped with the message."""


class RowReader:
    """Reads the rows of one sheet; the column plan is made once."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._namespace = f"salesforce:{sheet.org}"
        columns = sheet.table.columns
        self._at = index_of(columns)
        layout = LAYOUTS.get(sheet.object)
        own = {column.lower(): readable_label(column) for column in columns if _OWN_COLUMN.match(column)}
        self._lines = plan_lines((*columns, *JOINED_COLUMNS), layout, own) if layout else []
        self._texts = layout.texts if layout else ()
        readers: dict[str, Callable[[Sequence[str], str, dict[str, Json]], Record]] = {
            "contact": self._person,
            "lead": self._person,
            "task": self._activity,
            "event": self._activity,
            "case": self._case,
            "note": self._note,
        }
        self._read = readers[sheet.object]
        self._position = ""  # of the row being read

    def read(self, row: Row) -> Item:
        """The row's Record, or why there is none."""
        file = self._sheet.file
        try:
            native = self._own_id(row.cells)
            if self._cell(row.cells, "isdeleted").lower() in TRUE and not self._cell(row.cells, "masterrecordid"):
                return Skipped(file.file, "deleted")
            metadata: dict[str, Json] = {"object": self._sheet.object.capitalize(), "id": native}
            metadata.update(file.lineage(row, self._sheet.table))
            self._position = file.position(row)
            return self._read(row.cells, native, metadata)
        except _Refused as refusal:
            return file.rejected(row, str(refusal))
        except _Left as reason:
            return Skipped(file.file, str(reason))

    # -- one method per object -------------------------------------------------------------------------------------

    def _person(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        emails = email_addresses(*(self._cell(cells, column) for column in EMAIL_COLUMNS))
        if any(self._sheet.options.is_internal(email.value) for email in emails):
            raise _Left("internal_person")
        master = self._link(cells, "masterrecordid", metadata)
        converted = self._link(cells, "convertedcontactid", metadata)
        same_as = tuple(self._identifier(other) for other in (master, converted) if other)
        name = clean_name(self._cell(cells, "name")) or clean_name(
            *(self._cell(cells, c) for c in ("firstname", "lastname"))
        )
        dates = self._dates(cells, metadata, "lastmodifieddate", "systemmodstamp", "createddate")
        if master and self._cell(cells, "isdeleted").lower() in TRUE:
            # The tombstone of a merge: only says that the old id is now another's.
            gone = Person(self._identifier(native), self._namespace, None, (), same_as)
            return self._record(native, (gone,), TextBuilder(), dates, metadata | {"merged": True})
        phone = certain_phone(self._cell(cells, "mobilephone"), self._sheet.options.phone_region)
        person = Person(
            self._identifier(native), self._namespace, name, (*emails, *((phone,) if phone else ())), same_as
        )
        return self._record(native, (person,), self._person_text(cells, name, metadata), dates, metadata)

    def _activity(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        person = self._referred(cells, "whoid")
        self._link(cells, "accountid", metadata)
        subject, description = self._cell(cells, "subject"), self._cell(cells, "description")
        subtype = self._cell(cells, "tasksubtype").lower()
        logged = bool(description) and (subtype in {"email", "listemail"} or bool(_LOGGED_MAIL.match(description)))
        text = TextBuilder()
        text.text(subject, Role.STAFF if logged and _MAIL_SUBJECT.match(subject) else Role.NOTE, "Subject")
        text.text(description, Role.STAFF if logged else Role.NOTE, "Description")
        if logged:
            metadata["logged_mail"] = True
        return self._record(native, (person,), text, self._activity_dates(cells, metadata), metadata)

    def _case(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        supplied = email_addresses(self._cell(cells, "suppliedemail"))
        internal = any(self._sheet.options.is_internal(email.value) for email in supplied)
        if self._id(cells, "contactid"):
            person = self._referred(cells, "contactid")
        elif supplied and not internal:
            name = clean_name(self._cell(cells, "suppliedname"))
            person = Person(supplied[0], "email", name, supplied)
        else:
            raise _Left("internal_person" if internal else "no_person")
        self._link(cells, "accountid", metadata)
        origin = self._cell(cells, "origin").lower()
        theirs = origin in CUSTOMER_ORIGINS and not internal
        if origin:
            metadata["case_origin"] = origin
        text = TextBuilder()
        text.text(self._cell(cells, "subject"), Role.SUBJECT if theirs else Role.NOTE, "Subject")
        description = self._cell(cells, "description")
        if theirs:
            text.text(self._customer_words(description, metadata), Role.SUBJECT, "Description")
        else:
            text.text(description, Role.NOTE, "Description")
        return self._record(native, (person,), text, self._dates(cells, metadata, "createddate"), metadata)

    def _note(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        person = self._referred(cells, "parentid")
        text = TextBuilder()
        text.text(self._cell(cells, "title"), Role.NOTE, "Title")
        text.text(self._cell(cells, "body"), Role.NOTE, "Body")
        dates = self._dates(cells, metadata, "createddate", "lastmodifieddate")
        return self._record(native, (person,), text, dates, metadata)

    # -- parts -----------------------------------------------------------------------------------------------------

    def _person_text(self, cells: Sequence[str], name: str | None, metadata: dict[str, Json]) -> TextBuilder:
        text = TextBuilder()
        if name:
            text.field("Name", name, "Name")
        account = self._link(cells, "accountid", metadata)
        joined = [*cells, *self._account(account)]
        if self._sheet.object == "lead":
            self._name_company(joined)
        for label, value, column in filled(self._lines, joined):
            text.field(label, value, column)
        for column in self._texts:
            text.text(self._cell(cells, column), Role.NOTE, self._written(column))
        return text

    def _name_company(self, joined: list[str]) -> None:
        """Some orgs keep an account's id in a lead's Company: name it."""
        place = self._at.get("company")
        if place is None or len(joined[place].strip()) not in (15, 18):
            return
        try:
            account = id18(joined[place])
        except ValueError:
            return
        if account and account.startswith("001"):
            joined[place] = self._account(account)[0]

    def _account(self, account: str | None) -> list[str]:
        found = self._sheet.accounts.all(account) if account else []
        return found[0].split(JOINED) if found else ["", ""]

    @staticmethod
    def _customer_words(description: str, metadata: dict[str, Json]) -> str:
        """What the customer typed: a case made from an answer holds the mail it answers, which is somebody else's."""
        reply = split_reply(description.replace("\r\n", "\n").replace("\r", "\n"))
        if not (reply.quoted or reply.forwarded):
            return description
        metadata["quoted_left_out"] = True
        return reply.text

    def _record(
        self, native: str, subjects: tuple[Person, ...], text: TextBuilder, dates: _Dates, metadata: dict[str, Json]
    ) -> Record:
        content, segments = text.build()
        if not content and not any(person.claims for person in subjects):
            raise _Left("no_text")
        if dates.source:
            metadata["date_source"] = dates.source
        return Record(
            origin="salesforce",
            kind=self._sheet.object,
            native_id=self._identifier(native).value,
            subjects=subjects,
            text=content,
            file=self._sheet.file.file,
            position=self._position,
            segments=segments,
            occurred_at=dates.occurred_at,
            modified_at=dates.modified_at,
            metadata=metadata,
        )

    # -- cells -----------------------------------------------------------------------------------------------------

    def _cell(self, cells: Sequence[str], column: str) -> str:
        place = self._at.get(column)
        return cells[place].strip() if place is not None else ""

    def _written(self, column: str) -> str:
        """The column's name as the header writes it."""
        place = self._at.get(column)
        return column if place is None else self._sheet.table.columns[place]

    def _own_id(self, cells: Sequence[str]) -> str:
        native = self._id(cells, "id")
        if native is None:
            raise _Refused("Id is empty")
        if PREFIXES.get(native[:3]) != self._sheet.object:
            raise _Refused(f"Id is not that of a {self._sheet.object}")
        return native

    def _id(self, cells: Sequence[str], column: str) -> str | None:
        try:
            return id18(self._cell(cells, column))
        except ValueError as error:
            raise _Refused(f"{self._written(column)} {error}") from None

    def _referred(self, cells: Sequence[str], column: str) -> Person:
        """The contact or lead a row points at. A wrong id there is refused: it would credit a stranger."""
        native = self._id(cells, column)
        if native is None or native[:3] not in PEOPLE:
            raise _Left("no_person")
        return Person(self._identifier(native), self._namespace, claims=False)

    def _link(self, cells: Sequence[str], column: str, metadata: dict[str, Json]) -> str | None:
        """An id that only adds to the row: a wrong one is a warning. An account's goes into the metadata."""
        try:
            found = id18(self._cell(cells, column))
        except ValueError:
            metadata.setdefault("warnings", []).append(f"{column}: not an id")
            return None
        if found and column == "accountid":
            metadata["account_id"] = found
        return found

    def _identifier(self, native: str) -> Identifier:
        return Identifier("salesforce", f"{self._sheet.org}/{native}" if self._sheet.org else native)

    # -- dates -----------------------------------------------------------------------------------------------------

    def _moment(self, cells: Sequence[str], column: str, metadata: dict[str, Json]) -> datetime | None:
        moment, warning = read_moment(self._cell(cells, column), self._sheet.now)
        if warning:
            metadata.setdefault("warnings", []).append(f"{column}: {warning}")
        return moment

    def _dates(self, cells: Sequence[str], metadata: dict[str, Json], *columns: str) -> _Dates:
        """``occurred_at`` from the first of the columns that has a date."""
        dates = _Dates(modified_at=self._modified(cells, metadata))
        for column in columns:
            if moment := self._moment(cells, column, metadata):
                dates.occurred_at, dates.source = moment, self._written(column)
                break
        return dates

    def _activity_dates(self, cells: Sequence[str], metadata: dict[str, Json]) -> _Dates:
        dates = self._dates(cells, metadata, "createddate")
        latest = dates.modified_at or self._sheet.now
        for column in ("startdatetime", "activitydatetime", "completeddatetime", "activitydate"):
            cell = self._cell(cells, column)
            moment, warning = read_moment(cell, self._sheet.now)
            if warning == "unreadable":
                metadata.setdefault("warnings", []).append(f"{column}: {warning}")
            # Noon stands for the whole day, so a day counts as past when it had begun.
            if moment and (moment <= latest or (len(cell) == 10 and moment.date() <= latest.date())):
                return _Dates(moment, dates.modified_at, self._written(column))
        return dates

    def _modified(self, cells: Sequence[str], metadata: dict[str, Json]) -> datetime | None:
        modified, _ = read_moment(self._cell(cells, "systemmodstamp"), self._sheet.now)
        return modified or read_moment(self._cell(cells, "lastmodifieddate"), self._sheet.now)[0]
