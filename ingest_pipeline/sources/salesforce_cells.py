"""What all rows of Salesforce tables share: their cells, ids, dates, people and the record made of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from ingest_pipeline.documents import LINKED, PARTIAL, WHOM, Identifier, Item, Json, Person, Record, Skipped
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.columns import TRUE
from ingest_pipeline.sources.crm_records import Moments, Staff, email_addresses, readable_label
from ingest_pipeline.sources.crm_tables import Lookup, TableFile
from ingest_pipeline.sources.crm_text import TextBuilder
from ingest_pipeline.sources.salesforce_ids import PEOPLE, PREFIXES, id18, own_id18
from ingest_pipeline.sources.tabular import Places, Row, Table, index_of

REMEMBERED = 16_384
JOINED = "\x1f"
"""Between the parts of a joined value."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """An open table and what its rows are read with. ``object`` is lower case; ``org`` is "" when unknown.

    Spaces of ``joins``: ``account`` (id -> name, industry), ``person_account`` (account -> contact), ``case`` (case ->
    contact), ``activity`` (task or event -> people), ``document`` (content document -> what it is shared with),
    ``mail`` (e-mail message -> relation type, person), ``address`` (e-mail address -> contacts and leads), ``portal``
    (a customer's user -> their contact).
    """

    file: TableFile
    table: Table
    object: str
    org: str
    options: ReadOptions
    staff: Staff
    joins: Lookup
    now: datetime


class Dates(NamedTuple):
    """When a row's content held; ``source`` is the column that says so."""

    occurred_at: datetime | None = None
    modified_at: datetime | None = None
    source: str = ""


_UNTICKED = frozenset({"", "0", "false"})


def is_ticked(cell: str) -> bool:
    """Whether a check box is."""
    return cell not in _UNTICKED and cell.lower() in TRUE


class Refused(Exception):
    """This row cannot be read; becomes a Rejected with the message."""


class Left(Exception):
    """This row holds nothing of a profile; becomes a Skipped with the message."""


class _References(dict[str, Person]):
    """Persons as rows refer to them: each is described once, as the same ones are named again and again."""

    def __init__(self, identifier: Callable[[str], Identifier], namespace: str) -> None:
        super().__init__()
        self._identifier = identifier
        self._namespace = namespace

    def __missing__(self, native: str) -> Person:
        if len(self) >= REMEMBERED:
            self.clear()
        person = self[native] = Person(self._identifier(native), self._namespace, claims=False)
        return person


class RowReader:
    """Reads the rows of one sheet; subclasses say how, in ``_record_of``."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._namespace = f"salesforce:{sheet.org}"
        excluded = sheet.options.exclude_columns
        self._at = Places(
            (column, place)
            for column, place in index_of(sheet.table.columns).items()
            if column == "id" or not (column in excluded or readable_label(column).lower() in excluded)
        )
        self._kind = sheet.object
        self._object = sheet.object.capitalize()
        self._is_plain = sheet.file.member is None and sheet.table.encoding.is_utf8
        self._position = ""  # of the row being read
        self._moments = Moments(sheet.now)
        self._references = _References(self._identifier, self._namespace)

    def read(self, row: Row) -> Item:
        """The row's Record, or why there is none."""
        file, at = self._sheet.file, self._at
        cells = [*map(str.strip, row.cells), ""]  # the last for columns that the table does not have
        try:
            native = self._own_id(cells[at["id"]])
            if is_ticked(cells[at["isdeleted"]]) and not cells[at["masterrecordid"]]:
                return Skipped(file.file, "deleted")
            metadata: dict[str, Json] = {"object": self._object, "id": native, "row": row.ordinal, "line": row.line}
            if row.repairs or not self._is_plain:
                metadata.update(file.lineage(row, self._sheet.table))
            self._position = file.position(row)
            return self._record_of(cells, native, metadata)
        except Refused as refusal:
            return file.rejected(row, str(refusal))
        except Left as reason:
            return Skipped(file.file, str(reason))

    def _record_of(self, cells: Sequence[str], native: str, metadata: dict[str, Json]) -> Record:
        raise NotImplementedError

    def _record(
        self, native: str, subjects: tuple[Person, ...], text: TextBuilder, dates: Dates, metadata: dict[str, Json]
    ) -> Record:
        content, segments = text.finish(metadata)
        if not content and not any(person.claims for person in subjects):
            raise Left("no_text")
        if dates.source:
            metadata["date_source"] = dates.source
        return Record(
            origin="salesforce",
            kind=self._kind,
            native_id=self._native(native),
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
        return cells[self._at[column]]

    def _written(self, column: str) -> str:
        """The column's name as the header writes it."""
        place = self._at.get(column)
        return column if place is None else self._sheet.table.columns[place]

    def _own_id(self, cell: str) -> str:
        try:
            native = own_id18(cell)
        except ValueError as error:
            raise Refused(f"{self._written('id')} {error}") from None
        if native is None:
            raise Refused("Id is empty")
        if PREFIXES.get(native[:3]) != self._sheet.object:
            raise Refused(f"Id is not that of a {self._sheet.object}")
        return native

    def _id(self, cells: Sequence[str], column: str) -> str | None:
        cell = cells[self._at[column]]
        try:
            return id18(cell) if cell else None
        except ValueError as error:
            raise Refused(f"{self._written(column)} {error}") from None

    def _link(self, cells: Sequence[str], column: str, metadata: dict[str, Json]) -> str | None:
        """An id that only adds to the row: a wrong one is a warning. An account's goes into the metadata."""
        cell = cells[self._at[column]]
        try:
            found = id18(cell) if cell else None
        except ValueError:
            metadata.setdefault("warnings", []).append(f"{column}: not an id")
            metadata[WHOM] = PARTIAL
            return None
        if found and column == "accountid":
            metadata["account_id"] = found
        return found

    def _native(self, native: str) -> str:
        return f"{self._sheet.org}/{native}" if self._sheet.org else native

    def _identifier(self, native: str) -> Identifier:
        return Identifier("salesforce", self._native(native))

    # -- people ----------------------------------------------------------------------------------------------------

    def _person_behind(self, native: str | None) -> str | None:
        """The contact or lead that an id stands for: itself, a case's contact, a person account's."""
        if native is None or native[:3] in PEOPLE:
            return native
        if native[:3] == "500":
            return self._sheet.joins.first("case", native) or None
        if native[:3] == "001":
            return self._sheet.joins.first("person_account", native) or None
        return None

    def _linked(self, space: str, native: str, metadata: dict[str, Json]) -> tuple[str, ...]:
        """What a table of links says belongs to the row."""
        found = self._sheet.joins.all(space, native)
        if found:
            metadata.setdefault(WHOM, LINKED)
        return found

    def _referred(self, natives: Iterable[str | None]) -> tuple[Person, ...]:
        """The people that a row points at, each once. Raises Left when there are none."""
        found: dict[str, Person] = {}
        for native in natives:
            person = native if native is None or native[:3] in PEOPLE else self._person_behind(native)
            if person:
                found[person] = self._references[person]
        if not found:
            raise Left("no_person")
        return tuple(found.values())

    def _sender(self, address: str, name: str, hint: str | None) -> Person:
        """The one person of the export with this address, or, of several, the hinted one; else the bare sender."""
        known = self._sheet.joins.all("address", address)
        native = known[0] if len(known) == 1 else hint if hint in known else None
        if native:
            return self._references[native]
        (identifier,) = email_addresses(address)
        return Person(identifier, "email", name or None, (identifier,))

    # -- dates -----------------------------------------------------------------------------------------------------

    def _dates(self, cells: Sequence[str], metadata: dict[str, Json], *columns: str) -> Dates:
        """``occurred_at`` from the first of the columns that has a date."""
        at, moments = self._at, self._moments
        modified = moments[cells[at["systemmodstamp"]]][0] or moments[cells[at["lastmodifieddate"]]][0]
        for column in columns:
            moment, warning = moments[cells[at[column]]]
            if moment:
                return Dates(moment, modified, self._sheet.table.columns[at[column]])
            if warning:
                metadata.setdefault("warnings", []).append(f"{column}: {warning}")
        return Dates(None, modified)
