"""A CRM record's text: ``Label: value`` lines and paragraphs, with whose words each of them holds."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

from ingest_pipeline.documents import Json, Role, Segment
from ingest_pipeline.sources.columns import TRUE, UNCHECKED, Layout
from ingest_pipeline.sources.crm_records import is_meaningful, says_something
from ingest_pipeline.sources.crm_withheld import holds_numbers, is_withheld, may_hold_number, without_numbers
from ingest_pipeline.sources.tabular import index_of

_FIELD = Role.FIELD


class TextBuilder:
    """Line breaks become ``\\n``; numbers of papers, cards and accounts are left out and counted in ``withheld``.

    ``quoted_left_out`` is for whoever adds texts without what they quote.
    """

    __slots__ = ("_length", "_parts", "_segments", "quoted_left_out", "withheld")

    def __init__(self) -> None:
        self.withheld = 0
        self.quoted_left_out = False
        self._parts: list[str] = []
        self._segments: list[Segment] = []
        self._length = 0

    def field(self, label: str, value: str, column: str) -> None:
        """One ``Label: value`` line. The value keeps its own line breaks."""
        self.fields([(f"{label}: {_lines(value)}", column)])

    def fields(self, lines: Iterable[tuple[str, str]]) -> None:
        """(``Label: value``, column), as they are."""
        parts, segments, end = self._parts, self._segments, self._length
        for line, column in lines:
            start = end
            if parts:
                parts.append("\n")
                start += 1
            parts.append(line)
            end = start + len(line)
            segments.append(Segment(start, end, _FIELD, None, column))
        self._length = end

    def text(
        self,
        value: str,
        role: Role,
        column: str,
        speaker: str | None = None,
        at: datetime | None = None,
        label: str = "",
    ) -> None:
        """A paragraph after a blank line; nothing for an empty one. ``label`` stands before it and is nobody's."""
        if not value or not (text := _lines(value)):
            return
        if may_hold_number(text):
            text, withheld = without_numbers(text)
            self.withheld += withheld
        start = self._length
        if self._parts:
            self._parts.append("\n\n")
            start += 2
        if label:
            self._parts.append(f"{label}: ")
            start += len(label) + 2
        self._parts.append(text)
        self._length = end = start + len(text)
        self._segments.append(Segment(start, end, role, speaker, column, at))

    def build(self) -> tuple[str, tuple[Segment, ...]]:
        return "".join(self._parts), tuple(self._segments)

    def finish(self, metadata: dict[str, Json]) -> tuple[str, tuple[Segment, ...]]:
        """``build``; what was withheld is counted in the metadata, and that quoted text was left out is noted."""
        if self.withheld:
            metadata["withheld"] = self.withheld
        if self.quoted_left_out:
            metadata["quoted_left_out"] = True
        return self.build()


REMEMBERED_LINES = 500
REMEMBERED_CHARS = 200
"""How many values of one column have their lines kept, and up to which length: few columns differ in every row."""

_NOTHING, _WITHHELD = "", "\0"


class _Line:
    """A column that is rendered: its place in the row, its label, and whether it is a check box.

    ``shared``: other columns have this label too. ``known``: value -> its line, _NOTHING or _WITHHELD.
    """

    __slots__ = ("column", "custom", "known", "label", "place", "shared", "when_true")

    def __init__(self, place: int, column: str, label: str, when_true: bool, custom: bool) -> None:
        self.place = place
        self.column = column
        self.label = label
        self.when_true = when_true
        self.custom = custom
        self.shared = False
        self.known: dict[str, str] = {"": _NOTHING}

    def of(self, cell: str) -> str:
        """The cell's line, worked out once per value."""
        found = self.known.get(cell)
        if found is None:
            found = self._of(cell.strip())
            if len(cell) <= REMEMBERED_CHARS:
                if len(self.known) > REMEMBERED_LINES:
                    self.known = {"": _NOTHING}
                self.known[cell] = found
        return found

    def _of(self, value: str) -> str:
        lowered = value.lower() if self.when_true or self.custom else ""
        if self.when_true:
            return f"{self.label}: yes" if lowered in TRUE else _NOTHING
        if self.custom and lowered in _BOXES:
            return _NOTHING if lowered in UNCHECKED else f"{self.label}: yes"
        if not says_something(value, self.label):
            return _WITHHELD if is_withheld(value) else _NOTHING
        return f"{self.label}: {_lines(value)}"


class Fields:
    """Which columns of a table are rendered, in order: the layout's, its check boxes, then the company's own.

    columns: the header, and joined columns behind it; custom: lower-case column -> label of the company's own columns;
    exclude: labels or columns, lower case, that are left out; written: the columns as the header writes them.
    """

    def __init__(
        self,
        columns: Sequence[str],
        layout: Layout,
        custom: Mapping[str, str],
        exclude: Collection[str] = (),
        written: Sequence[str] = (),
    ) -> None:
        places = index_of(columns)
        written = (*written, *columns[len(written) :])
        planned = [*_standard(layout.labels, False), *_standard(layout.when_true, True)]
        known = {*layout.labels, *layout.when_true, *layout.texts}
        if layout.custom:
            planned += [(column, label, False, True) for column, label in custom.items() if column not in known]
        self._lines: list[_Line] = []
        self._withheld: list[int] = []
        for column, label, when_true, is_custom in planned:
            if column not in places or column in exclude or label.lower() in exclude:
                continue
            if is_custom and holds_numbers(label):
                self._withheld.append(places[column])
            elif not is_custom or is_meaningful(label):
                self._lines.append(_Line(places[column], written[places[column]], label, when_true, is_custom))
        labels = Counter(line.label for line in self._lines)
        for line in self._lines:
            line.shared = labels[line.label] > 1

    def add(self, text: TextBuilder, cells: Sequence[str]) -> None:
        """The lines that say something in this row; each label once."""
        said: set[str] = set()
        lines: list[tuple[str, str]] = []
        for line in self._lines:
            cell = cells[line.place]
            found = line.of(cell) if cell else _NOTHING
            if not found or line.label in said:
                continue
            if found == _WITHHELD:
                text.withheld += 1
                continue
            if line.shared:
                said.add(line.label)
            lines.append((found, line.column))
        text.fields(lines)
        for place in self._withheld:
            text.withheld += bool(cells[place].strip())


_BOXES = UNCHECKED | {"true"}


def _standard(labels: Mapping[str, str], when_true: bool) -> Iterable[tuple[str, str, bool, bool]]:
    return ((column, label, when_true, False) for column, label in labels.items())


def _lines(value: str) -> str:
    if "\r" in value:
        value = value.replace("\r\n", "\n").replace("\r", "\n")
    return value.strip()
