"""Exports: the store's tables as files for other programs, or all there is about one person as JSON.

tables ── pandas, a chunk at a time ──▶ DIR/<table>.parquet | .csv | .jsonl
one profile ──▶ DIR/<profile id>.json
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, Connection, Engine, Row, Select, func, select
from sqlalchemy import types as sql

from ingest_pipeline import wire
from ingest_pipeline.documents import Json, Source
from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.progress import Progress
from ingest_pipeline.store.base import UtcDateTime
from ingest_pipeline.store.edits import load_edits
from ingest_pipeline.store.engine import reading, snapshot
from ingest_pipeline.store.facts import load_facts
from ingest_pipeline.store.tables import (
    DocumentRow,
    EditRow,
    Evidence,
    ExtractionRow,
    FileRow,
    IdentifierRow,
    Memory,
    ObservationRow,
    Profile,
    TraitHistory,
    TraitRow,
)
from ingest_pipeline.store.views import lineage

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CHUNK = 10_000
"""Rows in memory at a time."""

TABLES: Mapping[str, Any] = {
    "profiles": Profile.__table__,
    "identifiers": IdentifierRow.__table__,
    "traits": TraitRow.__table__,
    "trait_history": TraitHistory.__table__,
    "memories": Memory.__table__,
    "evidence": Evidence.__table__,
    "lineage": lineage,
    "observations": ObservationRow.__table__,
    "documents": DocumentRow.__table__,
    "extractions": ExtractionRow.__table__,
    "edits": EditRow.__table__,
    "files": FileRow.__table__,
}

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that starts so is a formula to a spreadsheet (OWASP, CSV injection): it gets an apostrophe in front."""


class Format(StrEnum):
    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written, with its number of rows."""

    table: str
    path: Path
    rows: int


def export_tables(engine: Engine, directory: Path, to: Format, progress: Progress) -> Iterator[Exported]:
    """Write every table into ``directory``, all as of one moment. Memory does not grow with the tables.

    A file appears when it is complete, replacing one of the same name. Raises ConfigurationError when it cannot be
    written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with snapshot(engine) as connection:
            connection.execution_options(stream_results=True)
            for name, table in TABLES.items():
                progress.start(name, connection.execute(select(func.count()).select_from(table)).scalar_one())
                path = directory / f"{name}.{to.value}"
                part = path.with_name(f".{path.name}.part")
                rows = _write(to, part, table, _frames(connection, select(table), list(table.columns)), progress)
                part.replace(path)
                yield Exported(name, path, rows)
    except OSError as error:
        raise ConfigurationError(f"cannot write to {directory}: {error.strerror}; choose another folder") from None


def export_person(engine: Engine, profile_id: str) -> dict[str, Json]:
    """All there is about one person, in the shapes of the profile API. Raises ProfileNotFound.

    ``messages`` are the texts that were given directly, ``documents`` everything that was read, old versions too.
    """
    facts = load_facts(engine, profile_id)
    with reading(engine) as connection:
        mine = select(DocumentRow.__table__).where(DocumentRow.profile_id == profile_id)
        documents = list(connection.execute(mine.order_by(DocumentRow.occurred_at, DocumentRow.id)))
    return {
        "profile": wire.profile_json(facts) | {"name": facts.name, "identifiers": facts.identifiers},
        "traits": [wire.trait_json(fact, profile_id) for fact in facts.traits],
        "memories": [wire.memory_json(fact, profile_id) for fact in facts.memories],
        "history": [wire.past_json(past) for past in facts.history],
        "evidence": [
            {"factId": fact.id} | wire.lineage_json(proof)
            for fact in (*facts.traits, *facts.memories)
            for proof in fact.proofs
        ],
        "edits": [wire.edit_json(edit) for edit in load_edits(engine, profile_id)],
        "messages": [_message_json(row) for row in documents if row.source == Source.DIRECT.value],
        "documents": [_document_json(row) for row in documents],
        "exportedAt": wire.time_json(datetime.now(UTC)),
    }


def _message_json(row: Row[Any]) -> dict[str, Json]:
    return {"id": row.id, "role": "user", "content": row.text, "createdAt": wire.time_json(row.occurred_at)}


def _document_json(row: Row[Any]) -> dict[str, Json]:
    return {
        "id": row.id,
        "source": row.source,
        "origin": row.origin,
        "kind": row.kind,
        "nativeId": row.native_id,
        "text": row.text,
        "segments": row.segments,
        "metadata": row.metadata,
        "traits": row.definitions and json.loads(row.definitions),
        "occurredAt": wire.time_json(row.occurred_at),
        "supersededAt": wire.time_json(row.superseded_at),
    }


def _frames(connection: Connection, query: Select[Any], columns: list[Column[Any]]) -> Iterator["pd.DataFrame"]:
    """The rows as data frames, at least one. Values stay as they are: a column of numbers with gaps is no float."""
    import pandas as pd

    names = [column.name for column in columns]
    empty = True
    for rows in connection.execute(query).partitions(CHUNK):
        empty = False
        yield pd.DataFrame([tuple(row) for row in rows], columns=names, dtype=object)
    if empty:
        yield pd.DataFrame({name: [] for name in names}, dtype=object)


def _write(to: Format, path: Path, table: Any, frames: Iterator["pd.DataFrame"], progress: Progress) -> int:
    rows = 0
    with _WRITERS[to](path, list(table.columns)) as write:
        for frame in frames:
            write(frame)
            rows += len(frame)
            progress.advance(len(frame))
    return rows


@contextmanager
def _parquet(path: Path, columns: list[Column[Any]]) -> Iterator[Callable[["pd.DataFrame"], None]]:
    """Times are UTC with microseconds, JSON columns are JSON text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(column.name, _arrow_type(column)) for column in columns])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:

        def write(frame: "pd.DataFrame") -> None:
            writer.write_table(pa.Table.from_pandas(_json_as_text(frame, columns), schema, preserve_index=False))

        yield write


def _arrow_type(column: Column[Any]) -> "pa.DataType":
    import pyarrow as pa

    kinds: list[tuple[type[Any], pa.DataType]] = [
        (UtcDateTime, pa.timestamp("us", tz="UTC")),
        (sql.Boolean, pa.bool_()),
        (sql.Integer, pa.int64()),
        (sql.Float, pa.float64()),
    ]
    return next((arrow for kind, arrow in kinds if isinstance(column.type, kind)), pa.string())


@contextmanager
def _csv(path: Path, columns: list[Column[Any]]) -> Iterator[Callable[["pd.DataFrame"], None]]:
    """As RFC 4180 has it, UTF-8 with the mark that spreadsheets need; a cell that could be a formula is defused."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        started = False

        def write(frame: "pd.DataFrame") -> None:
            nonlocal started
            frame = _json_as_text(_times_as_text(frame, columns), columns).map(_defused, na_action="ignore")
            frame.to_csv(file, index=False, header=not started, lineterminator="\r\n")
            started = True

        yield write


def _defused(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


@contextmanager
def _jsonl(path: Path, columns: list[Column[Any]]) -> Iterator[Callable[["pd.DataFrame"], None]]:
    """One object per line; JSON columns are nested."""
    with path.open("w", encoding="utf-8") as file:

        def write(frame: "pd.DataFrame") -> None:
            for record in _times_as_text(frame, columns).to_dict(orient="records"):
                file.write(json.dumps(record, ensure_ascii=False) + "\n")

        yield write


def _times_as_text(frame: "pd.DataFrame", columns: list[Column[Any]]) -> "pd.DataFrame":
    return _mapped(frame, columns, UtcDateTime, lambda moment: moment.isoformat().replace("+00:00", "Z"))


def _json_as_text(frame: "pd.DataFrame", columns: list[Column[Any]]) -> "pd.DataFrame":
    return _mapped(frame, columns, sql.JSON, lambda value: json.dumps(value, ensure_ascii=False))


def _mapped(
    frame: "pd.DataFrame", columns: list[Column[Any]], kind: type[Any], change: Callable[[Any], Any]
) -> "pd.DataFrame":
    """The frame with the values of all columns of a kind changed, nulls left alone."""
    changed = frame.copy()
    for column in columns:
        if isinstance(column.type, kind):
            changed[column.name] = [None if value is None else change(value) for value in frame[column.name]]
    return changed


_WRITERS = {Format.PARQUET: _parquet, Format.CSV: _csv, Format.JSONL: _jsonl}
