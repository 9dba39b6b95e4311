"""Working on uploads: their documents are extracted a page at a time, by whoever has a turn.

    claim ──▶ pages of lines ──▶ extract … ──▶ fold ──▶ settle ──▶ … ──▶ release

What is pending stands in the store, so what is broken off is simply done again, here, by another process or by
the next sync; a document that is extracted is never extracted twice.
"""

import time
import uuid
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from functools import partial
from threading import Event

from ingest_pipeline.errors import ConfigurationError
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.leases import kept
from ingest_pipeline.llm.errors import ClientClosed, LlmStopped
from ingest_pipeline.pipeline import Pipeline, extractor_threads
from ingest_pipeline.store import uploads
from ingest_pipeline.store.extractions import Selection

PAGE = 200
"""Lines that are extracted together."""

TURN = 50
"""Pages until another upload has its turn."""

SETTLE_S = 10.0
"""How often a profile is folded at most, and how old the counts may be that a caller sees."""

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
    with kept(partial(uploads.extend, pipeline.engine, upload, worker), uploads.LEASE.total_seconds() / 3):
        problem, progress = _work(pipeline, upload, stopping)
    at_once = stopping.is_set() or (progress and problem is None)
    uploads.release(pipeline.engine, upload, worker, problem, timedelta(0) if at_once else WAIT)
    return True


def _work(pipeline: Pipeline, upload: str, stopping: Event) -> tuple[str | None, bool]:
    """Why it cannot go on, if so, and whether anything was done."""
    turn = _Turn(pipeline, upload)
    after = 0
    problem = None
    for _ in range(TURN):
        lines = uploads.open_lines(pipeline.engine, upload, after, PAGE)
        if not lines or stopping.is_set() or problem:
            break
        problem = turn.extract(lines, stopping)
        after = max(lines)
    turn.settle()
    return problem, turn.settled > 0


class _Turn:
    """Pages of one upload. Their profiles are folded together now and then: a profile's lines are often far apart."""

    def __init__(self, pipeline: Pipeline, upload: str) -> None:
        self.pipeline, self.upload = pipeline, upload
        self.settled = 0
        self._lines: dict[int, str] = {}
        self._since = time.monotonic()

    def extract(self, lines: Mapping[int, str], stopping: Event) -> str | None:
        """A short code when the extractor says that going on makes no sense now."""
        self._lines |= lines
        problem = _extract(self.pipeline, frozenset(lines.values()), stopping)
        if time.monotonic() - self._since >= SETTLE_S:
            self.settle()
        return problem

    def settle(self) -> None:
        """Fold, then count what is done."""
        if not self._lines:
            return
        engine, rules = self.pipeline.engine, self.pipeline.settings.fold_rules()
        profiles = sorted(uploads.load_profiles(engine, set(self._lines.values())))
        for _ in fold_profiles(engine, self.pipeline.schema, profiles, rules, changed_only=True):
            pass
        self.settled += uploads.settle(engine, self.upload, self._lines)
        self._lines, self._since = {}, time.monotonic()


def _extract(pipeline: Pipeline, documents: frozenset[str], stopping: Event) -> str | None:
    extractor = pipeline.extractor
    profiles = uploads.load_profiles(pipeline.engine, documents)
    selection = Selection(extractor.fingerprint, profiles=profiles, documents=documents)
    try:
        outcomes = extract_pending(pipeline.engine, extractor, selection, extractor_threads(pipeline.settings))
        with closing(outcomes):
            for _ in outcomes:
                if stopping.is_set():
                    break
    except ClientClosed:  # the server stops
        pass
    except LlmStopped as stopped:
        return stopped.code
    except ConfigurationError:
        return "configuration_error"
    return None
