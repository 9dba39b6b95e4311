"""Uploads in the store: their lines as they come, whose turn it is, what became of each line.

    receiving ── store_lines … ──▶ queued ── claim, settle … ──▶ done ── remove_ended ──▶ gone

Every line is either counted as rejected with its reason, or a document before the upload's sender is answered.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import Connection, Delete, Engine, delete, exists, literal_column, or_, select, update

from ingest_pipeline.errors import InvalidInput
from ingest_pipeline.extraction.base import Status
from ingest_pipeline.store.engine import reading, write
from ingest_pipeline.store.tables import DocumentRow, ExtractionRow
from ingest_pipeline.store.texts import NONE, GivenText, save_texts
from ingest_pipeline.store.upload_tables import UploadLineRow, UploadRow
from ingest_pipeline.store.upsert import IN_LIST, batches, select_in, upsert

LEASE = timedelta(seconds=60)
"""How long an upload is somebody's who says nothing."""

KEPT = timedelta(days=30)
"""How long it is told what became of an upload that ended."""

_REMOVED_AT_ONCE = 2_000

RECEIVING, QUEUED, RUNNING, DONE = "receiving", "queued", "running", "done"

# Spelled out, not bound, so that the planner sees that the partial indexes will do.
_NOT_DONE = UploadRow.state != literal_column("'done'")
_STORED = UploadLineRow.state == literal_column("'stored'")


@dataclass(frozen=True, slots=True)
class Upload:
    """How far an upload is, in lines. ``problem``: why it waits, if it does."""

    id: str
    state: str
    stored: int
    rejected: int
    extracted: int
    failed: int
    problem: str | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class LineFailure:
    """A line of which nothing was stored, or (with a ``document_id``) whose extraction failed."""

    line: int
    code: str
    message: str
    document_id: str | None = None


def begin_upload(engine: Engine, actor: str) -> str:
    now = datetime.now(UTC)
    row = {
        "id": str(uuid.uuid4()), "actor": actor, "state": RECEIVING, "stored": 0, "rejected": 0, "extracted": 0,
        "failed": 0, "problem": None, "claimed_by": None, "claimed_until": now + LEASE, "turn_at": now,
        "created_at": now, "ended_at": None,
    }  # fmt: skip
    write(engine, lambda connection: upsert(connection, UploadRow, [row]))
    return str(row["id"])


def store_lines(
    engine: Engine, upload_id: str, texts: Mapping[int, GivenText], rejected: Sequence[LineFailure]
) -> None:
    """Store some lines in one transaction, by number; those whose profile is gone by now are rejected as well."""

    def save(connection: Connection) -> None:
        documents = dict(zip(texts, save_texts(connection, list(texts.values())), strict=True))
        gone = [LineFailure(line, "profile_not_found", _GONE) for line, i in documents.items() if i is None]
        stored = [(line, document) for line, document in documents.items() if document is not None]
        rows = [_row(upload_id, "stored", LineFailure(line, "", "", document)) for line, document in stored]
        rows += [_row(upload_id, "rejected", failure) for failure in (*rejected, *gone)]
        upsert(connection, UploadLineRow, rows)
        connection.execute(
            update(UploadRow)
            .where(UploadRow.id == upload_id)
            .values(
                stored=UploadRow.stored + len(stored),
                rejected=UploadRow.rejected + len(rejected) + len(gone),
                state=RECEIVING,
                ended_at=None,
                claimed_until=datetime.now(UTC) + LEASE,
            )
        )

    write(engine, save)


_GONE = "no profile has this id, external id or identifier"


def _row(upload_id: str, state: str, line: LineFailure) -> dict[str, object]:
    return {
        "upload_id": upload_id, "line": line.line, "state": state, "document_id": line.document_id,
        "code": line.code or None, "message": line.message or None,
    }  # fmt: skip


def end_receiving(engine: Engine, upload_id: str) -> None:
    """All lines that will come are there: from now on it can be worked on."""
    _set(engine, upload_id, state=QUEUED, claimed_until=None)


def claim(engine: Engine, worker: str) -> str | None:
    """The upload whose turn it is, for this worker alone; one that nobody receives any more, too."""
    now = datetime.now(UTC)
    free = _NOT_DONE & or_(UploadRow.claimed_until.is_(None), UploadRow.claimed_until < now)
    with reading(engine) as connection:  # most of the time there is none: no need to wait for a writer
        if connection.execute(select(UploadRow.id).where(free).limit(1)).first() is None:
            return None
    first = select(UploadRow.id).where(free).order_by(UploadRow.turn_at, UploadRow.id).limit(1).scalar_subquery()
    mine = update(UploadRow).where(UploadRow.id == first, free)
    take = mine.values(claimed_by=worker, claimed_until=now + LEASE, turn_at=now).returning(UploadRow.id)
    return write(engine, lambda connection: connection.execute(take).scalar())


def extend(engine: Engine, upload_id: str, worker: str) -> None:
    _set(engine, upload_id, UploadRow.claimed_by == worker, claimed_until=datetime.now(UTC) + LEASE)


def release(engine: Engine, upload_id: str, worker: str, problem: str | None, wait: timedelta) -> None:
    """Give an upload back: done when no line is open, else somebody's again after ``wait``."""
    now = datetime.now(UTC)
    is_open = exists().where(UploadLineRow.upload_id == upload_id, _STORED)

    def give(connection: Connection) -> None:
        mine = update(UploadRow).where(UploadRow.id == upload_id, UploadRow.claimed_by == worker)
        given = mine.values(claimed_by=None, claimed_until=now + wait, problem=problem)
        connection.execute(given.values(state=QUEUED).where(is_open))
        connection.execute(given.values(state=DONE, ended_at=now, problem=None).where(~is_open))

    write(engine, give)


def _set(engine: Engine, upload_id: str, *where: object, **values: object) -> None:
    change = update(UploadRow).where(UploadRow.id == upload_id, *where).values(**values)  # type: ignore[arg-type]
    write(engine, lambda connection: connection.execute(change))


def open_lines(engine: Engine, upload_id: str, after: int, limit: int) -> dict[int, str]:
    """The next lines to extract with their documents."""
    query = (
        select(UploadLineRow.line, UploadLineRow.document_id)
        .where(UploadLineRow.upload_id == upload_id, UploadLineRow.line > after, _STORED)
        .order_by(UploadLineRow.line)
        .limit(limit)
    )
    with reading(engine) as connection:
        return {row.line: str(row.document_id) for row in connection.execute(query)}


def load_profiles(engine: Engine, documents: Iterable[str]) -> frozenset[str]:
    """Whom the documents are about."""
    query = select(DocumentRow.profile_id).distinct().where(DocumentRow.profile_id.is_not(None))
    with reading(engine) as connection:
        return frozenset(row.profile_id for row in select_in(connection, query, DocumentRow.id, sorted(documents)))


def settle(engine: Engine, upload_id: str, lines: Mapping[int, str]) -> int:
    """Count the lines by what became of their documents; returns how many are no longer open.

    A line is counted once, however often it is settled, and by whom.
    """

    def count(connection: Connection) -> int:
        states = _states(connection, set(lines.values()))
        by_state: dict[str | None, list[int]] = defaultdict(list)
        for line, document in lines.items():
            if document in states:
                by_state[states[document]].append(line)
        # Before the lines, as everybody does who changes them.
        connection.execute(select(UploadRow.id).where(UploadRow.id == upload_id).with_for_update())
        extracted = failed = 0
        for reason, numbers in by_state.items():
            for batch in batches(numbers, IN_LIST):
                mine = (UploadLineRow.upload_id == upload_id) & UploadLineRow.line.in_(batch)
                mine &= _STORED
                if reason is None:
                    extracted += connection.execute(delete(UploadLineRow).where(mine)).rowcount
                else:
                    told = {"code": "extraction_error", "message": f"extraction failed ({reason}); the text is kept"}
                    change = update(UploadLineRow).where(mine).values(state="failed", **told)
                    failed += connection.execute(change).rowcount
        totals = {"extracted": UploadRow.extracted + extracted, "failed": UploadRow.failed + failed}
        connection.execute(update(UploadRow).where(UploadRow.id == upload_id).values(totals))
        return extracted + failed

    return write(engine, count)


def _states(connection: Connection, documents: set[str]) -> dict[str, str | None]:
    """Documents that are settled: None for those that are extracted, or of which nothing is wanted, else the reason."""
    query = select(DocumentRow.id, DocumentRow.state, DocumentRow.wanted, ExtractionRow.reason).outerjoin(
        ExtractionRow,
        (ExtractionRow.document_id == DocumentRow.id)
        & (ExtractionRow.fingerprint == DocumentRow.fingerprint)
        & (ExtractionRow.status == Status.FAILED.value),
    )
    states: dict[str, str | None] = {}
    for row in select_in(connection, query, DocumentRow.id, sorted(documents)):
        if row.state == "done" or row.wanted == NONE:
            states[row.id] = None
        elif row.state == "failed":
            states[row.id] = row.reason or "unknown"
    return states


def load_upload(engine: Engine, upload_id: str) -> Upload:
    """Raises InvalidInput (``job_not_found``)."""
    try:
        key = str(uuid.UUID(upload_id))
    except ValueError:
        raise _unknown() from None
    with reading(engine) as connection:
        row = connection.execute(select(UploadRow.__table__).where(UploadRow.id == key)).one_or_none()
    if row is None:
        raise _unknown()
    is_running = row.state == QUEUED and row.claimed_by is not None and row.claimed_until > datetime.now(UTC)
    return Upload(
        id=row.id,
        state=RUNNING if is_running else row.state,
        stored=row.stored,
        rejected=row.rejected,
        extracted=row.extracted,
        failed=row.failed,
        problem=row.problem,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


def _unknown() -> InvalidInput:
    return InvalidInput("job_not_found", "no batch has this id", "job")


def load_failures(engine: Engine, upload_id: str, after: int, limit: int) -> list[LineFailure]:
    """The next lines that were rejected or failed."""
    query = (
        select(UploadLineRow.__table__)
        .where(UploadLineRow.upload_id == upload_id, UploadLineRow.line > after, UploadLineRow.state != "stored")
        .order_by(UploadLineRow.line)
        .limit(limit)
    )
    with reading(engine) as connection:
        return [LineFailure(row.line, row.code, row.message, row.document_id) for row in connection.execute(query)]


def remove_ended(engine: Engine, now: datetime) -> int:
    """Remove the uploads that ended longer ago than ``KEPT``, some lines per transaction; returns how many."""
    is_old = (UploadRow.state == DONE) & (UploadRow.ended_at < now - KEPT)
    with reading(engine) as connection:
        old = list(connection.execute(select(UploadRow.id).where(is_old)).scalars())
    for upload_id in old:
        mine = UploadLineRow.upload_id == upload_id
        some = select(UploadLineRow.line).where(mine).order_by(UploadLineRow.line).limit(_REMOVED_AT_ONCE)
        lines = delete(UploadLineRow).where(mine, UploadLineRow.line.in_(some.scalar_subquery()))
        while write(engine, partial(_count, change=lines)) == _REMOVED_AT_ONCE:
            pass
        write(engine, partial(_count, change=delete(UploadRow).where(UploadRow.id == upload_id, is_old)))
    return len(old)


def _count(connection: Connection, change: Delete) -> int:
    return connection.execute(change).rowcount
