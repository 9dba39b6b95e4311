"""The files of the inbox as last read, and what was rejected in them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, select

from ingest_pipeline.documents import Rejected, Source, stable_id
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.erased import load_erased
from ingest_pipeline.store.tables import FileRow, Rejection
from ingest_pipeline.store.upsert import IN_LIST, batches, upsert


def file_id(name: str) -> str:
    return stable_id("file", name)


def load_files(engine: Engine, source: Source) -> dict[str, Row[Any]]:
    """The files of a source as last read, by id: in a name, an erased person may have been blanked."""
    with reading(engine) as connection:
        rows = connection.execute(select(FileRow.__table__).where(FileRow.source == source.value))
        return {row.id: row for row in rows}


def load_file(engine: Engine, name: str) -> Row[Any] | None:
    """One file as last read."""
    with reading(engine) as connection:
        return connection.execute(select(FileRow.__table__).where(FileRow.id == file_id(name))).one_or_none()


def drop_rejections(engine: Engine, name: str, position: str) -> None:
    """Forget what was rejected at one place of a file."""
    gone = delete(Rejection).where(Rejection.file_id == file_id(name), Rejection.position == position)
    write(engine, lambda connection: connection.execute(gone))


def forget_file(engine: Engine, name: str) -> None:
    """Forget a file that no document is from, with what was rejected in it; nothing when it is not known."""

    def forget(connection: Connection) -> None:
        connection.execute(delete(Rejection).where(Rejection.file_id == file_id(name)))
        connection.execute(delete(FileRow).where(FileRow.id == file_id(name)))

    if load_file(engine, name) is not None:
        write(engine, forget)


def save_files(engine: Engine, rows: Sequence[dict[str, Any]]) -> None:
    """Store the state of files after reading them."""
    columns = [column.name for column in FileRow.__table__.columns if column.name not in ("id", "name")]
    write(engine, lambda connection: upsert(connection, FileRow, _named(connection, rows), update=columns))


def _named(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as they may be stored when they are new; a name that is known stays as it is stored."""
    erased = load_erased(connection)
    if erased is None:
        return list(rows)
    blanked = ((row, erased.blank_path(row["name"])) for row in rows)
    return [row if name == row["name"] else row | {"name": f"{name} ~{row['id'][:8]}"} for row, name in blanked]


def begin_files(engine: Engine, rows: Sequence[dict[str, Any]]) -> None:
    """Make files known, so that their documents can refer to them, and drop what was rejected in them before.

    ``read_with`` is stored empty until ``save_files``, so that an interrupted read starts again.
    """

    def begin(connection: Connection) -> None:
        fresh = [{**row, "read_with": ""} for row in _named(connection, rows)]
        upsert(connection, FileRow, fresh, update=["read_with"])
        for batch in batches((row["id"] for row in rows), IN_LIST):
            connection.execute(delete(Rejection).where(Rejection.file_id.in_(batch)))

    write(engine, begin)


def save_rejections(engine: Engine, rejected: Iterable[Rejected], run_id: str | None) -> None:
    now = datetime.now(UTC)
    rows: dict[str, dict[str, Any]] = {}
    for r in rejected:
        key = stable_id("rejection", r.file, r.position, r.reason)
        rows[key] = {
            "id": key, "file_id": file_id(r.file), "position": r.position, "reason": r.reason,
            "created_at": now, "run_id": run_id,
        }  # fmt: skip

    def save(connection: Connection) -> None:
        erased = load_erased(connection)
        blank = erased.blank if erased else str
        upsert(connection, Rejection, [row | {"position": blank(row["position"])} for row in rows.values()])

    write(engine, save)
