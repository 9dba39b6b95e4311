"""Inspecting: what a sync would make of files, told without a database and without writing anything.

files ── which reader? ──▶ exports ── reader ──▶ counts, dates, rejections, doubts
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ingest_pipeline.changes import WHOLE
from ingest_pipeline.documents import Item, Record, Rejected, Source
from ingest_pipeline.errors import UnreadableFile
from ingest_pipeline.retention import cutoff_of, within
from ingest_pipeline.sources import registry
from ingest_pipeline.sources.base import HEAD_BYTES, Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.contents import describe
from ingest_pipeline.sources.locations import FolderOptions, Located, Place
from ingest_pipeline.tally import Tally

SHOWN_REJECTIONS = 20
_DECISIONS = ("date_order", "date_order_decided_by", "time_zone", "zone")
"""Keys of a record's metadata that tell how its dates were read."""

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A file that no reader takes. ``named`` is False for one of a folder: a sync lists it and goes on."""

    file: str
    what: str
    named: bool


@dataclass(slots=True)
class Inspection:
    """What one export holds: a file, or the files of a folder that are of one format; ``name`` is its or the folder's.

    ``people`` would have profiles, ``referred`` are persons that it only refers to. ``documents`` by kind counts those
    that differ, ``units`` what the source counts (messages). ``rejected`` by reason; ``rejections`` are the first of
    them. ``doubts`` by name: what readers noted on dates, charsets, ids. ``decisions``: how dates were read.
    """

    name: str
    format: str
    source: Source
    options: ReadOptions
    options_file: str | None
    files: list[str] = field(default_factory=list)
    bytes: int = 0
    people: int = 0
    referred: int = 0
    documents: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None
    undated: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    rejections: list[Rejected] = field(default_factory=list)
    doubts: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)

    def advice(self) -> list[str]:
        """What somebody should look at before a sync."""
        return [*_advice(self)]

    def to_json(self) -> dict[str, Any]:
        options = self.options
        return {
            "name": self.name,
            "format": self.format,
            "source": self.source.value,
            "files": self.files,
            "bytes": self.bytes,
            "people": self.people,
            "referred": self.referred,
            "documents": dict(self.documents),
            "units": dict(self.units),
            "first": self.first.isoformat() if self.first else None,
            "last": self.last.isoformat() if self.last else None,
            "undated": self.undated,
            "skipped": dict(self.skipped),
            "rejected": dict(self.rejected),
            "rejections": [{"file": r.file, "position": r.position, "reason": r.reason} for r in self.rejections],
            "doubts": dict(self.doubts),
            "decisions": dict(self.decisions),
            "advice": self.advice(),
            "options": {
                "file": self.options_file,
                "internal_domains": sorted(options.internal_domains),
                "timezone": options.timezone,
                "phone_region": options.phone_region,
                "date_order": options.date_order,
                "workspace": options.workspace,
                "exclude_columns": sorted(options.exclude_columns),
                "staff": sorted(options.staff),
            },
        }


@dataclass(slots=True)
class Report:
    """All that was inspected. ``wrong_settings``: what is wrong with which ``_source.yaml``; its folder is not read."""

    exports: list[Inspection] = field(default_factory=list)
    unknown: list[Unknown] = field(default_factory=list)
    wrong_settings: dict[str, str] = field(default_factory=dict)

    @property
    def is_unknown(self) -> bool:
        """A file that somebody named is of no known format, or nothing in their folders is."""
        return any(unknown.named for unknown in self.unknown) or not (self.exports or self.wrong_settings)

    @property
    def is_rejected(self) -> bool:
        return bool(self.unknown or self.wrong_settings) or any(export.rejected for export in self.exports)


@dataclass(slots=True)
class _Group:
    """Files that are told of together, and the exports they make for their reader."""

    name: str
    reader: Reader
    options: FolderOptions
    exports: dict[str, list[SourceFile]] = field(default_factory=dict)


def inspect(
    urls: Sequence[str],
    inbox: str,
    options: ReadOptions,
    limit: int | None = SHOWN_REJECTIONS,
    progress: Progress = lambda _name, _units: None,
) -> Report:
    """Read the files and folders at these paths or fsspec URLs as a sync would, and tell what is in them.

    ``limit``: how many rejections of an export are listed, None for all; all are counted. Memory does not grow with
    the files, but for their names and the rejections listed. Raises ConfigurationError for one that is not there.
    """
    report = Report()
    groups: dict[tuple[str, ...], _Group] = {}
    for url in urls:
        place = Place(url, inbox)
        for located in place.files():
            _sort_in(url, located, place, options, groups, report)
    for group in groups.values():
        report.exports.append(_inspect_group(group, limit, progress))
    return report


def _sort_in(
    url: str,
    located: Located,
    place: Place,
    general: ReadOptions,
    groups: dict[tuple[str, ...], _Group],
    report: Report,
) -> None:
    file = located.file
    try:
        with file.opener() as stream:
            head = stream.read(HEAD_BYTES)
        reader = registry.recognise(file, head, located.source)
    except OSError as error:
        report.unknown.append(Unknown(file.name, f"cannot be read: {_reason(error)}", located.named))
        return
    if reader is None:
        report.unknown.append(Unknown(file.name, _what_it_is(file, head, located), located.named))
        return
    unit = file.name.rpartition("/")[0] if reader.by_folder else file.name
    options = place.options(located, general)
    if options.problem:
        report.wrong_settings[options.file or ""] = options.problem
        return
    name = file.name if located.named else unit if reader.by_folder else url
    key = (reader.format, unit if reader.by_folder else name, options.file or "")
    group = groups.setdefault(key, _Group(name, reader, options))
    files = group.exports.setdefault(unit, [])
    if file.name not in {known.name for known in files}:
        files.append(file)


def _what_it_is(file: SourceFile, head: bytes, located: Located) -> str:
    return registry.misplaced(file, head, located.source) if located.source else describe(head)


def _inspect_group(group: _Group, limit: int | None, progress: Progress) -> Inspection:
    reader, options = group.reader, group.options.options
    inspection = Inspection(group.name, reader.format, reader.source, options, group.options.file)
    cutoff = cutoff_of(options.keep_days, reader.source, datetime.now(UTC))
    with ExitStack() as stack:
        people, documents = stack.enter_context(Tally()), stack.enter_context(Tally())
        for files in group.exports.values():
            inspection.files += [file.name for file in files]
            inspection.bytes += sum(file.size for file in files)
            for item in _items(Export(reader.format, reader.source, tuple(files)), reader, options):
                _count(inspection, within(item, cutoff), people, documents, limit)
                progress(item.file, 1)
        claimed = people.counts()
        inspection.people, inspection.referred = claimed["claims"], claimed[""]
        inspection.documents = documents.counts()
    return inspection


def _items(export: Export, reader: Reader, options: ReadOptions) -> Iterator[Item]:
    """The reader's items; what ends the reading of an export is its last rejection."""
    try:
        yield from reader.read(export, options)
    except UnreadableFile as error:
        name = export.files[0].name
        yield Rejected(name, WHOLE, str(error).removeprefix(f"{name}: "))
    except OSError as error:
        yield Rejected(export.files[0].name, WHOLE, f"cannot be read: {_reason(error)}")


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _count(inspection: Inspection, item: Item, people: Tally, documents: Tally, limit: int | None) -> None:
    if isinstance(item, Record):
        _count_record(inspection, item, people, documents)
    elif isinstance(item, Rejected):
        inspection.rejected[item.reason] += 1
        if limit is None or len(inspection.rejections) < limit:
            inspection.rejections.append(item)
    else:
        inspection.skipped[item.reason] += item.units


def _count_record(inspection: Inspection, record: Record, people: Tally, documents: Tally) -> None:
    for person in record.subjects:
        # "claims" sorts behind "": who is both is somebody with a profile.
        people.add("claims" if person.claims else "", str(person.key))
        if record.text:
            documents.add(record.kind, record.origin, record.native_id, str(person.key))
    inspection.units[record.kind] += record.units
    if record.text:
        moment = record.occurred_at
        if moment is None:
            inspection.undated += 1
        else:
            inspection.first = min(inspection.first or moment, moment)
            inspection.last = max(inspection.last or moment, moment)
    for doubt in record.metadata.get("warnings", ()):
        inspection.doubts[str(doubt)] += 1
    for name in _DECISIONS:
        if name in record.metadata:
            inspection.decisions[f"{name}: {record.metadata[name]}"] += 1


_ADVICE = (
    (("date_in_future", "in_the_future"), "dates in the future: kept without a date"),
    (("date_before_1980", "1970_or_before"), "dates of a clock that was never set (1970): kept without a date"),
    (("two_digit_year",), "years of two digits"),
)


def _advice(inspection: Inspection) -> Iterator[str]:
    for names, what in _ADVICE:
        count = sum(n for doubt, n in inspection.doubts.items() if doubt.endswith(names))
        if count:
            yield f"{count:,} {what}"
    unreadable = sum(n for doubt, n in inspection.doubts.items() if doubt.endswith(("unreadable", "unreadable_date")))
    if unreadable:
        yield f"{unreadable:,} dates that cannot be read: kept without a date{_order_hint(inspection)}"
    if inspection.decisions["date_order_decided_by: setting"]:
        order = inspection.options.date_order
        yield f"the dates read as day/month and as month/day alike; date_order: {order} in {inspection.options_file}"
    if inspection.undated:
        yield f"{inspection.undated:,} without a date: they never count as the latest"
    if inspection.source is Source.EMAIL and not inspection.options.internal_domains:
        yield "INGEST_INTERNAL_DOMAINS is not set: your own people's mail would make profiles of them"


def _order_hint(inspection: Inspection) -> str:
    if inspection.source is not Source.CRM:
        return ""
    order = inspection.options.date_order
    if order:
        return f", although date_order is {order}"
    return "; such as 03/04/2024 are read once date_order: dmy (or mdy) is in _source.yaml beside the files"
