"""HubSpot exports of contacts and notes: CSV from the screen, or a warehouse's tables (``property_*`` columns).

Which contacts a warehouse's note belongs to, and which ids were merged into a contact, stand in tables of their own,
so the tables of one folder are read together. Times from the screen are in the account's zone, which the file does
not name: the setting's zone is used and recorded. A warehouse's are in UTC.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from ingest_pipeline.documents import Item, Rejected, Skipped, Source
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.crm_tables import TableFile, Tables, headers, lookup, open_tables
from ingest_pipeline.sources.hubspot_rows import Joins, RowReader, Sheet, canonical, contact_id
from ingest_pipeline.sources.salesforce import is_salesforce
from ingest_pipeline.sources.tabular import index_of

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

_ASSOCIATION = frozenset({"contact_id", "engagement_id"})
_MERGES = frozenset({"canonical_vid", "vid_to_merge"})
_NOT_A_CONTACT = frozenset(
    {"dealname", "deal_name", "domain", "company_domain_name", "subject", "ticket_name", "owner_id"}
)


@dataclass(frozen=True, slots=True)
class _Found:
    """A table and what it is: ``contact``, ``note``, ``association``, ``merges``, or "" for one that is not used."""

    table: TableFile
    columns: frozenset[str]
    kind: str


def detect(file: SourceFile, head: bytes) -> bool:
    """A HubSpot table as CSV, or a zip that holds such tables."""
    return any(_is_hubspot(name, columns) for name, columns in headers(file, head))


def read(export: Export, options: ReadOptions) -> Iterator[Item]:
    """The items of an export. Raises UnreadableFile when none of its tables can be opened."""
    with ExitStack() as stack:
        tables = stack.enter_context(open_tables(export, options))
        joins = Joins(stack.enter_context(lookup()), stack.enter_context(lookup()))
        found = [_identify(table) for table in tables.files]
        for each in found:
            if each.kind == "association":
                joins.contacts_of_note.add(_pairs(tables, each, options, "engagement_id", "contact_id"))
            elif each.kind == "merges":
                joins.merged_into.add(_pairs(tables, each, options, "canonical_vid", "vid_to_merge"))
        joins.close_for_writing()
        portal, now = _portal_of(found), datetime.now(UTC)
        yield from tables.skipped
        for each in found:
            if each.kind in {"contact", "note"}:
                yield from _records(tables, each, options, joins, portal, now)
            else:
                yield from _count(tables, each, options)
        tables.raise_if_nothing_was_readable(export)
        yield from tables.refused


def _records(
    tables: Tables, found: _Found, options: ReadOptions, joins: Joins, portal: str, now: datetime
) -> Iterator[Item]:
    reader: RowReader | None = None
    for each in tables.rows(found.table, options):
        if isinstance(each, Rejected):
            yield each
            continue
        table, row = each
        if reader is None:
            reader = RowReader(Sheet(found.table, table, found.kind, portal, options, joins, now))
        yield reader.read(row)


def _count(tables: Tables, found: _Found, options: ReadOptions) -> Iterator[Item]:
    """One Skipped for a table that is not turned into records; its broken rows are told all the same."""
    units = 0
    for each in tables.rows(found.table, options):
        if isinstance(each, Rejected):
            yield each
        else:
            units += 1
    reason = "lookup_table" if found.kind else f"table_not_used: {found.table.name}"
    if units:
        yield Skipped(found.table.file, reason, units)


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
    header = table.head()[0] or ()
    raw = frozenset(column.lower() for column in header)
    names = frozenset(canonical(column) for column in header)
    kind = ""
    if raw >= _ASSOCIATION:
        kind = "association"
    elif raw >= _MERGES:
        kind = "merges"
    elif "hs_note_body" in names:
        kind = "note"
    elif "id" in names and names & {"firstname", "lastname", "email"} and not names & _NOT_A_CONTACT:
        # A users or owners table has names and addresses too, but neither properties nor a record id.
        from_hubspot = "record id" in raw or "hs_object_id" in raw or any(c.startswith("property_") for c in raw)
        kind = "contact" if from_hubspot else ""
    return _Found(table, raw, kind)


def _pairs(tables: Tables, found: _Found, options: ReadOptions, key: str, value: str) -> Iterator[tuple[str, str]]:
    for at, cells in tables.lookup_rows(found.table, options):
        left, right = contact_id(cells[at[key]]), contact_id(cells[at[value]])
        if left and right:
            yield left, right


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


READER = Reader(format="hubspot", source=Source.CRM, detect=detect, read=read, by_folder=True)
