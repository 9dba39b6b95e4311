"""Many texts in one request: every line is a stored text or a recorded rejection, whatever happens then."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from ingest_pipeline.api import guard
from ingest_pipeline.api.receiving import MAX_LINE_BYTES, Lines
from ingest_pipeline.store.tables import DocumentRow
from ingest_pipeline.store.upload_tables import UploadRow
from tests.serving import KEY, serving

PATH = "/api/ingest/batch"


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
