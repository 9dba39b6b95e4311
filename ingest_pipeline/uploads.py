"""Working on uploads: their documents are extracted and folded a page at a time, by whoever has a turn.

    claim ──▶ a page of lines ──▶ extract ──▶ fold ──▶ settle ──▶ … ──▶ release

What is pending stands in the store, so a page that is broken off is simply done again, here, by another process or by
the next sync; a document that is extracted is never extracted twice.
"""

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from threading import Event, Thread

from sqlalchemy.exc import DBAPIError

from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.llm.errors import ClientClosed, LlmStopped
from ingest_pipeline.pipeline import Pipeline, extractor_threads
from ingest_pipeline.store import uploads
from ingest_pipeline.store.extractions import Selection

PAGE = 200
"""Lines that are extracted, folded and counted together."""

TURN = 50
"""Pages until another upload has its turn."""

WAIT = timedelta(seconds=60)
"""Until what could not go on, for want of money or of an answer, is tried again."""


def work_once(pipeline: Pipeline, stopping: Event) -> bool:
    """Take a turn at the upload that waited longest. Returns False when there is none.

    Ends soon after ``stopping`` is set; what is done by then is kept and counted.
    """
    worker = str(uuid.uuid4())
    upload = uploads.claim(pipeline.engine, worker)
    if upload is None:
        return False
    with _kept(pipeline, upload, worker):
        problem, progress = _work(pipeline, upload, stopping)
    at_once = stopping.is_set() or (progress and problem is None)
    uploads.release(pipeline.engine, upload, worker, problem, timedelta(0) if at_once else WAIT)
    return True


def _work(pipeline: Pipeline, upload: str, stopping: Event) -> tuple[str | None, bool]:
    """Why it cannot go on, if so, and whether anything was done."""
    after = done = 0
    for _ in range(TURN):
        lines = uploads.open_lines(pipeline.engine, upload, after, PAGE)
        if not lines or stopping.is_set():
            break
        problem = _extract(pipeline, frozenset(lines.values()), stopping)
        done += uploads.settle(pipeline.engine, upload, lines)
        if problem:
            return problem, done > 0
        after = max(lines)
    return None, done > 0


def _extract(pipeline: Pipeline, documents: frozenset[str], stopping: Event) -> str | None:
    """Extract and fold; a short code when the extractor says that going on makes no sense now."""
    extractor = pipeline.extractor
    profiles = uploads.load_profiles(pipeline.engine, documents)
    selection = Selection(extractor.fingerprint, profiles=profiles, documents=documents)
    problem = None
    try:
        outcomes = extract_pending(pipeline.engine, extractor, selection, extractor_threads(pipeline.settings))
        with closing(outcomes):
            for _ in outcomes:
                if stopping.is_set():
                    break
    except ClientClosed:  # the server stops
        pass
    except LlmStopped as stopped:
        problem = stopped.code
    except ConfigurationError:
        problem = "configuration_error"
    rules = pipeline.settings.fold_rules()
    for _ in fold_profiles(pipeline.engine, pipeline.schema, sorted(profiles), rules, changed_only=True):
        pass
    return problem


@contextmanager
def _kept(pipeline: Pipeline, upload: str, worker: str) -> Iterator[None]:
    """Nobody else takes the upload meanwhile, however long a page takes."""
    over = Event()

    def keep() -> None:
        while not over.wait(uploads.LEASE.total_seconds() / 3):
            try:
                uploads.extend(pipeline.engine, upload, worker)
            except DBAPIError:  # then another process may take it: twice is no harm
                return

    thread = Thread(target=keep, name="keep-upload", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
