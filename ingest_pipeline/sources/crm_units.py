"""Exports that come as JSON, JSON Lines or CSV alike: their objects as mappings, and what is made of the values.

JSON shapes: a list of objects, an object that holds lists of them (an API's answer), one object a line, one object.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from ingest_pipeline.documents import Json, Rejected
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.archives import ZIP_MAGIC
from ingest_pipeline.sources.base import HEAD_BYTES, ReadOptions, SourceFile
from ingest_pipeline.sources.charsets import sanitized
from ingest_pipeline.sources.columns import Layout
from ingest_pipeline.sources.crm_records import readable_label
from ingest_pipeline.sources.crm_tables import Lookup, TableFile, Tables, zip_heads
from ingest_pipeline.sources.crm_text import Fields, TextBuilder
from ingest_pipeline.sources.json_stream import Broken, JsonCursor, NotJson, parse_json
from ingest_pipeline.sources.tabular import Row, Table, header_of

SUFFIXES = (".csv", ".json", ".jsonl", ".ndjson")
MAX_LINE_BYTES = 64_000_000
"""Of one object a line; a longer one is passed over."""

_KEY = re.compile(r'"([A-Za-z_][\w .-]{0,60})"\s*:')

Values: TypeAlias = Mapping[str, Json]


class Unit(NamedTuple):
    """One object. ``values``: JSON as it is; columns of a CSV as ``first_name``. ``list``: the list it stands in."""

    values: Values
    list: str
    position: str
    lineage: Mapping[str, Json]


def name_of(column: str) -> str:
    """``First Name`` -> ``first_name``."""
    return re.sub(r"\W+", "_", column.strip().lower()).strip("_")


def heads(file: SourceFile, head: bytes) -> Iterator[frozenset[str]]:
    """The keys or column names at the start of a file, or of each of the first tables of a zip. Never raises."""
    found = zip_heads(file, SUFFIXES) if head.startswith(ZIP_MAGIC) else [(file.name, head)]
    for _, start in found:
        if is_json(start):
            yield frozenset(_KEY.findall(_decoded(start)))
        elif columns := header_of(start):
            yield frozenset(name_of(column) for column in columns)


def is_json(head: bytes) -> bool:
    return _decoded(head[:64]).lstrip("\ufeff \t\r\n")[:1] in ("{", "[")


def _decoded(head: bytes) -> str:
    encoding = json.detect_encoding(head) if head else "utf-8"
    return head.decode(encoding, "replace")


def read_units(
    tables: Tables, file: TableFile, options: ReadOptions, lists: Collection[str]
) -> Iterator[Unit | Rejected]:
    """The objects of one file. ``lists``: keys under which an API's answer holds lists of objects.

    A file that cannot be opened is noted in ``tables.refused``; one that breaks off ends with a Rejected.
    """
    try:
        with file.opener() as stream:
            head = stream.read(HEAD_BYTES)
    except UnreadableFile as error:
        tables.refused.append(Rejected(file.file, file.member or "file", str(error)))
        return
    if not is_json(head):
        yield from tables.items(file, options, lambda table: _row_reader(file, table))
        return
    tables.readable += 1
    try:
        yield from _lines(file) if _is_lines(head) else _document(file, lists)
    except UnreadableFile as error:
        yield Rejected(file.file, file.member or "file", str(error))


def _row_reader(file: TableFile, table: Table) -> Callable[[Row], Unit]:
    names = [name_of(column) for column in table.columns]

    def read(row: Row) -> Unit:
        # The first of two columns with one name counts.
        values = dict(zip(reversed(names), reversed(row.cells), strict=True))
        return Unit(values, "", file.position(row), file.lineage(row, table))

    return read


def _is_lines(head: bytes) -> bool:
    """Whether each line holds an object: the first one does, whole, and has an id of its own or is not alone."""
    first, newline, rest = head.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")
    if b"\0" in first or not first.startswith(b"{"):
        return False
    if not newline and len(head) >= HEAD_BYTES:
        # A line longer than the head: an object has its id before lists of others.
        return bool(re.match(rb'\{(?:"[\w.]+":\s*(?:"[^"\\]*"|[^"\[{,]+),\s*){0,3}"id":', first))
    followed = rest.lstrip().startswith(b"{")
    with suppress(NotJson):
        value = parse_json(first)
        return isinstance(value, dict) and ("id" in value or followed)
    return followed and first.rstrip().endswith(b"}")


def _lines(file: TableFile) -> Iterator[Unit | Rejected]:
    with file.opener() as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            position = f"{file.member} line {number}" if file.member else f"line {number}"
            if len(line) > MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE_BYTES)
                yield Rejected(file.file, position, f"larger than {MAX_LINE_BYTES} bytes")
                continue
            line = line.removeprefix(b"\xef\xbb\xbf").strip()
            if not line:
                continue
            try:
                value = parse_json(line)
            except NotJson as error:
                yield Rejected(file.file, position, str(error))
                continue
            yield _unit(file, value, "", position)


def _document(file: TableFile, lists: Collection[str]) -> Iterator[Unit | Rejected]:
    with file.opener() as stream:
        cursor = JsonCursor(stream)
        if cursor.peek() == "[":
            yield from _elements(file, cursor, "")
        else:
            rest: dict[str, Json] = {}
            found = False
            for key in cursor.members():
                if key in lists and "id" not in rest and cursor.peek() == "[":
                    found = True
                    yield from _elements(file, cursor, key)
                elif not found:
                    value = cursor.value()
                    if isinstance(value, Broken):
                        yield Rejected(file.file, f"{file.member or 'object'}, field {len(rest) + 1}", value.reason)
                        value = None
                    rest[key] = value
            if not found and "id" in rest:
                yield _unit(file, rest, "", file.member or "object")
        if cursor.peek():
            position = f"{file.member or file.name} character {cursor.position}"
            yield Rejected(file.file, position, "what follows the first JSON value is not read")
        if cursor.problem:
            position = f"{file.member or file.name} character {cursor.position}"
            yield Rejected(file.file, position, cursor.problem)


def _elements(file: TableFile, cursor: JsonCursor, key: str) -> Iterator[Unit | Rejected]:
    prefix = f"{file.member} " if file.member else ""
    name = key or "element"
    for number, value in enumerate(cursor.elements(dict), start=1):
        yield _unit(file, value, key, f"{prefix}{name} {number}")


def _unit(file: TableFile, value: Json | Broken, key: str, position: str) -> Unit | Rejected:
    if isinstance(value, Broken):
        return Rejected(file.file, position, value.reason)
    if not isinstance(value, dict):
        return Rejected(file.file, position, "not a JSON object")
    return Unit(value, key, position, {"archive_member": file.member} if file.member else {})


@dataclass(slots=True)
class Batch:
    """Pairs for a lookup that wait to be written. ``seen``: objects of the file so far."""

    joins: Lookup
    seen: int = 0
    _pairs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _chars: int = 0

    def add(self, space: str, key: str, value: str) -> None:
        """Nothing for an empty key or value."""
        if key and value:
            self._pairs.setdefault(space, []).append((key, value))
            self._chars += len(value)
            if self._chars > 4_000_000:
                self.flush()

    def flush(self) -> None:
        for space, pairs in self._pairs.items():
            self.joins.add(space, pairs)
        self._pairs.clear()
        self._chars = 0


def load_units(
    tables: Tables,
    joins: Lookup,
    options: ReadOptions,
    lists: Collection[str],
    keep: Callable[[Unit, Batch], bool],
) -> None:
    """Fill the lookup from all files. ``keep`` returns False when the rest of a file need not be looked at."""
    batch = Batch(joins)
    for file in tables.files:
        batch.seen = 0
        for unit in read_units(tables, file, options, lists):
            if isinstance(unit, Rejected):
                continue
            batch.seen += 1
            if not keep(unit, batch):
                break
    batch.flush()
    joins.close_for_writing()
    # What cannot be read is told when the items are read.
    tables.refused = [item for item in tables.refused if item.position == "archive"]
    tables.readable = 0


# -- values ------------------------------------------------------------------------------------------------------------


def text_in(values: Values, *keys: str) -> str:
    """The first of the keys that holds a text, a number or a truth value, as text; else ""."""
    for key in keys:
        value = values.get(key)
        if value is None:
            continue
        if isinstance(value, str):
            value = value.strip()
            if value:
                return sanitized(value)
        elif isinstance(value, bool):
            return "true" if value else "false"
        elif isinstance(value, int | float):
            return str(value)
    return ""


def object_in(values: Values, key: str) -> Values:
    """The object under the key, which a CSV holds as JSON text; {} for anything else."""
    value = values.get(key)
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with suppress(NotJson):
            value = parse_json(value)
    return value if isinstance(value, dict) else {}


def list_in(values: Values, key: str) -> Sequence[Json]:
    """The list under the key, which a CSV holds as JSON text; a lone value is a list of one."""
    value = values.get(key)
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(NotJson):
            value = parse_json(value)
    if isinstance(value, list):
        return value
    return [value] if value else []


def id_in(values: Values, *keys: str) -> str:
    """An id, which may stand in an object: ``{"requester": {"id": 7}}``, ``{"person_id": {"value": 7}}``."""
    for key in keys:
        value = values.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        found = text_in(value, "id", "value") if isinstance(value, dict) else text_in(values, key)
        if found:
            return found.removesuffix(".0")
    return ""


def add_fields(text: TextBuilder, values: Values, layout: Layout, own: Values, exclude: frozenset[str]) -> None:
    """``Label: value`` lines of an object: the layout's keys, then the company's ``own`` fields."""
    keys = tuple(key for key in own if isinstance(key, str))
    cells = [text_in(values, key) for key in layout.labels] + [text_in(values, key) for key in layout.when_true]
    _plan(layout, keys, exclude).add(text, [*cells, *(text_in(own, key) for key in keys)])


@lru_cache(maxsize=16)  # the objects of one export have the same fields
def _plan(layout: Layout, own: tuple[str, ...], exclude: frozenset[str]) -> Fields:
    keys = (*layout.labels, *layout.when_true)
    custom = {f"own.{key}": readable_label(key) for key in own}
    return Fields([*keys, *custom], layout, custom, exclude, [*keys, *own])
