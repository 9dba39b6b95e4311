"""The cast's CRM records as the tables of a Salesforce weekly export and of a HubSpot export from the screen."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from ingest_pipeline.demo.answers import FileAnswer
from ingest_pipeline.demo.people import Entry, Person, staff
from ingest_pipeline.sources.salesforce_ids import id18

ORG = "00DHn0000008KqTMAU"
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ACTIVITIES = {"task": "Task", "lead_task": "Task", "event": "Event", "case": "Case", "note": "Note"}

COLUMNS: dict[str, tuple[str, ...]] = {
    "Organization": ("Id", "Name", "CreatedDate", "SystemModstamp"),
    "User": ("Id", "Username", "FirstName", "LastName", "Email", "IsActive", "CreatedDate", "SystemModstamp"),
    "Account": ("Id", "IsDeleted", "Name", "Industry", "OwnerId", "CreatedDate", "LastModifiedDate", "SystemModstamp"),
    "Contact": (
        "Id", "IsDeleted", "MasterRecordId", "AccountId", "LastName", "FirstName", "Name", "MailingCity",
        "MailingCountry", "MobilePhone", "Email", "Title", "Description", "OwnerId", "HasOptedOutOfEmail", "DoNotCall",
        "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp", "Language__c",
        "Preferred_Contact__c",
    ),
    "Lead": (
        "Id", "IsDeleted", "MasterRecordId", "LastName", "FirstName", "Name", "Title", "Company", "City", "Country",
        "Phone", "Email", "Status", "OwnerId", "IsConverted", "ConvertedDate", "ConvertedAccountId",
        "ConvertedContactId", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp",
    ),
    "Task": (
        "Id", "WhoId", "WhatId", "Subject", "ActivityDate", "Status", "Priority", "OwnerId", "Description",
        "IsDeleted", "AccountId", "IsClosed", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById",
        "SystemModstamp",
    ),
    "Event": (
        "Id", "WhoId", "WhatId", "Subject", "ActivityDateTime", "DurationInMinutes", "Description", "OwnerId",
        "IsDeleted", "CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById", "SystemModstamp",
    ),
    "Case": (
        "Id", "IsDeleted", "CaseNumber", "ContactId", "AccountId", "SuppliedName", "SuppliedEmail", "Status",
        "Origin", "Subject", "Priority", "Description", "IsClosed", "OwnerId", "CreatedDate", "CreatedById",
        "LastModifiedDate", "LastModifiedById", "SystemModstamp",
    ),
    "Note": (
        "Id", "IsDeleted", "ParentId", "Title", "IsPrivate", "Body", "OwnerId", "CreatedDate", "CreatedById",
        "LastModifiedDate", "LastModifiedById", "SystemModstamp",
    ),
    "contacts": (
        "Record ID", "First Name", "Last Name", "Email", "Additional email addresses", "Mobile Phone Number",
        "Job Title", "Company Name", "City", "Country/Region", "Lifecycle Stage", "Contact owner",
        "Merged contact IDs with timestamps of merge", "Create Date", "Last Modified Date",
    ),
    "notes": (
        "Record ID", "Activity date", "Note body", "Activity assigned to", "Associated Contact IDs", "Create date",
    ),
}  # fmt: skip
_PREFIX = {
    "User": "005", "Account": "001", "Contact": "003", "Lead": "00Q", "Task": "00T", "Event": "00U", "Case": "500",
    "Note": "002",
}  # fmt: skip
_SALESFORCE = ("Organization", "User", "Account", "Contact", "Lead", "Task", "Event", "Case", "Note")


def record_id(table: str, number: int) -> str:
    """The 18-character id of the ``number``-th row of a Salesforce table; different for numbers below 62**5."""
    serial, rest = "", number
    for _ in range(5):
        rest, digit = divmod(rest, 62)
        serial = _DIGITS[digit] + serial
    full = id18(f"{_PREFIX[table]}Hn00000{serial}")
    assert full is not None
    return full


def stamp(moment: datetime) -> str:
    """A moment as in the weekly export, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def csv_lines(rows: Iterable[Sequence[str]]) -> str:
    """Rows as CSV with every cell quoted."""
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def row_of(table: str, **cells: str) -> list[str]:
    """One row of a table; columns that are not given are empty."""
    return [cells.get(column.replace(" ", "_").replace("/", "_"), "") for column in COLUMNS[table]]


class CrmWriter:
    """Collects rows for all tables. ``flush`` hands out what has gathered and forgets it, so memory stays flat."""

    def __init__(self) -> None:
        self._rows: dict[str, list[list[str]]] = {table: [] for table in COLUMNS}
        self._numbers: dict[str, int] = dict.fromkeys(COLUMNS, 0)
        self._owners = {key: self._staff_row(key, name) for key, name in staff().items()}
        self.records: dict[str, int] = dict.fromkeys(COLUMNS, 0)
        self.ids: dict[str, str] = {}
        """Ids by ``contact:slug``, ``lead:slug``, ``hubspot:slug`` and ``account:company``."""
        self.raw(
            "Organization", row_of("Organization", Id=ORG, Name="Northwind Planning", CreatedDate="2018-03-01 09:00:00")
        )

    def person(self, person: Person) -> None:
        """The person's own records and all entries about them."""
        account = self._account(person) if {"salesforce", "converted_lead"} & set(person.homes) else ""
        contact = self._contact(person, account) if "salesforce" in person.homes else ""
        lead = self._lead(person, account, contact) if {"lead", "converted_lead"} & set(person.homes) else ""
        hubspot = self._hubspot(person) if "hubspot" in person.homes else ""
        for entry in person.entries:
            if entry.kind == "hubspot_note":
                self.hubspot_note(entry, person.merged_from if entry.merged else hubspot)
            else:
                self.activity(entry, lead if entry.kind == "lead_task" else contact)

    def raw(self, table: str, row: list[str]) -> None:
        """A row that is no record about a person, or a broken one."""
        self._rows[table].append(row)

    def new_id(self, table: str) -> str:
        self._numbers[table] += 1
        if table in ("contacts", "notes"):
            return str((5200 if table == "contacts" else 880000) + self._numbers[table])
        return record_id(table, 5_000_000 + self._numbers[table] * 97)

    def flush(self, table: str) -> str:
        text = csv_lines(self._rows[table])
        self._rows[table].clear()
        return text

    def activity(self, entry: Entry, who: str, **cells: str) -> None:
        """A task, event, case or note on the contact or lead ``who``."""
        table = _ACTIVITIES[entry.kind]
        self.records[table] += 1
        owner = self._owners[entry.by or "jonas"]
        at, text = stamp(entry.at), {"Description": entry.text}
        if table == "Task":
            text |= {
                "WhoId": who,
                "ActivityDate": at[:10],
                "Status": "Completed",
                "IsClosed": "1",
                "Priority": "Normal",
            }
        elif table == "Event":
            text |= {"WhoId": who, "ActivityDateTime": at, "DurationInMinutes": "60"}
        elif table == "Case":
            number = f"{self._numbers['Case'] + 1001:08d}"
            text |= {"ContactId": who, "CaseNumber": number, "Status": "Closed", "IsClosed": "1", "Origin": "Web"}
        else:
            text = {"ParentId": who, "Title": entry.subject, "Body": entry.text, "IsPrivate": "0"}
        cells = {"Subject": entry.subject, **text, **self._stamps(entry.at, owner), **cells}
        self.raw(table, row_of(table, Id=self.new_id(table), **cells))

    def hubspot_note(self, entry: Entry, contacts: str) -> None:
        """A note on one contact or, with ``;`` between the ids, on several: a record with several subjects."""
        self.records["notes"] += 1
        at = f"{entry.at:%Y-%m-%d %H:%M}"
        cells = {
            "Activity_date": at,
            "Note_body": entry.text,
            "Activity_assigned_to": staff()[entry.by],
            "Associated_Contact_IDs": contacts,
            "Create_date": at,
        }
        self.raw("notes", row_of("notes", Record_ID=self.new_id("notes"), **cells))

    def _staff_row(self, key: str, name: str) -> str:
        first, last = name.split()
        user = self.new_id("User")
        email = f"{first}.{last}@northwind.example".lower()
        cells = {"Username": email, "Email": email, "FirstName": first, "LastName": last, "IsActive": "1"}
        self.raw("User", row_of("User", Id=user, CreatedDate="2019-01-07 08:00:00", **cells))
        return user

    def _stamps(self, moment: datetime, owner: str) -> dict[str, str]:
        at = stamp(moment)
        return {
            "IsDeleted": "0", "OwnerId": owner, "CreatedById": owner, "LastModifiedById": owner, "CreatedDate": at,
            "LastModifiedDate": at, "SystemModstamp": at,
        }  # fmt: skip

    def _owner(self, person: Person) -> str:
        return self._owners[next((entry.by for entry in person.entries if entry.by), "maya")]

    def _account(self, person: Person) -> str:
        """One account per company; two people of one company share it."""
        key = f"account:{person.company}"
        if key not in self.ids:
            self.ids[key] = self.new_id("Account")
            cells = self._stamps(person.since, self._owner(person))
            self.raw("Account", row_of("Account", Id=self.ids[key], Name=person.company, **cells))
        return self.ids[key]

    def _names(self, person: Person) -> dict[str, str]:
        return {"FirstName": person.given, "LastName": person.family, "Name": person.latin_name}

    def _contact(self, person: Person, account: str) -> str:
        contact = self.ids[f"contact:{person.slug}"] = self.new_id("Contact")
        self.records["Contact"] += 1
        cells = {
            "AccountId": account, **self._names(person), "MailingCity": person.city, "MailingCountry": person.country,
            "MobilePhone": person.phone, "Email": person.email, "Title": person.title, "HasOptedOutOfEmail": "0",
            "DoNotCall": "0", **self._stamps(person.since, self._owner(person)), **person.columns,
        }  # fmt: skip
        self.raw("Contact", row_of("Contact", Id=contact, **cells))
        return contact

    def _lead(self, person: Person, account: str, contact: str) -> str:
        lead = self.ids[f"lead:{person.slug}"] = self.new_id("Lead")
        self.records["Lead"] += 1
        cells = {
            **self._names(person), "Title": person.title, "Company": person.company, "City": person.city,
            "Country": person.country, "Phone": person.phone, "Email": person.email,
            **self._stamps(person.since - timedelta(days=2), self._owner(person)), "Status": "Open", "IsConverted": "0",
        }  # fmt: skip
        if contact:
            cells |= {"Status": "Qualified", "IsConverted": "1", "ConvertedDate": stamp(person.since)[:10]}
            cells |= {"ConvertedAccountId": account, "ConvertedContactId": contact}
        self.raw("Lead", row_of("Lead", Id=lead, **cells))
        return lead

    def _hubspot(self, person: Person) -> str:
        contact = self.ids[f"hubspot:{person.slug}"] = self.new_id("contacts")
        self.records["contacts"] += 1
        at = f"{person.since:%Y-%m-%d %H:%M}"
        main, *others = reversed(person.addresses) if "salesforce" in person.homes else person.addresses
        merged = f"{person.merged_from}:{int(person.since.timestamp() * 1000)}" if person.merged_from else ""
        cells = {
            "First_Name": person.given, "Last_Name": person.family, "Email": main, "Mobile_Phone_Number": person.phone,
            "Additional_email_addresses": ";".join(others), "Job_Title": person.title, "City": person.city,
            "Company_Name": person.company, "Country_Region": person.country, "Lifecycle_Stage": "Customer",
            "Contact_owner": "Maya Lindqvist", "Merged_contact_IDs_with_timestamps_of_merge": merged,
            "Create_Date": at, "Last_Modified_Date": at,
        }  # fmt: skip
        self.raw("contacts", row_of("contacts", Record_ID=contact, **cells))
        return contact


def header(table: str) -> str:
    return csv_lines([COLUMNS[table]])


def table_path(table: str) -> str:
    """Where a table's file stands in the inbox."""
    return f"crm/{'salesforce' if table in _SALESFORCE else 'hubspot'}/{table}.csv"


def crm_answers(writer: CrmWriter, rejected: dict[str, int], skipped: dict[str, dict[str, int]]) -> list[FileAnswer]:
    """What reading the tables gives; Users, accounts and the organisation are only looked up."""
    return [
        FileAnswer(table_path(table), writer.records[table], rejected.get(table, 0), skipped.get(table, {}))
        for table in COLUMNS
    ]
