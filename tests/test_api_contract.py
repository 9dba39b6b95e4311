"""The API's contract, row by row: each call's answer has the shape of the OpenAPI document, each error its own code."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from sqlalchemy import QueuePool, create_engine

from ingest_pipeline.api.openapi import status_of
from ingest_pipeline.documents import Document
from ingest_pipeline.extraction.base import Extraction, Extractor, Status
from ingest_pipeline.llm.errors import BudgetExhausted
from ingest_pipeline.store.engine import create_store_engine
from tests.builders import contact, record, save
from tests.extractors import Around
from tests.serving import serving
from tests.upstream import Upstream

SAID = "I moved to Lisbon last month. I love chess. We are evaluating the enterprise plan."
ANA, SHARED = "/api/profiles/ana", "shared@x.example"
CHAT = "/v1/chat/completions"
BATCH = "/api/ingest/batch"
CONTENT = {"content": "Has a dog.", "type": "fact"}
MESSAGE = {"role": "user", "content": "Hello."}
COMPLETION = {"model": "gpt-x", "messages": [MESSAGE], "user": "ana"}


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth > 1 else {}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[TestClient]:
    """One server for all rows: none depends on another. Knows Ana, Bo who said nothing, and two who share an address;
    Cy was erased."""
    home = tmp_path_factory.mktemp("contract")
    more = {"api_rpm": 1_000_000, "upstream_base_url": upstream.base_url, "upstream_key": "configured"}
    with serving(f"sqlite:///{home / 'profiles.db'}", home, trusted_proxies=["testclient"], **more) as client:
        for name in ("ana", "bo", "cy"):
            client.post("/api/profiles", json={"externalId": name})
        client.delete("/api/profiles/cy")
        for n in (1, 2):
            save(client.app.state.services.pipeline.engine, record(contact(n, SHARED), native_id=str(n)))  # type: ignore[attr-defined]
        client.post(f"{ANA}/ingest", json={"data": SAID, "occurredAt": "2024-06-01T10:00:00Z"})
        yield client


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operation_of(document: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    """What the document says of a call, by a path with values in it."""
    for template, operations in document["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path.partition("?")[0]):
            found: dict[str, Any] = operations.get(method.lower(), {})
            if found:
                return found
    raise AssertionError(f"{method} {path} is not in the OpenAPI document")


def check_shape(document: dict[str, Any], method: str, path: str, response: Any) -> None:
    """That the document has this status, and this answer has its shape."""
    described = operation_of(document, method, path)["responses"][str(response.status_code)]
    schema = described["content"]["application/json"]["schema"] | {"components": document["components"]}
    Draft202012Validator(schema).validate(response.json())


def check_times(value: Any, name: str = "") -> None:
    """That all of them are in UTC, and say so by ``Z``."""
    if isinstance(value, dict):
        for inner, held in value.items():
            check_times(held, inner)
    elif isinstance(value, list):
        for held in value:
            check_times(held, name)
    elif name.endswith("At") and value is not None:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", value), (name, value)


MEMORY, BOS = "{memory of Ana}", "/api/profiles/bo"

GOOD: list[tuple[str, str, Any, int]] = [
    ("GET", "/health", None, 200),
    ("GET", "/ready", None, 200),
    ("POST", f"{ANA}/ingest", {"data": "I moved to Porto."}, 200),
    ("POST", f"{ANA}/ingest", {"data": "Hi.", "source": "x", "metadata": {"a": [1]}, "extractTraits": False}, 200),
    ("POST", f"{ANA}/ingest", {"data": "Ho.", "metadata": nested(20)}, 200),
    ("GET", "/api/profiles?limit=1&offset=0&search=an", None, 200),
    ("POST", "/api/profiles", {"externalId": "ana"}, 200),
    ("GET", ANA, None, 200),
    ("PATCH", BOS, {"summary": "Quiet."}, 200),
    ("GET", f"{ANA}/export", None, 200),
    ("GET", f"{ANA}/traits", None, 200),
    ("PUT", f"{BOS}/traits/interests", {"value": ["chess"], "confidence": 0.5}, 200),
    ("DELETE", f"{BOS}/traits/interests", None, 200),
    ("GET", f"{ANA}/memories?type=fact&limit=200", None, 200),
    ("POST", f"{BOS}/memories", CONTENT | {"importance": 0.2}, 201),
    ("GET", f"{BOS}/export", None, 200),
    ("DELETE", f"{ANA}/memories/{MEMORY}", None, 200),
    ("GET", f"{ANA}/lineage", None, 200),
    ("POST", BATCH, {"profile": "ana", "data": "Good morning."}, 202),
    ("GET", "/v1/models", None, 200),
    ("POST", CHAT, COMPLETION, 200),
    ("DELETE", BOS, None, 200),
]  # fmt: skip


def test_every_call_answers_in_the_documents_shape(client: TestClient, document: dict[str, Any]) -> None:
    """In this order; every call of the document is among them."""
    memory = client.get(f"{ANA}/memories").json()["memories"][0]["id"]
    seen = set()
    for method, path, body, status in GOOD:
        path = path.replace(MEMORY, memory)
        response = client.request(method, path, json=body)
        assert response.status_code == status, (method, path, response.text)
        check_shape(document, method, path, response)
        check_times(response.json())
        seen.add(operation_of(document, method, path)["operationId"])
        if path == BATCH:
            job = response.headers["Location"]
            progress = client.get(job)
            check_shape(document, "GET", job, progress)
            seen.add(operation_of(document, "GET", job)["operationId"])
    described = {one["operationId"] for operations in document["paths"].values() for one in operations.values()}
    assert seen == described


@dataclass(frozen=True)
class Failing(Around):
    """An extractor that fails as the text says."""

    inside: Extractor

    def extract(self, documents: Sequence[Document]) -> Iterator[Extraction]:
        for document in documents:
            if "budget" in document.text:
                raise BudgetExhausted("m", 1.0, 1.0, 0.1)
            yield Extraction(document.id, Status.FAILED, reason=document.text)


NOBODY = "/api/profiles/nobody"

BAD: list[tuple[str, str, str, Any]] = [
    ("profile_not_found", "GET", NOBODY, None),
    ("ambiguous_profile", "GET", f"/api/profiles/{SHARED}", None),
    ("profile_erased", "POST", "/api/profiles", {"externalId": "cy"}),
    ("invalid_json", "POST", f"{ANA}/ingest", b"{"),
    ("invalid_json", "POST", f"{ANA}/ingest", b'{"data": ' + b"1" * 5_000 + b"}"),
    ("invalid_json", "POST", f"{ANA}/ingest", b"[" * 100_000),
    ("invalid_json", "POST", f"{ANA}/ingest", b'{"data": "\xff"}'),
    ("invalid_json", "PATCH", ANA, b"5"),
    ("invalid_json", "PUT", f"{ANA}/traits/location", b"null"),
    ("invalid_json", "POST", f"{ANA}/memories", b""),
    ("invalid_json", "POST", "/api/profiles", b"[]"),
    ("invalid_json", "POST", CHAT, b"{"),
    ("invalid_data", "POST", f"{ANA}/ingest", {"data": " "}),
    ("invalid_data", "POST", BATCH, b""),
    ("data_too_large", "POST", f"{ANA}/ingest", {"data": "é" * 51_201}),
    ("invalid_source", "POST", f"{ANA}/ingest", {"data": "x", "source": 5}),
    ("invalid_metadata", "POST", f"{ANA}/ingest", {"data": "x", "metadata": [1]}),
    ("invalid_metadata", "POST", f"{ANA}/ingest", {"data": "x", "metadata": {"a": "x" * 16_384}}),
    ("invalid_metadata", "POST", f"{ANA}/ingest", {"data": "x", "metadata": nested(21)}),
    ("invalid_extract_traits", "POST", f"{ANA}/ingest", {"data": "x", "extractTraits": None}),
    ("invalid_extract_memories", "POST", f"{ANA}/ingest", {"data": "x", "extractMemories": 1}),
    ("invalid_trait_schema", "POST", f"{ANA}/ingest", {"data": "x", "traits": [{"key": "x"}]}),
    ("invalid_occurred_at", "POST", f"{ANA}/ingest", {"data": "x", "occurredAt": "0001-01-01T00:00:00+14:00"}),
    ("invalid_occurred_at", "POST", f"{ANA}/ingest", {"data": "x", "occurredAt": "3024-06-01T10:00:00Z"}),
    ("extraction_error", "POST", f"{ANA}/ingest", {"data": "timeout"}),
    ("rate_limited", "POST", f"{ANA}/ingest", {"data": "rate_limited"}),
    ("budget_exhausted", "POST", f"{ANA}/ingest", {"data": "over budget"}),
    ("invalid_limit", "GET", "/api/profiles?limit=101", None),
    ("invalid_limit", "GET", f"{ANA}/memories?limit=201", None),
    ("invalid_offset", "GET", "/api/profiles?offset=-1", None),
    ("invalid_external_id", "POST", "/api/profiles", {"externalId": ""}),
    ("invalid_summary", "PATCH", ANA, {"summary": " "}),
    ("missing_summary", "PATCH", ANA, {}),
    ("missing_value", "PUT", f"{ANA}/traits/location", {}),
    ("invalid_confidence", "PUT", f"{ANA}/traits/location", {"value": "Rome", "confidence": 1.5}),
    ("invalid_value_type", "PUT", f"{ANA}/traits/contact_preference", {"value": "pigeon"}),
    ("trait_not_found", "PUT", f"{ANA}/traits/shoe_size", {"value": 42}),
    ("trait_not_found", "DELETE", f"{ANA}/traits/timezone", None),
    ("invalid_memory_type", "GET", f"{ANA}/memories?type=rumour", None),
    ("invalid_memory_type", "POST", f"{ANA}/memories", CONTENT | {"type": "rumour"}),
    ("invalid_content", "POST", f"{ANA}/memories", CONTENT | {"content": " "}),
    ("invalid_importance", "POST", f"{ANA}/memories", CONTENT | {"importance": 2}),
    ("memory_not_found", "DELETE", f"{ANA}/memories/00000000-0000-4000-8000-000000000000", None),
    ("job_not_found", "GET", f"{BATCH}/nothing", None),
    ("invalid_after", "GET", f"{BATCH}/nothing?after=-1", None),
    ("ambiguous_profile", "POST", CHAT, COMPLETION | {"user": SHARED}),
    ("profile_erased", "POST", CHAT, COMPLETION | {"user": "cy"}),
    ("invalid_external_id", "POST", CHAT, COMPLETION | {"user": "u" * 256}),
    ("invalid_metadata", "POST", CHAT, COMPLETION | {"metadata": [1]}),
    ("invalid_stream", "POST", CHAT, COMPLETION | {"stream": "yes"}),
    ("missing_user_id", "POST", CHAT, {"model": "gpt-x", "messages": [MESSAGE]}),
    ("missing_messages", "POST", CHAT, {"model": "gpt-x", "user": "ana"}),
    ("missing_model", "POST", CHAT, {"messages": [MESSAGE], "user": "ana"}),
    ("invalid_message_format", "POST", CHAT, COMPLETION | {"messages": ["Hello."]}),
    ("invalid_getprofile_options", "POST", CHAT, COMPLETION | {"getprofile": {"skipInjection": 1}}),
    ("too_many_messages", "POST", CHAT, COMPLETION | {"messages": [MESSAGE] * 101}),
    ("message_too_large", "POST", CHAT, COMPLETION | {"messages": [MESSAGE | {"content": "x" * 100_001}]}),
    ("total_size_too_large", "POST", CHAT, COMPLETION | {"messages": [MESSAGE | {"content": "x" * 99_000}] * 11}),
]  # fmt: skip

OF_THEIR_OWN = {
    "missing_api_key",
    "invalid_api_key",
    "rate_limit_exceeded",
    "upstream_error",
    "invalid_actor",
    "internal_error",
}
"""Codes whose tests are below: they are not about one call's own input."""

ELSEWHERE = {
    "configuration_error",  # test_api_guard.py
    "foreign_request",  # test_viewer_login.py
    # test_proxy_forwarding.py and test_proxy_requests.py: they depend on headers and settings
    "invalid_upstream_provider", "missing_upstream_key", "model_not_found", "unsupported_parameter",
    "upstream_base_url_not_allowed",
}  # fmt: skip

CODES = {
    "missing_api_key", "invalid_api_key", "rate_limit_exceeded", "profile_not_found", "invalid_data", "data_too_large",
    "invalid_source", "invalid_metadata", "invalid_extract_traits", "invalid_extract_memories", "invalid_trait_schema",
    "invalid_json", "extraction_error", "rate_limited", "budget_exhausted", "invalid_limit", "invalid_offset",
    "invalid_external_id", "invalid_summary", "missing_summary", "missing_value", "invalid_confidence",
    "invalid_value_type", "trait_not_found", "invalid_memory_type", "invalid_content", "invalid_importance",
    "memory_not_found", "missing_user_id", "too_many_messages", "message_too_large", "total_size_too_large",
    "missing_messages", "missing_model", "invalid_message_format", "invalid_getprofile_options", "upstream_error",
}  # fmt: skip
"""What clients were promised."""

TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error",
    500: "internal_error", 503: "rate_limit_error",
}  # fmt: skip


def test_every_code_that_is_promised_or_documented_has_a_test(document: dict[str, Any]) -> None:
    """And every row's code is documented."""
    tested = {code for code, *_ in BAD}
    documented = {
        code
        for operations in document["paths"].values()
        for operation in operations.values()
        for status, response in operation["responses"].items()
        for code in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", response["description"])
        if not status.startswith("2")
    }
    assert tested | OF_THEIR_OWN >= CODES
    assert tested <= documented
    assert documented <= tested | OF_THEIR_OWN | ELSEWHERE


@pytest.mark.parametrize(("code", "method", "path", "body"), BAD)
def test_what_is_wrong_has_its_own_code(
    client: TestClient, document: dict[str, Any], code: str, method: str, path: str, body: Any
) -> None:
    """With the status and the shape that the document has for it, which names the code."""
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    services = client.app.state.services  # type: ignore[attr-defined]
    failing = replace(services.pipeline, extractor=Failing(services.pipeline.extractor))
    client.app.state.services = replace(services, pipeline=failing)  # type: ignore[attr-defined]
    try:
        response = client.request(method, path, content=content, headers={"Content-Type": "application/json"})
    finally:
        client.app.state.services = services  # type: ignore[attr-defined]
    error = response.json()["error"]
    assert (error["code"], response.status_code) == (code, status_of(code))
    assert error["type"] == TYPES[response.status_code]
    assert ("Retry-After" in response.headers) is (response.status_code == 503)
    assert ("documentId" in error.get("details", {})) is (status_of(code) in (500, 503))
    check_shape(document, method, path, response)
    described = operation_of(document, method, path)["responses"][str(response.status_code)]["description"]
    assert f"`{code}`" in described


@pytest.mark.parametrize(("key", "code"), [("", "missing_api_key"), ("Bearer wrong", "invalid_api_key")])
def test_every_call_asks_for_the_key(client: TestClient, document: dict[str, Any], key: str, code: str) -> None:
    for n, (method, path, _, _) in enumerate(GOOD[2:]):
        # As many as there are addresses: one of them alone may not try so often.
        response = client.request(method, path, headers={"Authorization": key, "X-Forwarded-For": f"10.0.0.{n}"})
        assert (response.status_code, response.json()["error"]["code"]) == (401, code)
        check_shape(document, method, path, response)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{ANA}/ingest", {"data": "é" * 51_200}),
        ("POST", f"{ANA}/ingest", {"data": "x", "metadata": {"a": "x" * (16_384 - len('{"a": ""}'))}}),
        ("POST", "/api/profiles", {"externalId": "x" * 255}),
        ("GET", "/api/profiles?limit=100", None),
        ("GET", f"{ANA}/memories?limit=200", None),
        ("PUT", f"{ANA}/traits/interests", {"value": ["chess"], "confidence": 0}),
        ("PUT", f"{ANA}/traits/interests", {"value": ["chess"], "confidence": 1}),
    ],
)
def test_the_limits_themselves_are_within(client: TestClient, method: str, path: str, body: Any) -> None:
    assert client.request(method, path, json=body).status_code == 200


def test_a_text_that_is_missing_is_told_in_the_promised_words(client: TestClient) -> None:
    for body in ({}, {"data": None}, {"data": ""}, {"data": "\n\t "}, {"data": 5}, {"data": ["x"]}):
        error = client.post(f"{ANA}/ingest", json=body).json()["error"]
        assert (error["code"], error["message"], error["param"]) == (
            "invalid_data", "data is required and must be a non-empty string", "data",
        )  # fmt: skip


def test_who_is_at_work_has_a_name_of_some_length(client: TestClient, document: dict[str, Any]) -> None:
    response = client.get(ANA, headers={"X-Actor": "x" * 1_000})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_actor")
    check_shape(document, "GET", ANA, response)


@pytest.mark.parametrize("url", ["sqlite:///{}", "postgresql://me:secret@127.0.0.1:9/db"], ids=["a folder", "nobody"])
def test_without_its_database_the_server_is_alive_and_not_ready(
    client: TestClient, document: dict[str, Any], tmp_path: Path, url: str
) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    lost = replace(services.pipeline, engine=create_store_engine(url.format(tmp_path)))
    client.app.state.services = replace(services, pipeline=lost)  # type: ignore[attr-defined]
    try:
        health, ready, profile = (client.get(path) for path in ("/health", "/ready", ANA))
    finally:
        client.app.state.services = services  # type: ignore[attr-defined]
        lost.engine.dispose()
    assert health.json() == {"status": "ok"}
    for path, response in (("/ready", ready), (ANA, profile)):
        assert (response.status_code, response.json()["error"]["code"]) == (503, "internal_error")
        assert response.headers["Retry-After"]
        assert "secret" not in response.text
        check_shape(document, "GET", path, response)


def test_when_no_connection_is_free_in_time_one_may_try_again(client: TestClient, document: dict[str, Any]) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    busy = create_engine(services.pipeline.engine.url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0)
    client.app.state.services = replace(services, pipeline=replace(services.pipeline, engine=busy))  # type: ignore[attr-defined]
    try:
        with busy.connect():
            response = client.get(ANA)
    finally:
        client.app.state.services = services  # type: ignore[attr-defined]
        busy.dispose()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "internal_error")
    assert response.headers["Retry-After"]
    check_shape(document, "GET", ANA, response)


def test_a_text_whose_extraction_fails_is_kept_and_the_same_call_finishes_it(client: TestClient) -> None:
    body = {"data": "I live in Faro, and this gets a timeout."}
    services = client.app.state.services  # type: ignore[attr-defined]
    client.app.state.services = replace(  # type: ignore[attr-defined]
        services, pipeline=replace(services.pipeline, extractor=Failing(services.pipeline.extractor))
    )
    failed = client.post(f"{ANA}/ingest", json=body).json()["error"]["details"]["documentId"]
    client.app.state.services = services  # type: ignore[attr-defined]
    again = client.post(f"{ANA}/ingest", json=body).json()
    assert again["documentId"] == failed
    assert [trait["value"] for trait in again["extracted"]["traits"] if trait["key"] == "location"] == ["Faro"]


def test_what_the_upstream_refuses_is_told_with_its_status(client: TestClient, upstream: Upstream) -> None:
    upstream.refuse(418, {"message": "no", "code": "teapot"})
    try:
        response = client.post(CHAT, json=COMPLETION)
    finally:
        upstream.refusal = None
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"]) == (418, "upstream_error", "upstream_error")
