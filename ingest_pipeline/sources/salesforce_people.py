"""Contacts, leads and person accounts: the people of a Salesforce org."""

import re
from collections.abc import Mapping, Sequence

from ingest_pipeline.documents import Json, Person, Record, Role
from ingest_pipeline.sources.columns import (
    SALESFORCE_CONTACT,
    SALESFORCE_LEAD,
    SALESFORCE_PERSON_ACCOUNT,
    TRUE,
    Layout,
)
from ingest_pipeline.sources.crm_records import NOBODY, clean_name, email_addresses, is_nobody, readable_label
from ingest_pipeline.sources.crm_text import Fields, TextBuilder
from ingest_pipeline.sources.phones import certain_phone
from ingest_pipeline.sources.salesforce_cells import JOINED, Left, Refused, RowReader, Sheet
from ingest_pipeline.sources.salesforce_ids import id18

JOINED_COLUMNS = ("Account.Name", "Account.Industry")
EMAIL_COLUMNS = (
    "email", "personemail", "npe01__homeemail__c", "npe01__workemail__c", "npe01__alternateemail__c",
)  # fmt: skip
"""The person's own addresses; the ``npe01`` ones are those of the Nonprofit Success Pack."""

NAMING_COLUMNS = (
    "name", "firstname", "lastname", *EMAIL_COLUMNS, "phone", "homephone", "mobilephone", "otherphone",
    "assistantphone", "personmobilephone", "personhomephone", "personotherphone",
)  # fmt: skip

LAYOUTS: Mapping[str, Layout] = {
    "contact": SALESFORCE_CONTACT,
    "lead": SALESFORCE_LEAD,
    "account": SALESFORCE_PERSON_ACCOUNT,
}
_OWN_COLUMN = re.compile(r".+__(?:c|pc)\Z", re.IGNORECASE)


class PersonReader(RowReader):
    """Rows of Contact and Lead, and those of Account that are people."""

    def __init__(self, sheet: Sheet) -> None:
        super().__init__(sheet)
        columns = sheet.table.columns
        layout = LAYOUTS[sheet.object]
        own = {column.lower(): readable_label(column) for column in columns if _OWN_COLUMN.match(column)}
        excluded = sheet.options.exclude_columns
        self._fields = Fields((*columns, "", *JOINED_COLUMNS), layout, own, excluded)
        self._texts = [(column, self._written(column)) for column in layout.texts if column in self._at]
        self._show_name = "name" not in excluded
        self._emails = [column for column in EMAIL_COLUMNS if column in self._at]
        self._naming = [] if excluded else [column for column in NAMING_COLUMNS if column in self._at]
        if sheet.object == "account":
            self._kind = "person_account"

    def _record_of(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        if self._sheet.object == "account" and not is_person_account(self._cell(cells, "ispersonaccount")):
            raise Left("lookup_table")
        emails = email_addresses(*(self._cell(cells, column) for column in self._emails))
        if any(self._sheet.staff.includes(email.value) for email in emails):
            raise Left("internal_person")
        key, others = self._ids(cells, native, metadata)
        same_as = tuple(self._identifier(other) for other in others)
        dates = self._dates(cells, metadata, "lastmodifieddate", "systemmodstamp", "createddate")
        if self._cell(cells, "isdeleted").lower() in TRUE:
            # The tombstone of a merge: only says that the old id is now another's.
            gone = Person(self._identifier(key), self._namespace, None, (), same_as)
            return self._record(native, (gone,), TextBuilder(), dates, metadata | {"merged": True})
        name = clean_name(self._cell(cells, "name")) or clean_name(
            *(self._cell(cells, c) for c in ("firstname", "middlename", "lastname", "suffix"))
        )
        mobile = self._cell(cells, "mobilephone") or self._cell(cells, "personmobilephone")
        phone = certain_phone(mobile, self._sheet.options.phone_region)
        identifiers = (*emails, phone) if phone else emails
        person = Person(self._identifier(key), self._namespace, name, identifiers, same_as)
        text = self._text(cells, name, metadata)
        if name is None and is_nobody(person, text.build()[0], [self._cell(cells, column) for column in self._naming]):
            raise Refused(NOBODY)
        return self._record(native, (person,), text, dates, metadata)

    def _ids(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> tuple[str, list[str]]:
        """The person's id, and others that are theirs: what was merged or converted, both ids of a person account."""
        key = native
        others = [self._link(cells, "masterrecordid", metadata), self._link(cells, "convertedcontactid", metadata)]
        if self._sheet.object == "account":
            key = self._link(cells, "personcontactid", metadata) or native
            others.append(native)
        elif is_person_account(self._cell(cells, "ispersonaccount")):
            others.append(self._link(cells, "accountid", metadata))
        elif self._sheet.object == "lead" and (account := self._link(cells, "convertedaccountid", metadata)):
            # A lead that became a person account has no contact of its own in the export.
            others.append(self._sheet.joins.first("person_account", account) or None)
        return key, [other for other in dict.fromkeys(others) if other and other != key]

    def _text(self, cells: Sequence[str], name: str | None, metadata: dict[str, Json]) -> TextBuilder:
        text = TextBuilder()
        if name and self._show_name:
            text.field("Name", name, "Name")
        account = self._link(cells, "accountid", metadata)
        joined = [*cells, *self._account(account)]
        if self._sheet.object == "lead":
            self._name_company(joined)
        self._fields.add(text, joined)
        for column, written in self._texts:
            text.text(self._cell(cells, column), Role.NOTE, written)
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
        """Name and industry of the account, unless it is the person's own."""
        if not account or self._sheet.joins.first("person_account", account):
            return ["", ""]
        found = self._sheet.joins.first("account", account)
        return found.split(JOINED) if found else ["", ""]


def is_person_account(cell: str) -> bool:
    return cell.strip().lower() in TRUE
