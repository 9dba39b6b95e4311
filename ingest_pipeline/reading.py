"""Reading: new and changed files of the inbox become documents. Unchanged files are not opened.

inbox ── what changed? ──▶ exports ── reader ──▶ batches of records ──▶ store
"""

import io
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from sqlalchemy import Engine

from ingest_pipeline.changes import (
    WHOLE,
    FileCounts,
    ReadReport,
    Seen,
    Task,
    changed_exports,
    file_row,
    reader_name,
    save_trouble,
)
from ingest_pipeline.documents import Item, Record, Rejected, Skipped, Source
from ingest_pipeline.errors import ConfigurationError, UnreadableFile
from ingest_pipeline.retention import cutoff_of, within
from ingest_pipeline.sources import folder_options, registry
from ingest_pipeline.sources.base import Export, ReadOptions, SourceFile
from ingest_pipeline.sources.crm_records import NOBODY
from ingest_pipeline.sources.inbox import Inbox
from ingest_pipeline.store.documents import save_records
from ingest_pipeline.store.files import begin_files, file_id, forget_file, save_files, save_rejections
from ingest_pipeline.store.withdrawing import Named, withdraw

BATCH_RECORDS = 2_000
BATCH_CHARS = 8_000_000
"""A batch, which is one transaction, ends at whichever comes first."""

SMALL_BYTES = 1_000_000
GROUP_EXPORTS = 500
"""Exports up to this size are read in groups of so many."""


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
    for group in _groups(changed_exports(engine, inbox, source, options, report, run_id)):
        _read_group(engine, source, group, options, run_id, report, progress)
    return report


def _reject_settings(engine: Engine, source: Source, name: str, report: ReadReport, run_id: str | None) -> None:
    report.counts.rejected += 1
    row = file_row(
        Seen(SourceFile(name, 0, 0.0, io.BytesIO), None, None, "", changed=True), source, report.counts, run_id
    )
    begin_files(engine, [row])
    save_rejections(engine, [Rejected(name, WHOLE, report.stopped.removeprefix(f"{name}: "))], run_id)


def _groups(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Exports that share batches: many small files, such as a Maildir's, would cost a few transactions each.

    Those of which something may be withdrawn stand alone.
    """
    group: list[Task] = []
    for task in tasks:
        if _names_everybody(task) or sum(file.size for file in task.export.files) > SMALL_BYTES:
            yield [task]
            continue
        group.append(task)
        if len(group) == GROUP_EXPORTS:
            yield group
            group = []
    if group:
        yield group


def _names_everybody(task: Task) -> bool:
    """Whether people may be missing in it who were named before, in an earlier read or in another of its files."""
    return registry.BY_FORMAT[task.export.format].names_everybody and bool(task.earlier or len(task.files) > 1)


def _read_group(
    engine: Engine,
    source: Source,
    group: list[Task],
    options: ReadOptions,
    run_id: str | None,
    report: ReadReport,
    progress: Progress,
) -> None:
    """Read exports in batches. Their files count as read only when all of it was stored."""
    files = [seen for task in group for seen in task.files]
    counts = {seen.file.name: FileCounts(reader_name(seen.reader) if seen.reader else "") for seen in files}
    begin_files(engine, [file_row(seen, source, counts[seen.file.name], run_id) for seen in files])
    unread: set[str] = set()

    def items() -> Iterator[Item]:
        for task in group:
            try:
                yield from _guarded(task.export, options)
            except OSError as error:
                unread.update(file.name for file in task.export.files)
                save_trouble(engine, task.export.files[0].name, error, report, run_id)

    ending = len(group) == 1 and _names_everybody(group[0])
    damaged = False
    with Named() as named:
        for batch in _batches(items()):
            save_batch(engine, source, batch, counts, report, run_id, options)
            if ending:
                named.add([item for item in batch if isinstance(item, Record)])
            damaged = damaged or any(isinstance(item, Rejected) and item.reason != NOBODY for item in batch)
            progress(batch[-1].file, len(batch))
        # What could not be read may be what said whom a record is about.
        if ending and not unread and not damaged:
            report.withdrawn += _withdraw(engine, named, group[0])
    done = [seen for seen in files if seen.file.name not in unread]
    save_files(engine, [file_row(seen, source, counts[seen.file.name], run_id) for seen in done])


def _withdraw(engine: Engine, named: Named, task: Task) -> int:
    if not task.earlier and not named.holds_versions():
        return 0
    files = task.earlier | {file_id(seen.file.name) for seen in task.files}
    return withdraw(engine, named, files, datetime.now(UTC))


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
