"""Salesforce exports: a folder or zip of ``Contact.csv``, ``Lead.csv``, ``Task.csv`` …

Both the weekly export (every cell quoted) and API downloads (byte order mark, header in any case) are read.
``occurred_at`` is, for people, when the row was last modified: that is when its columns held; for tasks and events
the day of the activity, unless it lies after the last modification (a plan: then the text is as old as the row);
for cases and notes the creation.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from ingest_pipeline.documents import Item, Rejected, Skipped, Source
from ingest_pipeline.sources.archives import ZIP_MAGIC
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.crm_tables import Lookup, TableFile, Tables, headers, lookup, open_tables
from ingest_pipeline.sources.salesforce_ids import PEOPLE, PREFIXES, id18
from ingest_pipeline.sources.salesforce_rows import JOINED, RowReader, Sheet
from ingest_pipeline.sources.tabular import index_of

LOOKUP_TABLES = frozenset({"account", "user", "organization"})
USED = frozenset(PREFIXES.values())

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


def detect(file: SourceFile, head: bytes) -> bool:
    """A CSV with ``Id`` and system columns, or a zip that holds such tables."""
    weekly = head.startswith(ZIP_MAGIC) and _WEEKLY_EXPORT.match(file.name.rpartition("/")[2])
    return bool(weekly) or any(
        is_salesforce(columns) if columns else name.lower() in USED for name, columns in headers(file, head)
    )


def read(export: Export, options: ReadOptions) -> Iterator[Item]:
    """The items of an export. Raises UnreadableFile when none of its tables can be opened."""
    with open_tables(export, options) as tables, lookup() as accounts:
        found = _identify(tables)
        if any(each.object in PEOPLE.values() for each in found):
            accounts.add(_account_names(tables, found, options))
        accounts.close_for_writing()
        now = datetime.now(UTC)
        yield from tables.skipped
        for each in found:
            if each.object not in USED or each.object in LOOKUP_TABLES:
                yield from _count(tables, each, options)
            else:
                yield from _records(tables, each, options, accounts, now)
        tables.raise_if_nothing_was_readable(export)
        yield from tables.refused


def is_salesforce(columns: tuple[str, ...]) -> bool:
    """Whether a header is that of a Salesforce table, of whichever object."""
    lowered = {column.lower() for column in columns}
    if any(_FOREIGN.match(column) for column in lowered):
        return False
    return "id" in lowered and len(lowered & _SYSTEM_COLUMNS) >= 2


def _records(tables: Tables, found: _Found, options: ReadOptions, accounts: Lookup, now: datetime) -> Iterator[Item]:
    reader: RowReader | None = None
    for each in tables.rows(found.table, options):
        if isinstance(each, Rejected):
            yield each
            continue
        table, row = each
        if reader is None:
            reader = RowReader(Sheet(found.table, table, found.object, found.org, options, accounts, now))
        yield reader.read(row)


def _count(tables: Tables, found: _Found, options: ReadOptions) -> Iterator[Item]:
    """One Skipped for a table that is not turned into records; its broken rows are told all the same."""
    units = 0
    for each in tables.rows(found.table, options):
        if isinstance(each, Rejected):
            yield each
        else:
            units += 1
    reason = "lookup_table" if found.object in LOOKUP_TABLES else f"table_not_used: {found.table.name}"
    if units:
        yield Skipped(found.table.file, reason, units)


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
    place = index_of(header or ()).get("id")
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


def _account_names(tables: Tables, found: list[_Found], options: ReadOptions) -> Iterator[tuple[str, str]]:
    """(account id, name and industry) of every account; they go to disk, an export may hold millions."""
    for each in found:
        if each.object != "account":
            continue
        for at, cells in tables.lookup_rows(each.table, options):
            try:
                account = id18(cells[at["id"]]) if "id" in at else None
            except ValueError:
                continue
            if account:
                name, industry = (cells[at[c]].strip() if c in at else "" for c in ("name", "industry"))
                yield account, JOINED.join((name, industry))


READER = Reader(format="salesforce", source=Source.CRM, detect=detect, read=read, by_folder=True)
