"""Many texts in one request: every line is a stored text or a recorded rejection, whatever happens then."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from ingest_pipeline import uploads
from ingest_pipeline.api import guard
from ingest_pipeline.api.receiving import MAX_LINE_BYTES, Lines, Receiver
from ingest_pipeline.documents import Document
from ingest_pipeline.erasing import erase
from ingest_pipeline.errors import ConfigurationError, InvalidInput
from ingest_pipeline.extracting import extract_pending
from ingest_pipeline.extraction.base import Extraction, Extractor, Status
from ingest_pipeline.folding import fold_profiles
from ingest_pipeline.pipeline import Pipeline, open_pipeline
from ingest_pipeline.progress import LogProgress
from ingest_pipeline.settings import load_settings
from ingest_pipeline.store.audit_log import Via
from ingest_pipeline.store.direct import create_profile
from ingest_pipeline.store.extractions import Selection
from ingest_pipeline.store.lookup import find_profile
from ingest_pipeline.store.resolving import find_profiles
from ingest_pipeline.store.tables import DocumentRow
from ingest_pipeline.store.upload_tables import UploadRow
from ingest_pipeline.store.uploads import claim, load_failures, load_upload, open_lines, settle
from ingest_pipeline.uploads import work_once
from tests.builders import contact, record, save
from tests.serving import KEY, serving

PATH = "/api/ingest/batch"
WORKER, OTHER = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[TestClient]:
    with serving(database_url, tmp_path) as client:
        for name in ("ana", "bo@bolt.example"):
            client.post("/api/profiles", json={"externalId": name})
        yield client


def lines(*entries: Any) -> bytes:
    return b"\n".join(e if isinstance(e, bytes) else json.dumps(e).encode() for e in entries)


def finished(client: TestClient, job: str) -> Any:
    for _ in range(600):
        answer = client.get(f"{PATH}/{job}").json()
        if answer["job"]["state"] == "done":
            return answer
        threading.Event().wait(0.05)
    raise AssertionError(answer)


def counts(job: Any) -> tuple[int, ...]:
    return tuple(job[name] for name in ("total", "stored", "rejected", "extracted", "failed"))


def documents(client: TestClient) -> int:
    engine = client.app.state.services.pipeline.engine  # type: ignore[attr-defined]
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(DocumentRow)).scalar_one())


def test_texts_are_stored_before_the_answer_and_extracted_after_it(client: TestClient) -> None:
    body = lines(
        {"profile": "ana", "data": "I live in Lisbon.", "source": "crm", "occurredAt": "2024-05-01T10:00:00Z"},
        {"profile": "bo@bolt.example", "data": "I love chess.", "metadata": {"page": 1}},
        {"profile": "ana", "data": "I work at Bolt.", "extractTraits": False, "extractMemories": False},
    )
    response = client.post(PATH, content=body + b"\n")
    job = response.json()["job"]
    assert (response.status_code, response.headers["Location"]) == (202, f"{PATH}/{job['id']}")
    assert (job["total"], job["stored"], documents(client)) == (3, 3, 3)

    done = finished(client, job["id"])
    assert counts(done["job"]) == (3, 3, 0, 3, 0)
    assert (done["failures"], done["more"], done["job"]["problem"]) == ([], False, None)
    assert done["job"]["endedAt"]
    ana = client.get("/api/profiles/ana/lineage").json()
    (location,) = ana["traits"]
    assert (location["key"], location["value"]) == ("location", "Lisbon")
    assert location["evidence"][0]["occurredAt"] == "2024-05-01T10:00:00.000Z"
    assert location["evidence"][0]["metadata"]["source"] == "crm"
    assert client.get("/api/profiles/bo@bolt.example/traits").json()["traits"]


REJECTED: list[tuple[Any, str]] = [
    (b"{", "invalid_json"),
    (b"[]", "invalid_json"),
    (b'{"profile": "ana", "data": "\xff"}', "invalid_json"),
    (b"[" * 100_000, "invalid_json"),
    (b'{"profile": "ana", "data": ' + b"1" * 5_000 + b"}", "invalid_json"),
    (b'{"profile": "ana", "data": "\\u0000"}', "invalid_data"),
    (b'{"profile": "ana\\u0000", "data": "x"}', "invalid_profile"),
    ({"data": "x"}, "invalid_profile"),
    ({"profile": 5, "data": "x"}, "invalid_profile"),
    ({"profile": "nobody", "data": "x"}, "profile_not_found"),
    ({"profile": "00000000-0000-4000-8000-000000000000", "data": "x"}, "profile_not_found"),
    ({"profile": "ana"}, "invalid_data"),
    ({"profile": "ana", "data": "x" * 102_401}, "data_too_large"),
    (b'{"profile": "ana", "data": "' + b"x" * MAX_LINE_BYTES + b'"}', "data_too_large"),
    ({"profile": "ana", "data": "x", "source": 5}, "invalid_source"),
    ({"profile": "ana", "data": "x", "metadata": []}, "invalid_metadata"),
    ({"profile": "ana", "data": "x", "occurredAt": "yesterday"}, "invalid_occurred_at"),
    ({"profile": "ana", "data": "x", "extractTraits": 1}, "invalid_extract_traits"),
    ({"profile": "ana", "data": "x", "extractMemories": "no"}, "invalid_extract_memories"),
]


def test_what_is_no_text_of_a_known_profile_is_told_by_its_line(client: TestClient) -> None:
    """And keeps nothing else from being stored; the messages hold none of the text."""
    body = b"\xef\xbb\xbf" + lines({"profile": "ana", "data": "first"}, b"", b"  ", *(bad for bad, _ in REJECTED))
    body += b"\r\n" + lines({"profile": "ana", "data": "last"})
    job = client.post(PATH, content=body).json()["job"]
    done = finished(client, job["id"])
    assert counts(done["job"]) == (len(REJECTED) + 2, 2, len(REJECTED), 2, 0)
    told = [(failure["line"], failure["code"]) for failure in done["failures"]]
    assert told == [(number, code) for number, (_, code) in enumerate(REJECTED, start=4)]
    assert not any(word in failure["message"] for failure in done["failures"] for word in ("nobody", "yesterday"))


def test_failures_come_in_pages(client: TestClient) -> None:
    job = client.post(PATH, content=lines(*[b"x"] * 5)).json()["job"]["id"]
    first = client.get(f"{PATH}/{job}", params={"limit": 3}).json()
    assert ([f["line"] for f in first["failures"]], first["more"]) == ([1, 2, 3], True)
    rest = client.get(f"{PATH}/{job}", params={"limit": 3, "after": 3}).json()
    assert ([f["line"] for f in rest["failures"]], rest["more"]) == ([4, 5], False)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{PATH}/nothing", 404, "job_not_found"),
        (f"{PATH}/00000000-0000-4000-8000-000000000000", 404, "job_not_found"),
        (f"{PATH}/x?limit=0", 400, "invalid_limit"),
        (f"{PATH}/x?after=-1", 400, "invalid_after"),
    ],
)
def test_a_batch_that_nobody_handed_over(client: TestClient, path: str, status: int, code: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("body", [b"", b"\n \r\n"])
def test_a_body_without_lines_is_refused(client: TestClient, body: bytes) -> None:
    response = client.post(PATH, content=body)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_data")


def test_the_same_lines_again_are_the_same_texts(client: TestClient) -> None:
    """Also twice in one batch, and when they were given one by one before."""
    line = {"profile": "ana", "data": "I live in Lisbon."}
    client.post("/api/profiles/ana/ingest", json={"data": line["data"]})
    for _ in range(2):
        job = client.post(PATH, content=lines(line, line, line)).json()["job"]["id"]
        assert counts(finished(client, job)["job"]) == (3, 3, 0, 3, 0)
    assert documents(client) == 1


def streamed(client: TestClient, *messages: dict[str, Any]) -> tuple[int, Any]:
    """The answer to a body that comes in several messages, as from a network."""
    sent: list[dict[str, Any]] = []
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"authorization", f"Bearer {KEY}".encode())]
    scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": headers}
    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent))


def chunks(n: int) -> list[dict[str, Any]]:
    said = (lines({"profile": "ana", "data": f"I live in Lisbon {number}."}) + b"\n" for number in range(n))
    return [{"type": "http.request", "body": body, "more_body": True} for body in said]


def test_a_body_that_gets_too_large_counts_as_far_as_it_came(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so: the lines that were stored are extracted, and named by their job."""
    monkeypatch.setattr(guard, "MAX_BODY_BYTES", ((PATH, 2_000, "data_too_large"), ("", 1_000_000, "data_too_large")))
    status, answer = streamed(client, *chunks(100))
    assert (status, answer["error"]["code"]) == (400, "data_too_large")
    job = answer["error"]["details"]["job"]
    assert 0 < job["total"] == job["stored"] == documents(client) < 100
    assert finished(client, job["id"])["job"]["extracted"] == job["total"]


def test_a_client_that_goes_away_loses_no_line_that_came(client: TestClient) -> None:
    status, _ = streamed(client, *chunks(3), {"type": "http.disconnect"})
    assert status == 400
    assert documents(client) == 3
    engine = client.app.state.services.pipeline.engine  # type: ignore[attr-defined]
    with engine.connect() as connection:
        job = connection.execute(select(UploadRow.id)).scalar_one()
    assert counts(finished(client, job)["job"]) == (3, 3, 0, 3, 0)


@given(st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=12), st.integers(1, 9))
def test_lines_do_not_depend_on_how_the_bytes_come(expected: list[bytes], size: int) -> None:
    body = b"\n".join(expected)
    cut = Lines()
    found = [line for start in range(0, len(body), size) for line in cut.feed(body[start : start + size])]
    found += cut.rest()
    plain = [line.strip() for line in expected]
    plain[:1] = [line.removeprefix(b"\xef\xbb\xbf") for line in plain[:1]]
    assert found == [(number, line) for number, line in enumerate(plain, start=1) if line]


def test_a_line_of_any_length_takes_bounded_memory() -> None:
    cut = Lines()
    for _ in range(50):
        assert not list(cut.feed(b"x" * 100_000))
        assert len(cut._begun) <= MAX_LINE_BYTES
    assert list(cut.feed(b"\nnext\n")) == [(1, None), (2, b"next")]


@pytest.fixture
def pipeline(database_url: str, tmp_path: Path) -> Iterator[Pipeline]:
    """Without a server: nobody works on uploads but the test."""
    pipeline = open_pipeline(load_settings(home=tmp_path, database_url=database_url))
    create_profile(pipeline.engine, "ana")
    yield pipeline
    pipeline.close()


def upload(pipeline: Pipeline, *texts: str) -> str:
    receiver = Receiver(pipeline, "tester")
    receiver.store([(n, lines({"profile": "ana", "data": text})) for n, text in enumerate(texts, start=1)])
    receiver.end()
    assert receiver.upload_id
    return receiver.upload_id


def told(pipeline: Pipeline, job: str) -> tuple[str, int, int, int, str | None]:
    found = load_upload(pipeline.engine, job)
    return found.state, found.stored, found.extracted, found.failed, found.problem


@dataclass(frozen=True)
class OverChess:
    """An extractor for which texts about chess fail, or end the run as a spent budget does."""

    inside: Extractor
    stops: bool

    @property
    def model(self) -> str:
        return self.inside.model

    @property
    def fingerprint(self) -> str:
        return self.inside.fingerprint

    def check(self) -> None: ...

    def close(self) -> None: ...

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
        assert counts(finished(client, job)["job"]) == (1, 1, 0, 1, 0)
        assert client.get("/api/profiles/ana/traits").json()["traits"]


def test_a_batch_whose_receiver_died_is_worked_on_as_far_as_it_came(pipeline: Pipeline) -> None:
    receiver = Receiver(pipeline, "tester")
    receiver.store([(1, lines({"profile": "ana", "data": "I live in Lisbon."}))])
    assert receiver.upload_id
    assert not work_once(pipeline, RUNNING)
    expire(pipeline, receiver.upload_id)
    assert work_once(pipeline, RUNNING)
    assert told(pipeline, receiver.upload_id) == ("done", 1, 1, 0, None)
    receiver.store([(2, lines({"profile": "ana", "data": "I love chess."}))])  # it was not dead, only slow
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


def test_many_profiles_are_found_as_one_is(pipeline: Pipeline) -> None:
    create_profile(pipeline.engine, "ben@bolt.example")
    for n in (1, 2):
        save(pipeline.engine, record(contact(n, "shared@bolt.example"), native_id=str(n)))
    references = [
        "ana",
        " ana ",
        "Ben@Bolt.example",
        "email:BEN@bolt.example",
        "shared@bolt.example",
        "nobody",
        "",
        "\0",
    ]
    references.append(find_profile(pipeline.engine, "ana").upper())
    with pipeline.engine.connect() as connection:
        found = find_profiles(connection, references)
    assert {r: _code(f) for r, f in found.items()} == {r: _code(_one_by_one(pipeline, r)) for r in references}
    assert sum(isinstance(f, str) for f in found.values()) == 5


def _one_by_one(pipeline: Pipeline, reference: str) -> str | InvalidInput:
    try:
        return find_profile(pipeline.engine, reference)
    except InvalidInput as error:
        return error


def _code(found: str | InvalidInput) -> str:
    return found if isinstance(found, str) else found.code


def expire(pipeline: Pipeline, job: str) -> None:
    """Its lease ran out."""
    with pipeline.engine.begin() as connection:
        past = datetime.now(UTC) - timedelta(seconds=1)
        connection.execute(update(UploadRow).where(UploadRow.id == job).values(claimed_until=past))
