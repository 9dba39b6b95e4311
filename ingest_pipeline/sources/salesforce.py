"""Salesforce exports: a folder or zips of ``Contact.csv``, ``Lead.csv``, ``Task.csv``, ``EmailMessage.csv`` …

Both the weekly export (every cell quoted) and API downloads (byte order mark, header in any case) are read.
``occurred_at`` is, for people, when the row was last modified: that is when its columns held; for tasks and events
the day of the activity, unless it lies after the last modification (a plan: then the text is as old as the row);
for mails their date, for cases, comments and notes the creation. Users' addresses and domains are staff's.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from ingest_pipeline.documents import Item, Skipped, Source
from ingest_pipeline.sources.archives import ZIP_MAGIC
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.crm_records import Staff, staff_of
from ingest_pipeline.sources.crm_tables import Lookup, TableFile, Tables, headers, lookup, open_tables
from ingest_pipeline.sources.salesforce_activities import ActivityReader
from ingest_pipeline.sources.salesforce_cells import Sheet
from ingest_pipeline.sources.salesforce_ids import PREFIXES, id18
from ingest_pipeline.sources.salesforce_joins import RELATIONS, Used, load_joins, staff_addresses
from ingest_pipeline.sources.salesforce_people import PersonReader
from ingest_pipeline.sources.tabular import Row, Table, index_of

PERSONS = frozenset({"contact", "lead", "account"})
RECORDS = frozenset(
    {
        "contact", "lead", "task", "event", "case", "casecomment", "note", "contentnote", "contentversion",
        "emailmessage",
    }
)  # fmt: skip
LOOKUP_TABLES = frozenset({"account", "user", "organization", "emailmessagerelation", *RELATIONS}) - RECORDS
USED = RECORDS | LOOKUP_TABLES
_BY_COLUMNS = (
    (frozenset({"emailmessageid", "relationid", "relationtype"}), "emailmessagerelation"),
    (frozenset({"taskid", "relationid"}), "taskrelation"),
    (frozenset({"eventid", "relationid"}), "eventrelation"),
    (frozenset({"contentdocumentid", "linkedentityid"}), "contentdocumentlink"),
)
"""Tables that are known by their columns when they bear another name."""

_SYSTEM_COLUMNS = frozenset(
    {"createdbyid", "createddate", "isdeleted", "lastmodifiedbyid", "lastmodifieddate", "ownerid", "systemmodstamp"}
)
_FOREIGN = re.compile(r"(?:property_|_fivetran_|record id\Z|hs_)")
_WEEKLY_EXPORT = re.compile(r"WE_(00D[A-Za-z0-9]{12,15})")


@dataclass(frozen=True, slots=True)
class _Found:
    """A table of the export and what it holds; ``object`` is lower case, ``org`` an 18-character id or ""."""

    table: TableFile
    object: str
    org: str


class Context(NamedTuple):
    """What all tables of one export are read with, as the last fields of ``Sheet``."""

    staff: Staff
    joins: Lookup
    now: datetime


def detect(file: SourceFile, head: bytes) -> bool:
    """A CSV with ``Id`` and system columns, or a zip that holds such tables."""
    weekly = head.startswith(ZIP_MAGIC) and _WEEKLY_EXPORT.match(file.name.rpartition("/")[2])
    return bool(weekly) or any(
        is_salesforce(columns) if columns else name.lower() in USED for name, columns in headers(file, head)
    )


def read(export: Export, options: ReadOptions) -> Iterator[Item]:
    """The items of an export. Raises UnreadableFile when none of its tables can be opened."""
    with open_tables(export, options) as tables, lookup() as joins:
        found = _identify(tables)
        used = [Used(each.table, each.object) for each in found]
        staff = staff_of(staff_addresses(tables, used, options), options)
        load_joins(joins, tables, used, options)
        now = datetime.now(UTC)
        yield from tables.skipped
        for each in found:
            if each.object in RECORDS or (each.object == "account" and _has_person_accounts(each.table)):
                yield from _records(tables, each, options, Context(staff, joins, now))
            else:
                is_lookup = each.object in LOOKUP_TABLES
                reason = "lookup_table" if is_lookup else f"table_not_used: {each.table.name}"
                yield from tables.counted(each.table, options, reason)
        tables.raise_if_nothing_was_readable(export)
        yield from tables.refused


def _records(tables: Tables, found: _Found, options: ReadOptions, context: Context) -> Iterator[Item]:
    """The table's items; rows that only serve as a lookup are counted in one."""
    looked_up = 0

    def reader_for(table: Table) -> Callable[[Row], Item]:
        sheet = Sheet(found.table, table, found.object, found.org, options, *context)
        return (PersonReader if found.object in PERSONS else ActivityReader)(sheet).read

    for item in tables.items(found.table, options, reader_for):
        if isinstance(item, Skipped) and item.reason == "lookup_table":
            looked_up += 1
        else:
            yield item
    if looked_up:
        yield Skipped(found.table.file, "lookup_table", looked_up)


def _has_person_accounts(table: TableFile) -> bool:
    return "ispersonaccount" in index_of(table.head()[0] or ())


def is_salesforce(columns: tuple[str, ...]) -> bool:
    """Whether a header is that of a Salesforce table, of whichever object."""
    lowered = {column.lower() for column in columns}
    if any(_FOREIGN.match(column) for column in lowered):
        return False
    return "id" in lowered and len(lowered & _SYSTEM_COLUMNS) >= 2


def _identify(tables: Tables) -> list[_Found]:
    named = [(table, _object_of(table)) for table in tables.files]
    orgs = {table.file: org for table, kind in named if (org := _org_of(table, kind))}
    known = set(orgs.values())
    common = known.pop() if len(known) == 1 else ""
    return [_Found(table, kind, orgs.get(table.file, common)) for table, kind in named]


def _object_of(table: TableFile) -> str:
    """The object by the table's name, else by the prefix of its first id; ``""`` for none of those that are used."""
    name = table.name.lower()
    if name in USED:
        return name
    header, cells = table.head()
    places = index_of(header or ())
    for columns, kind in _BY_COLUMNS:
        if columns <= places.keys():
            return kind
    place = places.get("id")
    try:
        first = id18(cells[place]) if place is not None and place < len(cells) else None
    except ValueError:
        first = None
    return PREFIXES.get(first[:3], "") if first else ""


def _org_of(table: TableFile, kind: str) -> str:
    """The org's id: in the name of a weekly export's zip, or in Organization.csv."""
    weekly = _WEEKLY_EXPORT.search(table.file.rpartition("/")[2])
    candidate = weekly[1] if weekly else ""
    if kind == "organization":
        header, cells = table.head()
        place = index_of(header or ()).get("id")
        candidate = cells[place] if place is not None and place < len(cells) else candidate
    try:
        return id18(candidate) or ""
    except ValueError:
        return ""


READER = Reader(
    format="salesforce", source=Source.CRM, detect=detect, read=read, by_folder=True, names_everybody=True, version=2
)
