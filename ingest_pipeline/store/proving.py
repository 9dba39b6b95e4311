"""Proof that nothing is left: every column that can hold text is read, and every byte of the files.

On SQLite the file is written anew before, since deleted rows otherwise stay in it. On PostgreSQL deleted rows go by
VACUUM; its write-ahead log, replicas and backups are out of reach.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, String, Table, Text, func, select, text
from sqlalchemy.types import JSON, TypeEngine

from ingest_pipeline.errors import StoreUnavailable
from ingest_pipeline.progress import Progress
from ingest_pipeline.remnants import OVERLAP, Needles, Samples, strings
from ingest_pipeline.store.base import Base
from ingest_pipeline.store.engine import reading

BLOCK = 1 << 20
"""Bytes of a file in memory."""

PAGE = 1_000
_CHECKPOINT_TRIES = 20
_CHECKPOINT_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class Scanned:
    """One place that was looked through: ``size`` in rows of a ``table``, else in bytes of a file or folder. What was
    found are counts of identifiers or names, and of samples of texts."""

    place: str
    table: bool
    size: int
    identifiers: int = 0
    texts: int = 0

    @property
    def clean(self) -> bool:
        return not self.identifiers and not self.texts


def purge(engine: Engine, sleep: Callable[[float], None] = time.sleep) -> None:
    """Let what was deleted leave the database's files. Raises StoreUnavailable when somebody else holds them open."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for table in Base.metadata.sorted_tables:
                connection.execute(text(f'VACUUM "{table.name}"'))
        return
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("PRAGMA secure_delete = ON")
        cursor.execute("VACUUM")
        for _ in range(_CHECKPOINT_TRIES):
            (busy, _, _) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return
            sleep(_CHECKPOINT_PAUSE_S)
    finally:
        raw.close()
    raise StoreUnavailable(
        "all of it is deleted, but the database's log cannot be emptied while somebody else reads; "
        "run the command again with the same identifier once the sync is done"
    )


def scan_tables(engine: Engine, needles: Needles, samples: Samples, progress: Progress) -> Iterator[Scanned]:
    """Every table of the store with columns of text or JSON."""
    for table in sorted(Base.metadata.sorted_tables, key=lambda table: table.name):
        columns = [column for column in table.columns if _holds_text(column.type)]
        if columns:
            yield _scan_table(engine, table, columns, needles, samples, progress)


def _holds_text(kind: TypeEngine[Any]) -> bool:
    return isinstance(kind, String | Text | JSON)


def _scan_table(
    engine: Engine, table: Table, columns: list[Any], needles: Needles, samples: Samples, progress: Progress
) -> Scanned:
    rows = identifiers = texts = 0
    with reading(engine) as connection:
        total = connection.execute(select(func.count()).select_from(table)).scalar_one()
        progress.start(f"proving {table.name}", total)
        found = connection.execute(select(*columns).execution_options(yield_per=PAGE))
        for page in found.partitions():
            for row in page:
                content = "\n".join(strings(list(row)))
                identifiers += needles.count(content)
                texts += samples.count(content.encode())
            rows += len(page)
            progress.advance(len(page))
    return Scanned(f"table {table.name}", True, rows, identifiers, texts)


def database_files(url: str | None) -> list[Path]:
    """A SQLite database's file with what SQLite keeps beside it; none for another database."""
    paths = [Path(f"{url}{end}") for end in ("", "-wal", "-journal")] if url else []
    return [path for path in paths if path.is_file()]


def scan_files(paths: Iterable[Path], needles: Needles, samples: Samples, progress: Progress) -> Iterator[Scanned]:
    """The bytes of files, and of all files in folders: one result for each path given."""
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        progress.start(f"proving {path.name}", len(files))
        size = identifiers = texts = 0
        for file in files:
            for block in _blocks(file):
                size += len(block)
                identifiers += needles.count_bytes(block)
                texts += samples.count(block)
            progress.advance()
        yield Scanned(str(path), False, size, identifiers, texts)


def _blocks(file: Path) -> Iterator[bytes]:
    """The file's bytes; each block begins with the end of the one before."""
    try:
        with file.open("rb") as stream:
            tail = b""
            while block := stream.read(BLOCK):
                yield tail + block
                tail = block[-OVERLAP:]
    except FileNotFoundError:  # a log that was taken away meanwhile holds nothing
        return
