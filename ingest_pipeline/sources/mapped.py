"""Tables of any system, as a ``mapping.yaml`` beside them describes their columns. ``docs/sources.md`` has an example.

system: acme-erp                 # names the ids' name space; default: the folder's name
files:
  - file: customers*.csv         # a name or pattern; CSV with any delimiter, TSV
    kind: customer               # what the documents are called; default: record
    id: customer_no              # the person's own id
    email: [mail, mail_private]  # one column or several
    phone: mobile
    name: [first, last]
    fields: [town, {sector: Industry}]   # columns that become "Label: value" lines, with a label if need be
    text: remarks                # columns that hold longer texts
    time: changed_on             # when the row's content held
    time_format: "%d.%m.%Y"      # only where the dates are not ISO
    record_id: entry_no          # the row's own id, where a person has several rows
    written_by: staff            # whose words the texts are: staff (about the person, the default) or person
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatch
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from ingest_pipeline.documents import Identifier, Item, Json, Person, Record, Rejected, Role, Skipped, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.sources.base import Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.columns import Layout
from ingest_pipeline.sources.crm_mail import plain_text
from ingest_pipeline.sources.crm_records import NOBODY, Moments, clean_name, email_addresses, is_nobody
from ingest_pipeline.sources.crm_tables import TableFile, open_tables
from ingest_pipeline.sources.crm_text import Fields, TextBuilder
from ingest_pipeline.sources.phones import certain_phone
from ingest_pipeline.sources.tabular import Row, Table, index_of

MAPPING = "mapping.yaml"
MAX_MAPPING_BYTES = 100_000
SUFFIXES = (".csv", ".tsv", ".txt", ".tab")
NO_ID = "neither an id nor an e-mail address says whose the row is"
_ROLES = {"staff": Role.NOTE, "person": Role.SUBJECT}
_COLUMNS = ("id", "record_id", "email", "phone", "name", "text", "time")
_KEYS = ("file", "kind", *_COLUMNS, "fields", "time_format", "written_by")


@dataclass(frozen=True, slots=True)
class TableMapping:
    """What the columns of the tables named ``pattern`` are. ``fields`` are (column, label)."""

    pattern: str
    columns: dict[str, tuple[str, ...]]
    fields: tuple[tuple[str, str], ...]
    kind: str = "record"
    time_format: str = ""
    role: Role = Role.NOTE


@dataclass(frozen=True, slots=True)
class Mapping:
    """A ``mapping.yaml``; ``file`` is its name in the inbox."""

    file: str
    system: str
    tables: tuple[TableMapping, ...]

    def of(self, name: str) -> TableMapping | None:
        leaf = name.rpartition("/")[2]
        return next((table for table in self.tables if fnmatch(leaf, table.pattern)), None)


def is_mapping(name: str) -> bool:
    return name.rpartition("/")[2] == MAPPING


def detect(file: SourceFile, head: bytes) -> bool:
    """A ``mapping.yaml``, and every table beside one."""
    return is_mapping(file.name) or (file.mapped and file.name.lower().endswith((*SUFFIXES, ".zip")))


def read(export: Export, options: ReadOptions) -> Iterator[Item]:
    """The items of the tables that the folder's mapping names. Raises UnreadableFile for a wrong mapping."""
    described = next((file for file in export.files if is_mapping(file.name)), None)
    if described is None:
        raise UnreadableFile(f"{export.files[0].name}: no {MAPPING} beside it any more")
    mapping = load_mapping(described)
    others = tuple(file for file in export.files if not is_mapping(file.name))
    used: set[str] = set()
    with open_tables(Export(export.format, export.source, others), options, SUFFIXES) as tables:
        yield from tables.skipped
        now = datetime.now(UTC)
        for file in tables.files:
            table_mapping = mapping.of(file.member or file.file)
            if table_mapping is None:
                yield from tables.counted(file, options, f"not_in_mapping: {file.name}")
                continue
            used.add(table_mapping.pattern)
            yield from tables.items(file, options, _reader_for(file, mapping, table_mapping, options, now))
        yield from tables.refused
    for table_mapping in mapping.tables:
        if table_mapping.pattern not in used:
            yield Rejected(mapping.file, f"file: {table_mapping.pattern}", "no such table beside the mapping")


# -- the mapping itself ------------------------------------------------------------------------------------------------


def load_mapping(file: SourceFile) -> Mapping:
    """The mapping in a file. Raises UnreadableFile, in one line that names the file and the key."""
    with file.opener() as stream:
        content = stream.read(MAX_MAPPING_BYTES + 1)
    if len(content) > MAX_MAPPING_BYTES:
        raise UnreadableFile(f"{file.name}: larger than {MAX_MAPPING_BYTES} bytes")
    try:
        # Texts only: a column may be called no, on or 2024.
        values = yaml.load(content, yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        raise UnreadableFile(f"{file.name}: not YAML" + (f" at line {mark.line + 1}" if mark else "")) from None
    if not isinstance(values, dict) or not isinstance(values.get("files"), list) or not values["files"]:
        raise UnreadableFile(f"{file.name}: files: a list of tables is needed")
    unknown = sorted(str(key) for key in set(values) - {"system", "files"})
    if unknown:
        raise UnreadableFile(f"{file.name}: {unknown[0]}: unknown key; known are system, files")
    folder = file.name.rpartition("/")[0].rpartition("/")[2]
    system = values.get("system", folder)
    if not isinstance(system, str) or not system.strip():
        raise UnreadableFile(f"{file.name}: system: must be a name")
    return Mapping(file.name, system.strip(), tuple(_table(file.name, each) for each in values["files"]))


def _table(name: str, values: Any) -> TableMapping:
    if not isinstance(values, dict) or not isinstance(values.get("file"), str):
        raise UnreadableFile(f"{name}: files: each needs file, the name of a table")
    where = f"{name}: {values['file']}"
    if unknown := sorted(str(key) for key in values.keys() - set(_KEYS)):
        raise UnreadableFile(f"{where}: {unknown[0]}: unknown key; known are {', '.join(_KEYS)}")
    columns = {key: _names(f"{where}: {key}", values[key]) for key in _COLUMNS if key in values}
    if "id" not in columns and "email" not in columns:
        raise UnreadableFile(f"{where}: id: name the column with the person's id, or one with their email")
    role = values.get("written_by", "staff")
    if role not in _ROLES:
        raise UnreadableFile(f"{where}: written_by: must be staff or person")
    kind, time_format = values.get("kind", "record"), values.get("time_format", "")
    for key, value in (("kind", kind), ("time_format", time_format)):
        if not isinstance(value, str):
            raise UnreadableFile(f"{where}: {key}: must be a text")
    fields = _fields(f"{where}: fields", values.get("fields", []))
    return TableMapping(values["file"], columns, fields, kind, time_format, _ROLES[role])


def _names(where: str, value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) for name in names):
        raise UnreadableFile(f"{where}: must be a column or a list of columns")
    return tuple(names)


def _fields(where: str, value: Any) -> tuple[tuple[str, str], ...]:
    entries = value if isinstance(value, list) else [value]
    fields: list[tuple[str, str]] = []
    for entry in entries:
        pairs = list(entry.items()) if isinstance(entry, dict) else [(entry, entry)]
        if not all(isinstance(part, str) for pair in pairs for part in pair):
            raise UnreadableFile(f"{where}: must be columns, or column: label")
        fields += [(column, label.replace(":", "").strip()) for column, label in pairs]
    return tuple(fields)


# -- rows --------------------------------------------------------------------------------------------------------------


def _reader_for(
    file: TableFile, mapping: Mapping, table_mapping: TableMapping, options: ReadOptions, now: datetime
) -> Callable[[Table], Callable[[Row], Item]]:
    def reader_for(table: Table) -> Callable[[Row], Item]:
        known = index_of(table.columns)
        for key, names in (*table_mapping.columns.items(), ("fields", [column for column, _ in table_mapping.fields])):
            for name in names:
                if name.strip().lower() not in known:
                    raise UnreadableFile(f"{mapping.file}: {table_mapping.pattern}: {key}: no column {name!r} there")
        return _RowReader(file, table, mapping, table_mapping, options, now).read

    return reader_for


class _RowReader:
    def __init__(
        self,
        file: TableFile,
        table: Table,
        mapping: Mapping,
        table_mapping: TableMapping,
        options: ReadOptions,
        now: datetime,
    ) -> None:
        self._file, self._table, self._mapping, self._described = file, table, mapping, table_mapping
        self._options, self._now, self._zone = options, now, ZoneInfo(options.timezone)
        at = index_of(table.columns)
        self._places = {
            key: [at[name.strip().lower()] for name in names] for key, names in table_mapping.columns.items()
        }
        labels = {column.strip().lower(): label for column, label in table_mapping.fields}
        excluded = options.exclude_columns
        self._fields = Fields(table.columns, Layout({}, {}), labels, excluded)
        self._texts = [
            (name, at[name.strip().lower()])
            for name in table_mapping.columns.get("text", ())
            if name.lower() not in excluded
        ]
        self._times = list(zip(table_mapping.columns.get("time", ()), self._places.get("time", ()), strict=True))
        self._moments = Moments(now, UTC if self._zone.key == "UTC" else self._zone, options.date_order)
        self._has_name = "name" in table_mapping.columns and "name" not in excluded
        self._describes = bool({"email", "phone", "name"} & table_mapping.columns.keys()) or bool(table_mapping.fields)

    def read(self, row: Row) -> Item:
        cells = [*map(str.strip, row.cells)]
        native = " ".join(self._values(cells, "id"))
        emails = email_addresses(*self._values(cells, "email"))
        if not native and not emails:
            return self._file.rejected(row, NO_ID)
        if emails and any(self._options.is_internal(email.value) for email in emails):
            return Skipped(self._file.file, "internal_person")
        name = clean_name(*self._values(cells, "name"))
        text = TextBuilder()
        if name and self._has_name:
            text.field("Name", name, "name")
        self._fields.add(text, cells)
        for column, place in self._texts:
            text.text(plain_text(cells[place]), self._described.role, column)
        metadata: dict[str, Json] = {"system": self._mapping.system, "id": native}
        metadata.update(self._file.lineage(row, self._table))
        content, segments = text.finish(metadata)
        person = self._person(cells, native, emails, name)
        if name is None and not content and is_nobody(person, content, self._naming(cells)):
            return self._file.rejected(row, NOBODY)
        if not content and not person.claims:
            return Skipped(self._file.file, "no_text")
        at = self._moment(cells, metadata)
        return Record(
            origin="mapped",
            kind=self._described.kind,
            native_id=self._native(cells, person, content, at),
            subjects=(person,),
            text=content,
            file=self._file.file,
            position=self._file.position(row),
            segments=segments,
            occurred_at=at,
            modified_at=at,
            metadata=metadata,
        )

    def _person(self, cells: Sequence[str], native: str, emails: tuple[Identifier, ...], name: str | None) -> Person:
        phones = (certain_phone(cell, self._options.phone_region) for cell in self._values(cells, "phone"))
        identifiers = (*emails, *(phone for phone in phones if phone))
        if not native:
            return Person(emails[0], "email", name, identifiers)
        key = Identifier("mapped", f"{self._mapping.system}/{native}")
        return Person(key, f"mapped:{self._mapping.system}", name, identifiers, claims=self._describes)

    def _native(self, cells: Sequence[str], person: Person, content: str, at: datetime | None) -> str:
        """The row's id; without one a row with fields is the person's only one, an entry is known by what it says."""
        prefix = f"{self._mapping.system}/{self._described.kind}"
        if own := "/".join(self._values(cells, "record_id")):
            return f"{prefix}/{own}"
        if self._described.fields or "text" not in self._described.columns:
            return f"{prefix}/{person.key.value}"
        digest = hashlib.sha256(f"{at}\n{content}".encode("utf-8", "replace")).hexdigest()[:24]
        return f"{prefix}/{person.key.value}/{digest}"

    def _moment(self, cells: Sequence[str], metadata: dict[str, Json]) -> datetime | None:
        for column, place in self._times:
            moment, warning = self._read_moment(cells[place])
            if warning:
                metadata.setdefault("warnings", []).append(f"{column}: {warning}")
            if moment:
                metadata |= {"date_source": column, "zone": self._zone.key}
                return moment
        return None

    def _read_moment(self, cell: str) -> tuple[datetime | None, str | None]:
        if self._described.time_format and cell:
            try:
                cell = datetime.strptime(cell, self._described.time_format).isoformat()  # noqa: DTZ007 - zone set below
            except ValueError:
                return None, "unreadable"
            cell = cell.removesuffix("T00:00:00")
        return self._moments[cell]

    def _naming(self, cells: Sequence[str]) -> list[str]:
        if self._options.exclude_columns:
            return []
        return [cells[place] for key in ("name", "email", "phone") for place in self._places.get(key, ())]

    def _values(self, cells: Sequence[str], key: str) -> list[str]:
        return [cells[place] for place in self._places.get(key, ()) if cells[place]]


READER = Reader(format="mapped", source=Source.CRM, detect=detect, read=read, by_folder=True)
