"""The CSV tables of one CRM export: the files of a folder, the members of its zips, or both."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from ingest_pipeline.documents import Item, Json, Rejected, Skipped
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.archives import ZIP_MAGIC, Archive, open_zip
from ingest_pipeline.sources.base import HEAD_BYTES, Export, ReadOptions, SourceFile
from ingest_pipeline.sources.tabular import BadRow, Opener, Row, Table, first_cells, header_of, index_of, open_table

T = TypeVar("T")

MEMBERS_SEEN = 10
"""How many tables of a zip are looked at to tell what it is."""


REMEMBERED = 1_000
REMEMBERED_CHARS = 2_000
"""How many keys a lookup keeps in memory, unless their values are long: rows that belong together follow each other."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """One CSV, not yet open. ``file`` is the inbox file, ``member`` its path inside a zip."""

    file: str
    member: str | None
    opener: Opener

    @property
    def name(self) -> str:
        """The table's own name as written: ``crm/acme/Contact.csv`` -> ``Contact``."""
        leaf = (self.member or self.file).replace("\\", "/").rpartition("/")[2]
        stem, dot, ending = leaf.rpartition(".")
        return stem if dot and ending.lower() in ("csv", "json", "jsonl", "ndjson") else leaf

    def position(self, row: Row | BadRow) -> str:
        return f"{self.member} {row.position}" if self.member else row.position

    def rejected(self, row: Row | BadRow, reason: str) -> Rejected:
        return Rejected(self.file, self.position(row), reason)

    def lineage(self, row: Row, table: Table) -> dict[str, Json]:
        """The part of a record's metadata that says where the row is and how it was read."""
        found: dict[str, Json] = {"row": row.ordinal, "line": row.line}
        if self.member:
            found["archive_member"] = self.member
        if not table.encoding.is_utf8:
            found["charset"] = table.encoding.name
        if row.repairs:
            found["repairs"] = list(row.repairs)
        return found

    def head(self) -> tuple[tuple[str, ...] | None, list[str]]:
        """The header and the first record's cells, for a look at what the table is. Never raises for bad content."""
        try:
            with self.opener() as stream:
                return first_cells(stream.read(HEAD_BYTES))
        except UnreadableFile:
            return None, []


@dataclass(slots=True)
class Tables:
    """What an export holds. ``readable`` counts the tables that could be opened."""

    files: list[TableFile] = field(default_factory=list)
    refused: list[Rejected] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    readable: int = 0

    def items(
        self, file: TableFile, options: ReadOptions, reader_for: Callable[[Table], Callable[[Row], T]]
    ) -> Iterator[T | Rejected]:
        """What the reader makes of each row; ``reader_for`` is called once, with the open table.

        A table that cannot be opened is noted in ``refused``; one that breaks off ends with a Rejected.
        """
        last: Row | BadRow | None = None
        opened = False
        try:
            with open_table(file.opener, options) as table:
                self.readable += 1
                opened = True
                read = reader_for(table)
                for last in table.rows():
                    yield read(last) if isinstance(last, Row) else file.rejected(last, last.reason)
        except UnreadableFile as error:
            if opened:
                after = last.position if last else "header"
                yield Rejected(file.file, f"{file.member or file.name} after {after}", str(error))
            else:
                self.refused.append(Rejected(file.file, file.member or "header", str(error)))

    def counted(self, file: TableFile, options: ReadOptions, reason: str) -> Iterator[Item]:
        """One Skipped for a table that is not turned into records; its broken rows are told all the same."""
        whole = Skipped(file.file, reason, 0)
        units = 0
        for item in self.items(file, options, lambda _table: lambda _row: whole):
            if item is whole:
                units += 1
            else:
                yield item
        if units:
            yield Skipped(file.file, reason, units)

    def lookup_rows(self, file: TableFile, options: ReadOptions) -> Iterator[tuple[dict[str, int], list[str]]]:
        """(column -> place, cells) of the whole rows; for joins. What is wrong is reported when ``rows`` reads it."""
        with suppress(UnreadableFile), open_table(file.opener, options) as table:
            places = index_of(table.columns)
            for row in table.rows():
                if isinstance(row, Row):
                    yield places, row.cells

    def raise_if_nothing_was_readable(self, export: Export) -> None:
        """Raises UnreadableFile when no table of the export could be opened."""
        if not self.readable:
            reason = self.refused[0].reason if self.refused else "holds no CSV table"
            name = export.files[0].name if export.files else export.format
            raise UnreadableFile(reason if reason.startswith(name) else f"{name}: {reason}")


@contextmanager
def open_tables(export: Export, options: ReadOptions, suffixes: tuple[str, ...] = (".csv",)) -> Iterator[Tables]:
    """The tables of an export, in file order; its zips stay open meanwhile. A bad zip is refused, the rest goes on.

    suffixes: how names of a zip's members end that are tables, lower case.
    """
    tables = Tables()
    with ExitStack() as stack:
        for file in export.files:
            if not is_zip(file):
                tables.files.append(TableFile(file.name, None, file.opener))
                continue
            try:
                archive = stack.enter_context(open_zip(file, options))
            except UnreadableFile as error:
                tables.refused.append(Rejected(file.name, "archive", str(error)))
            else:
                _add_members(tables, file, archive, suffixes)
        yield tables


class Lookup:
    """Keys to values on disk, for joins with tables of any size: several maps, each under the name of its space.

    SQLite deletes its unnamed file on close.
    """

    def __init__(self) -> None:
        self._rows = sqlite3.connect("", check_same_thread=False)
        self._rows.execute("CREATE TABLE pair (key TEXT, value TEXT)")
        self._spaces: set[str] = set()
        self._recent: dict[str, tuple[str, ...]] = {}

    def add(self, space: str, pairs: Iterable[tuple[str, str]]) -> None:
        prefix = f"{space}:"
        added = self._rows.executemany(
            "INSERT INTO pair VALUES (?, ?)", ((prefix + key, value) for key, value in pairs)
        ).rowcount
        if added > 0:
            self._spaces.add(space)

    def close_for_writing(self) -> None:
        self._rows.execute("CREATE INDEX pair_key ON pair (key, value)")

    def all(self, space: str, key: str) -> tuple[str, ...]:
        """The key's values, each once, in a stable order."""
        if space not in self._spaces:
            return ()
        full = f"{space}:{key}"
        found = self._recent.get(full)
        if found is None:
            query = "SELECT DISTINCT value FROM pair WHERE key = ? ORDER BY value"
            found = tuple(value for (value,) in self._rows.execute(query, (full,)))
            if len(self._recent) >= REMEMBERED:
                self._recent.clear()
            if sum(map(len, found)) <= REMEMBERED_CHARS:
                self._recent[full] = found
        return found

    def first(self, space: str, key: str) -> str:
        """The key's first value, or ""."""
        found = self.all(space, key)
        return found[0] if found else ""

    def close(self) -> None:
        self._rows.close()


@contextmanager
def lookup() -> Iterator[Lookup]:
    with closing(Lookup()) as found:
        yield found


def is_zip(file: SourceFile) -> bool:
    if file.name.lower().endswith((".csv", ".json")):
        return False
    with file.opener() as stream:
        return file.name.lower().endswith(".zip") or stream.read(4) == ZIP_MAGIC


def headers(file: SourceFile, head: bytes) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(table name, columns) of a CSV, or of the first MEMBERS_SEEN tables of a zip; for detection.

    A zip that cannot be read gives the names in its first bytes, without columns. Never raises for bad content.
    """
    if not head.startswith(ZIP_MAGIC):
        if columns := header_of(head):
            yield TableFile(file.name, None, file.opener).name, columns
        return
    try:
        with open_zip(file, ReadOptions()) as archive:
            for name in [name for name in archive.names() if name.lower().endswith(".csv")][:MEMBERS_SEEN]:
                table = TableFile(file.name, name, _member_opener(archive, name))
                yield table.name, table.head()[0] or ()
    except UnreadableFile:
        for name in _names_in(head):
            if name.lower().endswith(".csv"):
                yield TableFile(file.name, name, file.opener).name, ()


def zip_heads(file: SourceFile, suffixes: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """(path, first bytes) of the first MEMBERS_SEEN tables of a zip; for detection. None for a zip that is damaged."""
    with suppress(UnreadableFile), open_zip(file, ReadOptions()) as archive:
        for name in [name for name in archive.names() if name.lower().endswith(suffixes)][:MEMBERS_SEEN]:
            with archive.open(name) as member:
                yield name, member.read(HEAD_BYTES)


def _names_in(head: bytes) -> Iterator[str]:
    """Names in the local headers within a zip's first bytes (APPNOTE.TXT 4.3.7)."""
    start = head.find(ZIP_MAGIC)
    while start >= 0 and start + 30 <= len(head):
        length = int.from_bytes(head[start + 26 : start + 28], "little")
        yield head[start + 30 : start + 30 + length].decode("utf-8", "replace")
        start = head.find(ZIP_MAGIC, start + 30)


def _add_members(tables: Tables, file: SourceFile, archive: Archive, suffixes: tuple[str, ...]) -> None:
    others = 0
    for name in archive.names():
        if name.lower().endswith(suffixes):
            tables.files.append(TableFile(file.name, name, _member_opener(archive, name)))
        else:
            others += 1
    if others:
        tables.skipped.append(Skipped(file.name, "not_a_table", others))


def _member_opener(archive: Archive, name: str) -> Opener:
    return lambda: archive.open(name)
