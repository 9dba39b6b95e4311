"""HubSpot exports: CSV from the screen, or a warehouse's tables (``property_*`` columns).

Which contacts a warehouse's note belongs to, and which ids were merged into a contact, stand in tables of their own,
so the tables of one folder are read together. Times from the screen are in the account's zone, which the file does
not name: the setting's zone is used and recorded. A warehouse's are in UTC.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ingest_pipeline.documents import Item, Source
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.crm_records import email_addresses, staff_of
from ingest_pipeline.sources.crm_tables import Lookup, TableFile, Tables, headers, lookup, open_tables
from ingest_pipeline.sources.hubspot_activities import ACTIVITIES, ActivityReader
from ingest_pipeline.sources.hubspot_rows import (
    EMAIL_COLUMNS,
    SPOILED,
    ContactReader,
    RowReader,
    Sheet,
    canonical,
    contact_id,
)
from ingest_pipeline.sources.salesforce import is_salesforce
from ingest_pipeline.sources.tabular import Row, Table, index_of

_SCREEN_COLUMNS = frozenset(
    {
        "associated company ids", "associated contact ids", "company name", "contact owner", "create date", "deal name",
        "email", "first name", "last activity date", "lead status", "lifecycle stage", "note body", "ticket name",
    }
)  # fmt: skip
"""One of these beside ``Record ID`` makes an export from the screen."""

_WAREHOUSE_TABLES = tuple(
    frozenset(columns.split())
    for columns in (
        "engagement_id",
        "owner_id portal_id",
        "id portal_id type",
        "canonical_vid vid_to_merge",
        "contact_id deal_id type_id",
        "contact_id ticket_id category",
        "contact_id source_id name value timestamp",
        "primary_team_id role_id email",
        "_fivetran_synced bcc cc from reply_to subject",
    )
)
"""Columns that tell HubSpot's tables without properties: owners, associations, events."""

_NOT_A_CONTACT = frozenset(
    {"dealname", "deal_name", "domain", "company_domain_name", "subject", "ticket_name", "owner_id"}
)


_PAIRS = (
    # columns of the table -> space of the lookup, key, value
    (frozenset({"contact_id", "engagement_id"}), "engagement", "engagement_id", "contact_id"),
    (frozenset({"contact_id", "ticket_id"}), "ticket", "ticket_id", "contact_id"),
    (frozenset({"contact_id", "deal_id"}), "deal", "deal_id", "contact_id"),
    (frozenset({"contact_id", "company_id"}), "contact_company", "contact_id", "company_id"),
    (frozenset({"canonical_vid", "vid_to_merge"}), "merged", "canonical_vid", "vid_to_merge"),
)
_BY_COLUMN = {
    "hs_note_body": "note", "hs_call_body": "call", "hs_call_title": "call", "hs_email_subject": "email",
    "hs_email_text": "email", "hs_email_html": "email", "hs_meeting_body": "meeting", "hs_meeting_title": "meeting",
    "hs_task_body": "task", "hs_task_subject": "task", "hs_task_type": "task",
    "hs_communication_body": "communication", "meeting_outcome": "meeting", "dealname": "deal",
}  # fmt: skip
"""A column (canonical name) that only one kind of table has."""

_BY_TYPE = {
    "NOTE": "note", "CALL": "call", "EMAIL": "email", "INCOMING_EMAIL": "email", "FORWARDED_EMAIL": "email",
    "MEETING": "meeting", "TASK": "task", "COMMUNICATION": "communication",
}  # fmt: skip
_BY_NAME = re.compile(r"engagement_(note|call|email|meeting|task|communication)s?(?:_|\Z)")
_OWNERS = (frozenset({"owner_id", "email"}), frozenset({"role_id", "primary_team_id", "email"}))


@dataclass(frozen=True, slots=True)
class _Found:
    """A table and what it is: ``contact``, an activity, ``pairs``, ``company``, ``owner``, "" for one not used."""

    table: TableFile
    columns: frozenset[str]
    kind: str


def detect(file: SourceFile, head: bytes) -> bool:
    """A HubSpot table as CSV, or a zip that holds such tables."""
    return any(_is_hubspot(name, columns) for name, columns in headers(file, head))


def read(export: Export, options: ReadOptions) -> Iterator[Item]:
    """The items of an export. Raises UnreadableFile when none of its tables can be opened."""
    with open_tables(export, options) as tables, lookup() as joins:
        found = [_identify(table) for table in tables.files]
        _load_joins(joins, tables, found, options)
        staff = staff_of(_owner_addresses(tables, found, options), options)
        portal, now = _portal_of(found), datetime.now(UTC)
        yield from tables.skipped
        for each in found:
            if each.kind == "contact" or each.kind in ACTIVITIES:
                reader = ContactReader if each.kind == "contact" else ActivityReader

                def reader_for(
                    table: Table, each: _Found = each, reader: type[RowReader] = reader
                ) -> Callable[[Row], Item]:
                    return reader(Sheet(each.table, table, each.kind, portal, options, staff, joins, now)).read

                yield from tables.items(each.table, options, reader_for)
            else:
                reason = "lookup_table" if each.kind else f"table_not_used: {each.table.name}"
                yield from tables.counted(each.table, options, reason)
        tables.raise_if_nothing_was_readable(export)
        yield from tables.refused


def _load_joins(joins: Lookup, tables: Tables, found: Sequence[_Found], options: ReadOptions) -> None:
    has_mails = any(each.kind == "email" for each in found)
    for each in found:
        if each.kind == "pairs":
            _, space, key, value = next(pairs for pairs in _PAIRS if pairs[0] <= each.columns)
            joins.add(space, _pairs(tables, each, options, key, value))
        elif each.kind == "company":
            joins.add("company", _companies(tables, each, options))
        elif each.kind == "contact" and has_mails:
            joins.add("address", _contact_addresses(tables, each, options))
    joins.close_for_writing()


def _is_hubspot(name: str, columns: tuple[str, ...]) -> bool:
    if not columns:
        return name.lower().startswith("hubspot-crm-exports")
    if is_salesforce(columns):
        return False
    lowered = {column.lower() for column in columns}
    if "Record ID" in columns and lowered & _SCREEN_COLUMNS:
        return True
    if "hs_object_id" in lowered or any(column.startswith("property_") for column in lowered):
        return True
    return any(signature <= lowered for signature in _WAREHOUSE_TABLES)


def _identify(table: TableFile) -> _Found:
    header, cells = table.head()
    raw = frozenset(column.lower() for column in header or ())
    names = [canonical(column) for column in header or ()]
    first = dict(zip(names, cells, strict=False))
    return _Found(table, raw, _kind_of(table.name.lower(), raw, frozenset(names), first))


def _kind_of(table: str, raw: frozenset[str], names: frozenset[str], first: Mapping[str, str]) -> str:
    if any(pairs[0] <= raw for pairs in _PAIRS):
        return "pairs"
    if any(owner <= raw for owner in _OWNERS):
        return "owner"
    if found := next((kind for column, kind in _BY_COLUMN.items() if column in names), ""):
        return found
    if "engagement_id" in raw and first.get("type", "").upper() in _BY_TYPE:
        return _BY_TYPE[first["type"].upper()]
    if "engagement_id" in raw and (named := _BY_NAME.search(table)):
        return named[1]
    if "id" not in names:
        return ""
    if "subject" in names and names & {"content", "hs_pipeline_stage", "hs_ticket_priority"}:
        return "ticket"
    if names & {"name", "company"} and not names & {"firstname", "lastname", "email"}:
        # From the screen "Company name" is a column of companies and of contacts.
        return "company" if "domain" in names or "compan" in table else ""
    if names & {"firstname", "lastname", "email"} and not names & _NOT_A_CONTACT:
        # A users or owners table has names and addresses too, but neither properties nor a record id.
        from_hubspot = "record id" in raw or "hs_object_id" in raw or any(c.startswith("property_") for c in raw)
        return "contact" if from_hubspot else ""
    return ""


def _pairs(tables: Tables, found: _Found, options: ReadOptions, key: str, value: str) -> Iterator[tuple[str, str]]:
    for at, cells in tables.lookup_rows(found.table, options):
        left, right = contact_id(cells[at[key]]), contact_id(cells[at[value]])
        if left and (right or cells[at[value]].strip()):
            yield left, right or SPOILED


def _companies(tables: Tables, found: _Found, options: ReadOptions) -> Iterator[tuple[str, str]]:
    for at, cells in _canonical_rows(tables, found, options):
        place = at.get("name", at.get("company"))
        company, name = contact_id(cells[at["id"]]), cells[place].strip() if place is not None else ""
        if company and name:
            yield company, name


def _contact_addresses(tables: Tables, found: _Found, options: ReadOptions) -> Iterator[tuple[str, str]]:
    for at, cells in _canonical_rows(tables, found, options):
        if contact := contact_id(cells[at["id"]]):
            for email in email_addresses(*(cells[at[column]] for column in EMAIL_COLUMNS if column in at)):
                yield email.value, contact


def _owner_addresses(tables: Tables, found: Sequence[_Found], options: ReadOptions) -> Iterator[str]:
    """Owners and users of the account are staff."""
    for each in found:
        if each.kind == "owner":
            for at, cells in tables.lookup_rows(each.table, options):
                yield cells[at["email"]]


def _canonical_rows(
    tables: Tables, found: _Found, options: ReadOptions
) -> Iterator[tuple[Mapping[str, int], list[str]]]:
    at: dict[str, int] = {}
    for places, cells in tables.lookup_rows(found.table, options):
        if not at:
            for column, place in places.items():
                at.setdefault(canonical(column), place)
        yield at, cells


def _portal_of(found: list[_Found]) -> str:
    """The account's id when the tables that name one agree in their first rows, else ""."""
    portals = set()
    for each in found:
        if "portal_id" in each.columns:
            header, cells = each.table.head()
            place = index_of(header or ())["portal_id"]
            portals.add(contact_id(cells[place]) if place < len(cells) else None)
    portals.discard(None)
    return str(portals.pop()) if len(portals) == 1 else ""


READER = Reader(
    format="hubspot", source=Source.CRM, detect=detect, read=read, by_folder=True, names_everybody=True, version=2
)
