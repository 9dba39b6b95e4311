"""The tables of uploads: many texts handed over at once, by ``POST /api/ingest/batch``."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from ingest_pipeline.store.base import Base, Id

_OPEN = "state <> 'done'"
_STORED = "state = 'stored'"


class UploadRow(Base):
    """One upload. ``state``: ``receiving``, ``queued`` until all of it is extracted, ``done``.

    ``rejected`` counts lines that are no text about a known profile, ``failed`` those whose extraction failed.
    ``claimed_by`` works on it until ``claimed_until``, which also says how long it may still be received; then another
    process may. ``turn_at`` is when it last had its turn. ``problem``: why it waits.
    """

    __tablename__ = "uploads"
    __table_args__ = (Index("ix_uploads_open", "turn_at", sqlite_where=text(_OPEN), postgresql_where=text(_OPEN)),)

    id: Mapped[str] = mapped_column(Id, primary_key=True)
    actor: Mapped[str]
    state: Mapped[str] = mapped_column(String(16))
    stored: Mapped[int] = mapped_column(default=0)
    rejected: Mapped[int] = mapped_column(default=0)
    extracted: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    problem: Mapped[str | None] = mapped_column(String(64))
    claimed_by: Mapped[str | None] = mapped_column(Id)
    claimed_until: Mapped[datetime | None]
    turn_at: Mapped[datetime]
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class UploadLineRow(Base):
    """A line that is ``stored`` and not extracted yet, ``rejected`` or ``failed``; what went well has no row any more.

    ``message`` holds none of the line's text.
    """

    __tablename__ = "upload_lines"
    __table_args__ = (
        Index(
            "ix_upload_lines_stored",
            "upload_id",
            "line",
            sqlite_where=text(_STORED),
            postgresql_where=text(_STORED),
        ),
    )

    upload_id: Mapped[str] = mapped_column(Id, ForeignKey("uploads.id"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(8))
    document_id: Mapped[str | None] = mapped_column(Id, index=True)
    code: Mapped[str | None] = mapped_column(String(64))
    message: Mapped[str | None]
