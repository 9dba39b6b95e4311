"""A CRM record's text: ``Label: value`` lines and paragraphs, with whose words each of them holds."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from ingest_pipeline.documents import Json, Role, Segment
from ingest_pipeline.sources.columns import TRUE, UNCHECKED, Layout
from ingest_pipeline.sources.crm_records import is_meaningful, says_something
from ingest_pipeline.sources.crm_withheld import holds_numbers, is_withheld, may_hold_number, without_numbers
from ingest_pipeline.sources.tabular import index_of


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
        line = f"{label}: {_lines(value)}"
        start = self._length
        if self._parts:
            self._parts.append("\n")
            start += 1
        self._parts.append(line)
        self._length = end = start + len(line)
        self._segments.append(Segment(start, end, Role.FIELD, None, column))

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


class _Line(NamedTuple):
    """A column that is rendered: its place in the row, its label, and whether it is a check box."""

    place: int
    column: str
    label: str
    when_true: bool = False
    custom: bool = False


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

    def add(self, text: TextBuilder, cells: Sequence[str]) -> None:
        """The lines that say something in this row; each label once."""
        said: set[str] = set()
        for place, column, label, when_true, custom in self._lines:
            value = cells[place].strip()
            if not value or label in said:
                continue
            if when_true:
                if value.lower() not in TRUE:
                    continue
                value = "yes"
            elif custom and (lowered := value.lower()) in _BOXES:
                if lowered in UNCHECKED:
                    continue
                value = "yes"
            elif not says_something(value, label):
                text.withheld += is_withheld(value)
                continue
            said.add(label)
            text.field(label, value, column)
        for place in self._withheld:
            text.withheld += bool(cells[place].strip())


_BOXES = UNCHECKED | {"true"}


def _standard(labels: Mapping[str, str], when_true: bool) -> Iterable[tuple[str, str, bool, bool]]:
    return ((column, label, when_true, False) for column, label in labels.items())


def _lines(value: str) -> str:
    if "\r" in value:
        value = value.replace("\r\n", "\n").replace("\r", "\n")
    return value.strip()
