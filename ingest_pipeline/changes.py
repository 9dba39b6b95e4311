"""What of the inbox has to be read: new and changed files, as exports for their readers."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from ingest_pipeline.documents import Rejected, Source
from ingest_pipeline.sources import folder_options, registry
from ingest_pipeline.sources.base import HEAD_BYTES, Export, Reader, ReadOptions, SourceFile
from ingest_pipeline.sources.inbox import Inbox, sha256
from ingest_pipeline.store.documents import Saved
from ingest_pipeline.store.files import begin_files, file_id, load_files, save_files, save_rejections

WHOLE = "file"
"""The position of a rejection that is about a file as a whole."""


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


@dataclass(frozen=True, slots=True)
class Seen:
    """A file of the inbox with its reader, and whether its content changed."""

    file: SourceFile
    reader: Reader | None
    digest: str | None
    read_with: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Task:
    """An export to read, its files, and the ids of those of its folder that were read before, there still or not.

    ``earlier`` is empty when what is read ends nothing that was read before.
    """

    export: Export
    files: list[Seen]
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


def changed_exports(
    engine: Engine, inbox: Inbox, source: Source, options: ReadOptions, report: ReadReport, run_id: str | None
) -> Iterator[Task]:
    known = load_files(engine, source)
    groups: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    for file in inbox.files(source):
        try:
            seen = _look_at(engine, source, file, known.get(file_id(file.name)), options, report, run_id)
        except OSError as error:
            begin_files(engine, [file_row(Seen(file, None, None, "", changed=True), source, FileCounts(), run_id)])
            save_trouble(engine, file.name, error, report, run_id)
            continue
        if seen.reader:
            folder = file.name.rpartition("/")[0] if seen.reader.by_folder else file.name
            groups[seen.reader.format, folder].append(seen)
    earlier: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in known.values():
        reader = registry.BY_FORMAT.get(row.format)
        if reader is not None and reader.names_everybody:
            earlier[row.format, row.name.rpartition("/")[0]].add(row.id)
    for (name, folder), files in sorted(groups.items()):
        if any(seen.changed for seen in files):
            report.files += len(files)
            export = Export(name, source, tuple(seen.file for seen in files))
            yield Task(export, files, frozenset(earlier[name, folder]))
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
) -> Seen:
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
            return Seen(file, reader, digest, known.read_with, changed=False)
    else:
        digest = sha256(file)
    with file.opener() as stream:
        head = stream.read(HEAD_BYTES)
    reader = registry.detect(source, file, head)
    seen = Seen(file, reader, digest, read_with(reader, options, file.mapped), changed=True)
    if reader is None:
        report.unrecognised += 1
        report.counts.rejected += 1
        begin_files(engine, [file_row(seen, source, FileCounts(), run_id)])
        save_rejections(engine, [Rejected(file.name, WHOLE, _why_unread(file, head, source))], run_id)
        save_files(engine, [file_row(seen, source, FileCounts(rejected=1), run_id)])
    return seen


def _why_unread(file: SourceFile, head: bytes, source: Source) -> str:
    """What a file of no format is, and what to do about it."""
    if file.name.endswith(f"/{folder_options.NAME}"):
        return f"settings hold for all of {source}/: put them into {source}/{folder_options.NAME}"
    formats = ", ".join(reader.format for reader in registry.READERS if reader.source is source)
    what = registry.misplaced(file, head, source)
    return f"{what}; not a format that is read from {source}/, known there: {formats}"


def file_row(seen: Seen, source: Source, counts: FileCounts, run_id: str | None) -> dict[str, Any]:
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


def save_trouble(engine: Engine, name: str, error: OSError, report: ReadReport, run_id: str | None) -> None:
    """The disk or the network failed, not the content: the other files go on, this one is read again next time."""
    reason = f"cannot be read: {error.strerror or type(error).__name__}; the next run tries it again"
    save_rejections(engine, [Rejected(name, WHOLE, reason)], run_id)
    report.counts.rejected += 1
