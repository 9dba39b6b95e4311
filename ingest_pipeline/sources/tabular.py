"""CSV tables, one record at a time: strict, in any usual encoding, damaged records reported by their lines.

A record is never a line: cells hold line breaks. ``line`` is the line on which a record opens, the header being
line 1. What a damaged record swallowed is read again from its second line on, so that an unterminated quote costs
its own record and not the rest of the table.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, TypeAlias

from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import HEAD_BYTES, ReadOptions
from ingest_pipeline.sources.table_encodings import Encoding, encoding_of, mend

Opener: TypeAlias = Callable[[], BinaryIO]

CELLS_PER_RECORD = 4
"""A record may hold this many cells of the largest allowed size before it is taken for a runaway quote."""

_DELIMITERS = ",;\t|"


class Row(NamedTuple):
    """A whole record. ``repairs`` names what was mended in it: ``nul_removed``, ``charset_cp1252``."""

    ordinal: int
    line: int
    cells: list[str]
    repairs: tuple[str, ...] = ()

    @property
    def position(self) -> str:
        return f"row {self.ordinal} (line {self.line})"


class BadRow(NamedTuple):
    """A record that cannot be read. ``last_line`` is as far as it reached; whole rows found there are still given.

    ``quoting``: a quote is wrong, so that where the record ends is a guess.
    """

    ordinal: int
    line: int
    last_line: int
    reason: str
    quoting: bool = False

    def reaching(self, other: "BadRow") -> "BadRow":
        return self._replace(last_line=max(self.last_line, other.last_line))

    @property
    def position(self) -> str:
        lines = f"line {self.line}" if self.line == self.last_line else f"lines {self.line}-{self.last_line}"
        return f"row {self.ordinal} ({lines})"


class _RecordTooLong(Exception):
    """Stops a record at the size limit; becomes a BadRow."""


class Table:
    """One open CSV. ``columns`` are the header's cells, stripped; ``rows`` can be walked once."""

    def __init__(self, text: io.TextIOWrapper, encoding: Encoding, options: ReadOptions) -> None:
        self.encoding = encoding
        self._readline = text.readline
        self._cell_limit = options.max_cell_chars
        self._record_limit = options.max_cell_chars * CELLS_PER_RECORD
        self._held: list[str] = []  # the lines of the record being read
        self._again: list[str] = []  # lines to read again, last first
        self._repairs: set[str] = set()  # of the record being read
        self._odd = False  # it was mended or is large: look closer
        _allow_cells_of(self._record_limit)
        self._dialect = _sniff_delimiter(self._peek())
        self._reader = self._new_reader()
        self.columns = self._read_header()

    def rows(self) -> Iterator[Row | BadRow]:
        """Every record after the header, in order; blank lines are none.

        What follows a wrong quote without being whole belongs to it: a letter of thirty lines is one BadRow.
        """
        ordinal, damaged_to = 0, 0
        damage: BadRow | None = None
        for row in self._parsed():
            if isinstance(row, BadRow):
                if damage:
                    damage = damage.reaching(row)
                elif row.last_line > damaged_to:  # else it is a piece of the damage before
                    ordinal += 1
                    row = row._replace(ordinal=ordinal)
                    if row.quoting:
                        damage = row
                    else:
                        yield row
                continue
            if damage:
                yield damage
                damaged_to = damage.last_line
                damage = None
            ordinal += 1
            yield row if row.ordinal == ordinal else row._replace(ordinal=ordinal)
        if damage:
            yield damage

    def _parsed(self) -> Iterator[Row | BadRow]:
        """Records as the parser sees them, the pieces of damaged ones too; ``ordinal`` counts them all."""
        held, width = self._held, len(self.columns)
        line, ordinal = 1 + len(held), 0
        while True:
            held.clear()
            try:
                for cells in self._reader:
                    if cells:
                        ordinal += 1
                        plain = len(cells) == width and not self._odd
                        yield Row(ordinal, line, cells) if plain else self._checked(ordinal, line, cells)
                    line += len(held)
                    held.clear()
                return
            except (csv.Error, _RecordTooLong) as error:
                ordinal += 1
                yield BadRow(ordinal, line, line + len(held) - 1, self._explain(error), quoting=True)
                line += 1
                self._restart_after_first_line()

    def _restart_after_first_line(self) -> None:
        self._again.extend(reversed(self._held[1:]))
        self._repairs.clear()
        self._odd = False
        self._reader = self._new_reader()

    def _checked(self, ordinal: int, line: int, cells: list[str]) -> Row | BadRow:
        repairs, last, width = tuple(sorted(self._repairs)), line + len(self._held) - 1, len(self.columns)
        self._repairs.clear()
        self._odd = False
        if len(cells) != width:
            return BadRow(ordinal, line, last, f"has {len(cells)} cells where the header has {width}")
        if max(map(len, cells)) > self._cell_limit:
            return BadRow(ordinal, line, last, f"a cell is longer than {self._cell_limit} characters")
        return Row(ordinal, line, cells, repairs)

    def _explain(self, error: Exception) -> str:
        if isinstance(error, _RecordTooLong):
            return f"longer than {self._record_limit} characters: a quote that is never closed, or a cell too large"
        if "unexpected end of data" in str(error):
            return "a quote opened here is never closed"
        return "a quote is not closed or not doubled"

    def _new_reader(self) -> Iterator[list[str]]:
        return csv.reader(self._lines(), delimiter=self._dialect, strict=True)

    def _lines(self) -> Iterator[str]:
        held, again, limit, size = self._held, self._again, self._record_limit, 0
        readline = self._readline
        while line := again.pop() if again else readline(limit + 1):
            if not line.isascii():
                line = self._mend_charset(line)
            if "\0" in line:
                line = self._without_nul(line)
            size = size + len(line) if held else len(line)
            held.append(line)
            if size > self._cell_limit:
                self._odd = True
                if size > limit:
                    self._skip_rest_of(line)
                    raise _RecordTooLong
            yield line

    def _mend_charset(self, line: str) -> str:
        mended = mend(line)
        if mended is not line:
            self._repaired("charset_cp1252")
        return mended

    def _without_nul(self, line: str) -> str:
        self._repaired("nul_removed")
        return line.replace("\0", "")

    def _repaired(self, what: str) -> None:
        self._repairs.add(what)
        self._odd = True

    def _skip_rest_of(self, line: str) -> None:
        while line and not line.endswith(("\n", "\r")):
            line = self._readline(self._record_limit)

    def _peek(self) -> str:
        line = self._readline(self._record_limit + 1)
        if line:
            self._again.append(line)
        return line

    def _read_header(self) -> tuple[str, ...]:
        try:
            for cells in self._reader:
                if any(cells):
                    self._repairs.clear()
                    self._odd = False
                    return tuple(cell.strip() for cell in cells)
        except (csv.Error, _RecordTooLong) as error:
            raise UnreadableFile("the header is not CSV: a quote in it is not closed or not doubled") from error
        raise UnreadableFile("the table is empty: it has no header")


@contextmanager
def open_table(opener: Opener, options: ReadOptions) -> Iterator[Table]:
    """Open a CSV; ``opener`` is called twice, first for a look at the encoding.

    Raises UnreadableFile when the encoding or the header cannot be read.
    """
    with opener() as stream:
        encoding = encoding_of(stream.read(HEAD_BYTES))
    with opener() as stream:
        text = io.TextIOWrapper(stream, encoding.name, encoding.errors, newline="")
        yield Table(text, encoding, options)


def header_of(head: bytes) -> tuple[str, ...] | None:
    """The column names at the start of a CSV, or None when the bytes are no CSV. Never raises."""
    return first_cells(head)[0]


def first_cells(head: bytes) -> tuple[tuple[str, ...] | None, list[str]]:
    """The header, or None when the bytes are no CSV, and the cells of the first record. Never raises."""
    try:
        encoding = encoding_of(head)
        text = head.decode(encoding.name, "ignore")
    except (UnreadableFile, LookupError):
        return None, []
    if b"\0" in head and not encoding.name.startswith("utf-16") and not encoding.name.startswith("utf-32"):
        text = text.replace("\0", "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_sniff_delimiter(text), strict=True)
    header: tuple[str, ...] | None = None
    try:
        for cells in reader:
            if any(cells) and header is None:
                header = tuple(cell.strip() for cell in cells)
            elif cells and header is not None:
                return header, cells
    except csv.Error:  # the head ends inside a record, or this is no CSV: what is known stays
        pass
    return header, []


def index_of(columns: Sequence[str]) -> dict[str, int]:
    """Lower-case column name -> its place; of two columns with one name the first counts."""
    places: dict[str, int] = {}
    for place, column in enumerate(columns):
        places.setdefault(column.lower(), place)
    return places


def _sniff_delimiter(text: str) -> str:
    """The commonest delimiter of the first line outside quotes; a comma when there is none."""
    bare = re.sub(r'"[^"]*"', "", text.lstrip("\r\n").partition("\n")[0])
    return max(_DELIMITERS, key=bare.count)


def _allow_cells_of(chars: int) -> None:
    """Raise the csv module's limit, which is one for the whole process; the real limit is kept per record."""
    if csv.field_size_limit() < chars:
        csv.field_size_limit(chars)
