"""The state of everything in one view."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select

from ingest_pipeline.direct import TextRequest, ingest_text
from ingest_pipeline.extraction.base import Extraction, Status
from ingest_pipeline.extraction.offline import OfflineExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.llm.tables import LlmCallRow
from ingest_pipeline.pipeline import Pipeline
from ingest_pipeline.reading import read_source
from ingest_pipeline.settings import load_settings
from ingest_pipeline.sources.base import ReadOptions
from ingest_pipeline.sources.inbox import FOLDERS, open_inbox
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.documents import load_documents
from ingest_pipeline.store.engine import reading
from ingest_pipeline.store.extractions import save_extractions
from ingest_pipeline.store.overview import Overview, RejectedUnit, SourceOverview, load_overview
from ingest_pipeline.store.tables import DocumentRow

SCHEMA = load_traits(None)
MAILS = (
    b"From: Ana <ana@vela.example>\nMessage-ID: <1@x>\nDate: Mon, 3 Jun 2024 10:00:00 +0000\n\nI live in Rome.",
    b"From: Ben <ben@vela.example>\nMessage-ID: <2@x>\nDate: Mon, 3 Jun 2024 10:00:00 +0000\n\nI love chess.",
    b"From: Cy <cy@vela.example>\nList-Id: <l.x>\nMessage-ID: <3@x>\nDate: Mon, 3 Jun 2024 10:00:00 +0000\n\nHi all.",
    b"From: Bot <noreply@vela.example>\nAuto-Submitted: auto-generated\nMessage-ID: <4@x>\n"
    b"Date: Mon, 3 Jun 2024 10:00:00 +0000\n\nTicket closed.",
    b"Subject: nobody sent this\n\nHello",
)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Two people's mails, one to a list, an automatic one, a broken one, and a file of no known format."""
    folder = tmp_path / "inbox/email"
    folder.mkdir(parents=True)
    for number, mail in enumerate(MAILS, 1):
        (folder / f"{number}.eml").write_bytes(mail)
    (folder / "holiday.jpg").write_bytes(b"\xff\xd8\xff\xe0picture")
    return tmp_path / "inbox"


def read(engine: Engine, inbox: Path) -> None:
    for source in FOLDERS:
        read_source(engine, open_inbox(str(inbox)), source, ReadOptions())


def email(overview: Overview) -> SourceOverview:
    (found,) = [source for source in overview.sources if source.source == "email"]
    return found


def test_an_empty_store(engine: Engine) -> None:
    """Zeros, no division by anything."""
    assert load_overview(engine) == Overview(0, 0, 0, 0, 0, 0, (), {}, (), 0, 0, 0.0, {}, 0, {})


def test_what_was_read_counts_by_source(engine: Engine, inbox: Path) -> None:
    """Files, documents, those of nobody, what waits, what was rejected or skipped and why."""
    read(engine, inbox)
    overview = load_overview(engine)
    found = email(overview)
    assert (found.files, found.documents, found.unassigned, found.pending, found.failed) == (6, 3, 1, 2, 0)
    assert (found.rejected, found.skipped, found.units) == (2, {"automatic_mail": 1}, {"mail": 3})
    assert overview.profiles == 2
    assert {(unit.file, unit.position) for unit in overview.rejected} == {
        ("email/5.eml", "byte 0"),
        ("email/holiday.jpg", "file"),
    }


def test_only_the_latest_rejections_are_listed(engine: Engine, inbox: Path) -> None:
    """The count stays whole."""
    read(engine, inbox)
    overview = load_overview(engine, rejected_limit=1)
    assert (len(overview.rejected), email(overview).rejected) == (1, 2)
    assert isinstance(overview.rejected[0], RejectedUnit)


def test_failed_documents_count_by_reason(engine: Engine, inbox: Path) -> None:
    """Until an extraction of them succeeds."""
    read(engine, inbox)
    with reading(engine) as connection:
        ids = [d.id for d in load_documents(connection, _document_ids(engine)) if d.profile_id]
    failed = [Extraction(ids[0], Status.FAILED, reason="truncated"), Extraction(ids[1], Status.EMPTY)]
    save_extractions(engine, failed, "f1", "m", "run-1")
    overview = load_overview(engine)
    assert (email(overview).pending, email(overview).failed, overview.failed) == (0, 1, {"truncated": 1})
    save_extractions(engine, [Extraction(ids[0], Status.EMPTY)], "f1", "m", "run-2")
    overview = load_overview(engine)
    assert (email(overview).pending, email(overview).failed, overview.failed) == (0, 0, {})


def _document_ids(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return list(connection.execute(select(DocumentRow.id).order_by(DocumentRow.native_id)).scalars())


def test_facts_and_what_waits_for_folding(engine: Engine) -> None:
    """A direct text has no file; its facts count at once."""
    pipeline = Pipeline(load_settings(), engine, SCHEMA, OfflineExtractor(SCHEMA))
    profile = create_profile(engine, "crm-1")
    assert load_overview(engine).unfolded == 1
    ingest_text(pipeline, profile, TextRequest("I moved to Lisbon.", occurred_at=datetime(2024, 1, 1, tzinfo=UTC)))
    overview = load_overview(engine)
    assert (overview.unfolded, overview.traits, overview.memories, overview.evidence) == (0, 1, 1, 2)
    assert overview.sources == (SourceOverview("direct", 0, 1, 0, 0, 0, 0, {}, {}),)


def test_spending_is_over_all_time(engine: Engine) -> None:
    """Calls and US dollars of every outcome; a call that was never sent is none, one of unknown price is counted."""
    at = datetime(2024, 1, 1, tzinfo=UTC)
    outcomes = [
        ("ok", 0.1, at),
        ("truncated", 0.2, at),
        ("ok", None, at),
        ("unsent", None, at),
        ("pending", None, None),
    ]
    with engine.begin() as connection:
        for number, (outcome, cost, finished) in enumerate(outcomes):
            row = {
                "id": str(uuid.UUID(int=number)), "request_key": "k", "purpose": "extract", "model": "m", "attempt": 1,
                "outcome": outcome, "held_usd": 0.0, "cost_usd": cost, "worker": "w", "created_at": at,
                "finished_at": finished,
            }  # fmt: skip
            connection.execute(insert(LlmCallRow).values(**row))
    overview = load_overview(engine)
    assert (overview.llm_calls, overview.unpriced_calls, overview.spent_usd) == (4, 1, 0.3)
