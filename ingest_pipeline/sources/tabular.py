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
from itertools import chain
from typing import BinaryIO, TypeAlias, cast

from msgspec import Struct

from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import HEAD_BYTES, ReadOptions
from ingest_pipeline.sources.table_encodings import Encoding, encoding_of, mend

Opener: TypeAlias = Callable[[], BinaryIO]

CELLS_PER_RECORD = 4
"""A record may hold this many cells of the largest allowed size before it is taken for a runaway quote."""

BLOCK_CHARS = 1 << 16
_DELIMITERS = ",;\t|"


class Row(Struct, gc=False):
    """A whole record. ``repairs`` names what was mended in it: ``nul_removed``, ``charset_cp1252``."""

    ordinal: int
    line: int
    cells: list[str]
    repairs: tuple[str, ...] = ()

    @property
    def position(self) -> str:
        return f"row {self.ordinal} (line {self.line})"


class BadRow(Struct, gc=False):
    """A record that cannot be read. ``last_line`` is as far as it reached; whole rows found there are still given.

    ``quoting``: a quote is wrong, so that where the record ends is a guess.
    """

    ordinal: int
    line: int
    last_line: int
    reason: str
    quoting: bool = False

    @property
    def position(self) -> str:
        lines = f"line {self.line}" if self.line == self.last_line else f"lines {self.line}-{self.last_line}"
        return f"row {self.ordinal} ({lines})"


class _RecordTooLong(Exception):
    """Stops a record at the size limit; becomes a BadRow."""


class Table:
    """One open CSV. ``columns`` are the header's cells, stripped; ``rows`` can be walked once.

    Lines are read by the block, so that the csv module walks over them without a call of ours for each.
    """

    def __init__(self, text: io.TextIOWrapper, encoding: Encoding, options: ReadOptions) -> None:
        self.encoding = encoding
        self._text = text
        self._cell_limit = options.max_cell_chars
        self._record_limit = options.max_cell_chars * CELLS_PER_RECORD
        # The lines of the record being read and what was read with them. None stands for one over the record's limit.
        self._held: list[str | None] = []
        self._first = 1  # the number of the first of them
        self._line = 1  # where the record being read begins
        self._repairs: dict[int, list[str]] = {}  # line -> what was mended in it
        self._look_closer = False  # something was mended in, or the lines held are longer than a cell may be
        _allow_cells_of(self._record_limit)
        self._held = self._next_block()
        self._dialect = _sniff_delimiter((self._held and self._held[0]) or "")
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
                    damage.last_line = max(damage.last_line, row.last_line)
                elif row.last_line > damaged_to:  # else it is a piece of the damage before
                    ordinal = row.ordinal = ordinal + 1
                    if row.quoting:
                        damage = row
                    else:
                        yield row
                continue
            if damage:
                yield damage
                damaged_to = damage.last_line
                damage = None
            ordinal = row.ordinal = ordinal + 1
            yield row
        if damage:
            yield damage

    def _parsed(self) -> Iterator[Row | BadRow]:
        """Records as the parser sees them, the pieces of damaged ones too; their ordinals are not yet known."""
        width = len(self.columns)
        while True:
            before = self._line
            reader = csv.reader(self._lines(), delimiter=self._dialect, strict=True)
            try:
                for cells in reader:
                    end = before + reader.line_num
                    if cells:
                        plain = len(cells) == width and not self._look_closer
                        yield Row(0, self._line, cells) if plain else self._checked(cells, end - 1)
                    self._line = end
                return
            except (csv.Error, _RecordTooLong) as error:
                last = before + reader.line_num - 1
                yield BadRow(0, self._line, last, self._explain(error), quoting=True)
                self._line += 1  # what it swallowed is read again

    def _checked(self, cells: list[str], last: int) -> Row | BadRow:
        width = len(self.columns)
        if len(cells) != width:
            return BadRow(0, self._line, last, f"has {len(cells)} cells where the header has {width}")
        if max(map(len, cells)) > self._cell_limit:
            return BadRow(0, self._line, last, f"a cell is longer than {self._cell_limit} characters")
        repairs = {what for line in range(self._line, last + 1) for what in self._repairs.get(line, ())}
        return Row(0, self._line, cells, tuple(sorted(repairs)))

    def _explain(self, error: Exception) -> str:
        if isinstance(error, _RecordTooLong) or "iterator should return strings" in str(error):
            return f"longer than {self._record_limit} characters: a quote that is never closed, or a cell too large"
        if "unexpected end of data" in str(error):
            return "a quote opened here is never closed"
        return "a quote is not closed or not doubled"

    def _lines(self) -> Iterator[str]:
        """The lines from the record's first on."""
        return cast("Iterator[str]", chain.from_iterable(self._blocks()))

    def _blocks(self) -> Iterator[list[str | None]]:
        yield self._unfinished()
        while block := self._next_block():
            yield block

    def _unfinished(self) -> list[str | None]:
        """Drop what is read; what is held then begins with the record."""
        self._held = self._held[self._line - self._first :]
        self._first = self._line
        return self._held

    def _next_block(self) -> list[str | None]:
        """Further lines, which are held as well. Raises _RecordTooLong when the record is without them."""
        unfinished = self._unfinished()
        chars = sum(len(line or "") for line in unfinished)
        if chars > self._record_limit:
            raise _RecordTooLong
        text = self._text.read(min(BLOCK_CHARS, self._record_limit))
        rest = self._text.readline(self._record_limit + 1) if text and not text.endswith("\n") else ""
        text += rest
        first = self._first + len(unfinished)
        self._repairs = {line: what for line, what in self._repairs.items() if line >= self._first}
        lines: list[str | None] = [*io.StringIO(text, newline="")]
        if "\0" in text or (not text.isascii() and mend(text) is not text):
            lines = [self._mended(number, line or "") for number, line in enumerate(lines, start=first)]
        if len(rest) > self._record_limit and not rest.endswith(("\n", "\r")):
            lines[-1] = None
            self._skip_rest_of_line()
        self._look_closer = bool(self._repairs) or chars + len(text) > self._cell_limit
        self._held = unfinished + lines
        return lines

    def _mended(self, number: int, line: str) -> str:
        mended = mend(line)
        if mended is not line:
            self._repairs.setdefault(number, []).append("charset_cp1252")
        if "\0" in mended:
            self._repairs.setdefault(number, []).append("nul_removed")
        return mended.replace("\0", "")

    def _skip_rest_of_line(self) -> None:
        while (line := self._text.readline(self._record_limit)) and not line.endswith(("\n", "\r")):
            pass

    def _read_header(self) -> tuple[str, ...]:
        reader = csv.reader(self._lines(), delimiter=self._dialect, strict=True)
        try:
            for cells in reader:
                self._line = 1 + reader.line_num
                if any(cells):
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


class Places(dict[str, int]):
    """Column -> its place in a row's cells; a column that the table does not have stands behind them and is empty."""

    def __missing__(self, column: str) -> int:
        return -1


def _sniff_delimiter(text: str) -> str:
    """The commonest delimiter of the first line outside quotes; a comma when there is none."""
    bare = re.sub(r'"[^"]*"', "", text.lstrip("\r\n").partition("\n")[0])
    return max(_DELIMITERS, key=bare.count)


def _allow_cells_of(chars: int) -> None:
    """Raise the csv module's limit, which is one for the whole process; the real limit is kept per record."""
    if csv.field_size_limit() < chars:
        csv.field_size_limit(chars)
