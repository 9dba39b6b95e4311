"""Working on uploads: whose turn it is, what is broken off and goes on, what is counted, what is removed."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import QueuePool, create_engine, update

from ingest_pipeline import uploads
from ingest_pipeline.api.receiving import Receiver
from ingest_pipeline.api.upload_worker import UploadWorker
from ingest_pipeline.documents import Document
from ingest_pipeline.erasing import erase
from ingest_pipeline.errors import ConfigurationError, InvalidInput
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.extraction.base import Extraction, Extractor, Status
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.pipeline import Pipeline, open_pipeline
from ingest_pipeline.progress import LogProgress
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store import uploads as store
from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.tables import DocumentRow
from ingest_pipeline.store.upload_tables import UploadLineRow, UploadRow
from ingest_pipeline.store.uploads import claim, load_failures, load_upload, open_lines, remove_ended, settle
from ingest_pipeline.uploads import work_once
from tests.builders import rows
from tests.extractors import Around
from tests.serving import serving

WORKER, OTHER = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))


@pytest.fixture
def pipeline(database_url: str, tmp_path: Path) -> Iterator[Pipeline]:
    """Without a server: nobody works on uploads but the test."""
    pipeline = open_pipeline(load_settings(home=tmp_path, database_url=database_url))
    create_profile(pipeline.engine, "ana")
    yield pipeline
    pipeline.close()


def line(text: str) -> bytes:
    return json.dumps({"profile": "ana", "data": text}).encode()


def upload(pipeline: Pipeline, *texts: str) -> str:
    receiver = Receiver(pipeline, "tester")
    receiver.store([(n, line(text)) for n, text in enumerate(texts, start=1)])
    receiver.end()
    assert receiver.upload_id
    return receiver.upload_id


def told(pipeline: Pipeline, job: str) -> tuple[str, int, int, int, str | None]:
    found = load_upload(pipeline.engine, job)
    return found.state, found.stored, found.extracted, found.failed, found.problem


@dataclass(frozen=True)
class OverChess(Around):
    """An extractor for which texts about chess fail, or end the run as a spent budget does."""

    inside: Extractor
    stops: bool

    def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
        for document in documents:
            if "chess" not in document.text:
                yield from self.inside.extract([document])
            elif self.stops:
                raise ConfigurationError("the budget is spent")
            else:
                yield Extraction(document.id, Status.FAILED, reason="no_answer")


RUNNING = threading.Event()
"""Never set: nobody stops."""


def expire(pipeline: Pipeline, job: str) -> None:
    """Its lease ran out."""
    with pipeline.engine.begin() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(UploadRow).where(UploadRow.id == job).values(claimed_until=past))


def test_one_worker_at_a_time_and_the_next_when_it_died(pipeline: Pipeline) -> None:
    job = upload(pipeline, "I live in Lisbon.", "I love chess.")
    assert claim(pipeline.engine, WORKER) == job
    assert claim(pipeline.engine, OTHER) is None
    assert told(pipeline, job) == ("running", 2, 0, 0, None)
    assert not work_once(pipeline, RUNNING)
    expire(pipeline, job)
    assert work_once(pipeline, RUNNING)
    assert told(pipeline, job) == ("done", 2, 2, 0, None)
    assert not work_once(pipeline, RUNNING)


def test_of_many_that_ask_at_once_one_gets_it(pipeline: Pipeline) -> None:
    job = upload(pipeline, "I live in Lisbon.")
    at_once = threading.Barrier(4)

    def ask(n: int) -> str | None:
        at_once.wait()
        return claim(pipeline.engine, f"00000000-0000-4000-8000-00000000001{n}")

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(ask, range(4)))
    assert Counter(got) == {job: 1, None: 3}


def test_a_server_that_starts_goes_on_with_what_another_left(pipeline: Pipeline, database_url: str) -> None:
    job = upload(pipeline, "I live in Lisbon.")
    with serving(database_url, pipeline.settings.home) as client:
        for _ in range(600):
            if told(pipeline, job)[0] == "done":
                break
            threading.Event().wait(0.05)
        assert told(pipeline, job) == ("done", 1, 1, 0, None)
        assert client.get("/api/profiles/ana/traits").json()["traits"]


def test_a_batch_whose_receiver_died_is_worked_on_as_far_as_it_came(pipeline: Pipeline) -> None:
    receiver = Receiver(pipeline, "tester")
    receiver.store([(1, line("I live in Lisbon."))])
    assert receiver.upload_id
    assert not work_once(pipeline, RUNNING)
    expire(pipeline, receiver.upload_id)
    assert work_once(pipeline, RUNNING)
    assert told(pipeline, receiver.upload_id) == ("done", 1, 1, 0, None)
    receiver.store([(2, line("I love chess."))])  # it was not dead, only slow
    receiver.end()
    assert work_once(pipeline, RUNNING)
    assert told(pipeline, receiver.upload_id) == ("done", 2, 2, 0, None)


def test_what_is_broken_off_goes_on_and_nothing_counts_twice(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "PAGE", 2)
    job = upload(pipeline, *(f"I live in Lisbon {n}." for n in range(5)))
    page = open_lines(pipeline.engine, job, 0, 2)
    stopped = threading.Event()
    stopped.set()
    assert work_once(pipeline, stopped)
    assert told(pipeline, job) == ("queued", 5, 0, 0, None)
    assert work_once(pipeline, RUNNING)
    assert told(pipeline, job) == ("done", 5, 5, 0, None)
    assert settle(pipeline.engine, job, page) == 0
    assert told(pipeline, job) == ("done", 5, 5, 0, None)


def test_a_document_that_fails_is_told_and_the_others_go_on(pipeline: Pipeline) -> None:
    failing = replace(pipeline, extractor=OverChess(pipeline.extractor, stops=False))
    job = upload(pipeline, "I live in Lisbon.", "I love chess.")
    assert work_once(failing, RUNNING)
    assert told(pipeline, job) == ("done", 2, 1, 1, None)
    (failure,) = load_failures(pipeline.engine, job, 0, 10)
    assert (failure.line, failure.code, "no_answer" in failure.message) == (2, "extraction_error", True)
    assert failure.document_id


def test_a_spent_budget_makes_a_batch_wait_and_a_sync_may_do_it_meanwhile(pipeline: Pipeline) -> None:
    stopping = replace(pipeline, extractor=OverChess(pipeline.extractor, stops=True))
    job = upload(pipeline, "I love chess.")
    assert work_once(stopping, RUNNING)
    assert told(pipeline, job) == ("queued", 1, 0, 0, "configuration_error")
    assert not work_once(stopping, RUNNING)
    list(extract_pending(pipeline.engine, pipeline.extractor, Selection(pipeline.extractor.fingerprint)))
    expire(pipeline, job)
    assert work_once(stopping, RUNNING)
    assert told(pipeline, job) == ("done", 1, 1, 0, None)


def test_an_erased_person_leaves_no_open_line(pipeline: Pipeline) -> None:
    job = upload(pipeline, "I live in Lisbon.")
    refold = partial(fold_profiles, pipeline.engine, pipeline.schema)
    erase(
        pipeline.engine,
        find_profile(pipeline.engine, "ana"),
        refold,
        "tester",
        Via.CLI,
        LogProgress(lambda _line: None),
    )
    assert work_once(pipeline, RUNNING)
    assert told(pipeline, job) == ("done", 1, 0, 0, None)


def ended(pipeline: Pipeline, job: str, at: datetime) -> None:
    with pipeline.engine.begin() as connection:
        connection.execute(update(UploadRow).where(UploadRow.id == job).values(ended_at=at))


def test_what_ended_long_ago_is_removed_and_its_texts_stay(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    """By a server that starts, or goes on; however many lines there are. What is not done never."""
    monkeypatch.setattr(store, "_REMOVED_AT_ONCE", 2)
    failing = replace(pipeline, extractor=OverChess(pipeline.extractor, stops=False))
    old, young = (upload(pipeline, "I live in Lisbon.", *(f"I love chess {n}." for n in range(5))) for _ in range(2))
    while work_once(failing, RUNNING):
        pass
    open_ = upload(pipeline, "I work at Bolt.")
    now = datetime.now(UTC)
    for job, at in ((old, now - store.KEPT - timedelta(hours=1)), (young, now - store.KEPT + timedelta(hours=1))):
        ended(pipeline, job, at)
    ended(pipeline, open_, now - timedelta(days=90))
    assert remove_ended(pipeline.engine, now) == 1
    assert remove_ended(pipeline.engine, now) == 0
    with pytest.raises(InvalidInput, match="no batch has this id"):
        load_upload(pipeline.engine, old)
    assert told(pipeline, young)[:4] == ("done", 6, 1, 5)
    assert told(pipeline, open_)[0] == "queued"
    assert {row.upload_id for row in rows(pipeline.engine, UploadLineRow)} == {young, open_}
    assert len(rows(pipeline.engine, DocumentRow)) == 7
    ended(pipeline, young, now - timedelta(days=90))
    with serving(database_url, pipeline.settings.home):
        for _ in range(600):
            if {row.id for row in rows(pipeline.engine, UploadRow)} == {open_}:
                break
            threading.Event().wait(0.05)
    assert {row.id for row in rows(pipeline.engine, UploadRow)} == {open_}


def test_a_worker_for_whom_no_connection_was_free_goes_on(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    busy = create_engine(pipeline.engine.url, poolclass=QueuePool, pool_size=8, max_overflow=0, pool_timeout=0)
    with ExitStack() as held:
        for _ in range(8):
            held.enter_context(busy.connect())
        worker = UploadWorker(replace(pipeline, engine=busy))
        assert came_true(lambda: "it is tried again" in caplog.text)
    job = upload(pipeline, "I love chess.")
    worker.wake()
    assert came_true(lambda: told(pipeline, job)[:3] == ("done", 1, 1))
    worker.stop()
    worker.join()
    busy.dispose()


def came_true(condition: Callable[[], bool]) -> bool:
    """Within a minute."""
    return any(condition() or threading.Event().wait(0.02) for _ in range(3_000))
