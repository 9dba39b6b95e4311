"""Reading: new and changed files of the inbox become documents. Unchanged files are not opened.

inbox ── what changed? ──▶ exports ── reader ──▶ batches of records ──▶ store
"""

import hashlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from ingest_pipeline.documents import Item, Record, Rejected, Skipped, Source
from ingest_pipeline.errors import ConfigurationError, UnreadableFile
from ingest_pipeline.retention import cutoff_of, within
from ingest_pipeline.sources import folder_options, registry
from ingest_pipeline.sources.base import HEAD_BYTES, Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.inbox import Inbox, sha256
from ingest_pipeline.store.documents import (
    Saved,
    begin_files,
    file_id,
    forget_file,
    load_files,
    save_files,
    save_records,
    save_rejections,
)
from ingest_pipeline.store.withdrawing import Named, withdraw

BATCH_RECORDS = 2_000
BATCH_CHARS = 8_000_000
"""A batch, which is one transaction, ends at whichever comes first."""

WHOLE = "file"
"""The position of a rejection that is about a file as a whole."""

SMALL_BYTES = 1_000_000
GROUP_EXPORTS = 500
"""Exports up to this size are read in groups of so many."""


@dataclass(slots=True)
class FileCounts:
    """What one file held. ``units`` by kind of record, ``skipped`` by reason; ``reader`` is what it was read with."""

    reader: str = ""
    units: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    rejected: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        return {
            "units": dict(self.units),
            "documents": self.documents,
            "rejected": self.rejected,
            "skipped": dict(self.skipped),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "FileCounts":
        return cls(
            units=Counter(values.get("units", {})),
            documents=values.get("documents", 0),
            rejected=values.get("rejected", 0),
            skipped=Counter(values.get("skipped", {})),
        )


@dataclass(slots=True)
class ReadReport:
    """What reading one source did. ``files`` counts those read, ``unchanged`` those that needed no reading.

    ``withdrawn`` counts documents about people whom their record no longer names. ``stopped`` says why the folder was
    not read: its ``_source.yaml`` is wrong.
    """

    source: Source
    stopped: str = ""
    files: int = 0
    unchanged: int = 0
    unrecognised: int = 0
    withdrawn: int = 0
    saved: Saved = field(default_factory=Saved)
    counts: FileCounts = field(default_factory=FileCounts)


Progress = Callable[[str, int], None]
"""Called with a file's name and how many more of its units were read."""


def read_source(
    engine: Engine,
    inbox: Inbox,
    source: Source,
    options: ReadOptions,
    run_id: str | None = None,
    progress: Progress = lambda _name, _units: None,
) -> ReadReport:
    """Read what is new in one source's folder. Reading again what was read before changes nothing.

    A wrong ``_source.yaml`` is a rejection: nothing of its folder is read, as it may say whose people are staff.
    """
    report = ReadReport(source)
    name = f"{source.value}/{folder_options.NAME}"
    try:
        options = inbox.options(source, options)
    except (ConfigurationError, OSError) as error:
        why = (error.strerror or "cannot be read") if isinstance(error, OSError) else str(error)
        report.stopped = f"{name}: {why.removeprefix(f'{name}: ')}; nothing in {source.value}/ was read"
        _reject_settings(engine, source, name, report, run_id)
        return report
    forget_file(engine, name)
    for group in _groups(_changed_exports(engine, inbox, source, options, report, run_id)):
        _read_group(engine, source, group, options, run_id, report, progress)
    return report


def _reject_settings(engine: Engine, source: Source, name: str, report: ReadReport, run_id: str | None) -> None:
    report.counts.rejected += 1
    row = _file_row(
        _Seen(SourceFile(name, 0, 0.0, io.BytesIO), None, None, "", changed=True), source, report.counts, run_id
    )
    begin_files(engine, [row])
    save_rejections(engine, [Rejected(name, WHOLE, report.stopped.removeprefix(f"{name}: "))], run_id)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file of the inbox with its reader, and whether its content changed."""

    file: SourceFile
    reader: Reader | None
    digest: str | None
    read_with: str
    changed: bool


@dataclass(frozen=True, slots=True)
class _Task:
    """An export to read, its files, and the ids of those of its folder that were read before, there still or not."""

    export: Export
    files: list[_Seen]
    earlier: frozenset[str] = frozenset()


def read_with(reader: Reader | None, options: ReadOptions, mapped: bool = False) -> str:
    """Identifies what decides a reader's output besides the file: a change makes the file be read again."""
    values = [getattr(options, option.name) for option in fields(options)]
    parts = [reader.format, reader.version] if reader else ["", registry_version()]
    parts += ["mapped"] if mapped else []
    parts += [sorted(value) if isinstance(value, frozenset) else value for value in values]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def registry_version() -> str:
    """Changes when a format is added: files that nobody recognised are then looked at again."""
    return ",".join(f"{reader.format}{reader.version}" for reader in registry.READERS)


def reader_name(reader: Reader) -> str:
    """The format and the reader's version, as documents keep it."""
    return f"{reader.format} {reader.version}"


def _changed_exports(
    engine: Engine, inbox: Inbox, source: Source, options: ReadOptions, report: ReadReport, run_id: str | None
) -> Iterator[_Task]:
    known = load_files(engine, source)
    groups: dict[tuple[str, str], list[_Seen]] = defaultdict(list)
    for file in inbox.files(source):
        try:
            seen = _look_at(engine, source, file, known.get(file_id(file.name)), options, report, run_id)
        except OSError as error:
            begin_files(engine, [_file_row(_Seen(file, None, None, "", changed=True), source, FileCounts(), run_id)])
            save_trouble(engine, file.name, error, report, run_id)
            continue
        if seen.reader:
            folder = file.name.rpartition("/")[0] if seen.reader.by_folder else file.name
            groups[seen.reader.format, folder].append(seen)
    earlier: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in known.values():
        reader = registry.BY_FORMAT.get(row.format)
        if reader is not None and reader.by_folder:
            earlier[row.format, row.name.rpartition("/")[0]].add(row.id)
    for (name, folder), files in sorted(groups.items()):
        if any(seen.changed for seen in files):
            report.files += len(files)
            export = Export(name, source, tuple(seen.file for seen in files))
            yield _Task(export, files, frozenset(earlier[name, folder]))
        else:
            report.unchanged += len(files)


def _look_at(
    engine: Engine,
    source: Source,
    file: SourceFile,
    known: Any,
    options: ReadOptions,
    report: ReadReport,
    run_id: str | None,
) -> _Seen:
    """Decide whether a file changed, without opening it when its size and time are as before."""
    if known is not None:
        reader = registry.BY_FORMAT.get(known.format)
        current = known.read_with == read_with(reader, options, file.mapped)
        # Some file systems keep no time; then only the content tells.
        same_stamp = known.size == file.size and known.mtime == file.mtime > 0
        digest = known.sha256 if same_stamp else sha256(file)
        if current and digest == known.sha256:
            if not same_stamp:
                save_files(engine, [{**known._mapping, "size": file.size, "mtime": file.mtime}])
            report.unrecognised += reader is None
            return _Seen(file, reader, digest, known.read_with, changed=False)
    else:
        digest = sha256(file)
    with file.opener() as stream:
        head = stream.read(HEAD_BYTES)
    reader = registry.detect(source, file, head)
    seen = _Seen(file, reader, digest, read_with(reader, options, file.mapped), changed=True)
    if reader is None:
        report.unrecognised += 1
        report.counts.rejected += 1
        begin_files(engine, [_file_row(seen, source, FileCounts(), run_id)])
        save_rejections(engine, [Rejected(file.name, WHOLE, _why_unread(file, head, source))], run_id)
        save_files(engine, [_file_row(seen, source, FileCounts(rejected=1), run_id)])
    return seen


def _why_unread(file: SourceFile, head: bytes, source: Source) -> str:
    """What a file of no format is, and what to do about it."""
    if file.name.endswith(f"/{folder_options.NAME}"):
        return f"settings hold for all of {source}/: put them into {source}/{folder_options.NAME}"
    formats = ", ".join(reader.format for reader in registry.READERS if reader.source is source)
    what = registry.misplaced(file, head, source)
    return f"{what}; not a format that is read from {source}/, known there: {formats}"


def _file_row(seen: _Seen, source: Source, counts: FileCounts, run_id: str | None) -> dict[str, Any]:
    return {
        "id": file_id(seen.file.name),
        "name": seen.file.name,
        "source": source.value,
        "format": seen.reader.format if seen.reader else None,
        "size": seen.file.size,
        "mtime": seen.file.mtime,
        "sha256": seen.digest,
        "read_with": seen.read_with,
        "counts": counts.to_json(),
        "read_at": datetime.now(UTC),
        "run_id": run_id,
    }


def _groups(tasks: Iterable[_Task]) -> Iterator[list[_Task]]:
    """Exports that share batches: many small files, such as a Maildir's, would cost a few transactions each.

    Those that were read before by the folder stand alone: what they no longer say is withdrawn.
    """
    group: list[_Task] = []
    for task in tasks:
        if task.earlier or sum(file.size for file in task.export.files) > SMALL_BYTES:
            yield [task]
            continue
        group.append(task)
        if len(group) == GROUP_EXPORTS:
            yield group
            group = []
    if group:
        yield group


def _read_group(
    engine: Engine,
    source: Source,
    group: list[_Task],
    options: ReadOptions,
    run_id: str | None,
    report: ReadReport,
    progress: Progress,
) -> None:
    """Read exports in batches. Their files count as read only when all of it was stored."""
    files = [seen for task in group for seen in task.files]
    counts = {seen.file.name: FileCounts(reader_name(seen.reader) if seen.reader else "") for seen in files}
    begin_files(engine, [_file_row(seen, source, counts[seen.file.name], run_id) for seen in files])
    unread: set[str] = set()

    def items() -> Iterator[Item]:
        for task in group:
            try:
                yield from _guarded(task.export, options)
            except OSError as error:
                unread.update(file.name for file in task.export.files)
                save_trouble(engine, task.export.files[0].name, error, report, run_id)

    earlier = frozenset[str]().union(*(task.earlier for task in group))
    with Named() as named:
        for batch in _batches(items()):
            save_batch(engine, source, batch, counts, report, run_id, options)
            if earlier:
                named.add([item for item in batch if isinstance(item, Record)])
            progress(batch[-1].file, len(batch))
        # What could not be read may be what said whom a record is about.
        if earlier and not unread and not any(count.rejected for count in counts.values()):
            report.withdrawn += withdraw(engine, named, earlier, datetime.now(UTC))
    done = [seen for seen in files if seen.file.name not in unread]
    save_files(engine, [_file_row(seen, source, counts[seen.file.name], run_id) for seen in done])


def save_batch(
    engine: Engine,
    source: Source,
    batch: list[Item],
    counts: dict[str, FileCounts],
    report: ReadReport,
    run_id: str | None,
    options: ReadOptions,
) -> None:
    cutoff = cutoff_of(options.keep_days, source, datetime.now(UTC))
    batch = [within(item, cutoff) for item in batch]
    records = [item for item in batch if isinstance(item, Record)]
    rejected = [item for item in batch if isinstance(item, Rejected)]
    saved = save_records(engine, source, records, run_id, {name: count.reader for name, count in counts.items()})
    report.saved += saved
    if rejected:
        save_rejections(engine, rejected, run_id)
    left_out = {id(records[index]) for index in saved.left_out}
    for item in batch:
        if id(item) in left_out:
            item = Skipped(item.file, "erased", item.units) if isinstance(item, Record) else item
        _count(counts[item.file], item)
        _count(report.counts, item)


def save_trouble(engine: Engine, name: str, error: OSError, report: ReadReport, run_id: str | None) -> None:
    """The disk or the network failed, not the content: the other files go on, this one is read again next time."""
    reason = f"cannot be read: {error.strerror or type(error).__name__}; the next run tries it again"
    save_rejections(engine, [Rejected(name, WHOLE, reason)], run_id)
    report.counts.rejected += 1


def _guarded(export: Export, options: ReadOptions) -> Iterator[Item]:
    """The reader's items; an export of which nothing can be used is one rejection."""
    try:
        yield from registry.BY_FORMAT[export.format].read(export, options)
    except UnreadableFile as error:
        name = export.files[0].name
        yield Rejected(name, WHOLE, str(error).removeprefix(f"{name}: "))


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Batches bounded in records and in characters: mails may be megabytes long."""
    batch: list[Item] = []
    chars = 0
    for item in items:
        batch.append(item)
        chars += len(item.text) if isinstance(item, Record) else 0
        if len(batch) >= BATCH_RECORDS or chars >= BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _count(counts: FileCounts, item: Item) -> None:
    if isinstance(item, Record):
        counts.units[item.kind] += item.units
        counts.documents += len(item.subjects) if item.text else 0
    elif isinstance(item, Rejected):
        counts.rejected += 1
    else:
        assert isinstance(item, Skipped)
        counts.skipped[item.reason] += item.units
